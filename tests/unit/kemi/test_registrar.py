"""Who may register, and who must prove to be an extension before calling (A14)."""

from __future__ import annotations

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.edge import edge_id
from callinteractive.numbers import Directory
from kemi import nat
from kemi.edges import Edges, Way
from kemi.refusal import Answered
from kemi.registrar import REALM, Registrar
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused
from tests.unit.kemi.test_ingress import IVR
from tests.unit.kemi.test_ingress import SITE as NO_PASSWORDS
from tests.unit.kemi.test_transfer import ALONE, SITE

NAMES = ("addr", "received", "ruid")
BROWSER = "sip:abc@df7jal23ls0d.invalid;transport=ws"
EDGES = 'node: 1\nedges: [{name: a, listen: ["udp:10.0.0.1:5060"]}, {name: b, listen: ["udp:10.0.0.2:5060"]}]'
DIRECTORY = Directory(load_site(SITE, "site.yaml"), load_ivr_file(IVR, "ivr.yaml"))


@pytest.mark.parametrize("user", ["000*306", "999"])
def test_who_has_no_password_is_challenged_like_others(ksr: FakeKsr, user: str) -> None:
    """No password is right for it, so that a stranger can't learn who has one."""
    ksr.results.update({"kx.get_tuser": user, "kx.get_fuser": user, "auth.pv_auth_check": 1})
    for ask in (Registrar(DIRECTORY, ALONE).register, Registrar(DIRECTORY, ALONE).find_caller):
        with pytest.raises(Answered):
            ask()
    assert ksr.called("auth.auth_challenge") == [(REALM, 1)] * 2
    assert not ksr.called("registrar.save_uri")


def test_a_caller_without_a_number_is_refused(ksr: FakeKsr) -> None:
    ksr.results["kx.get_fuser"] = "stranger"
    with refused(403):
        Registrar(DIRECTORY, ALONE).find_caller()


def test_a_site_without_passwords_challenges_nobody(ksr: FakeKsr) -> None:
    ksr.results["kx.get_tuser"] = "306"
    with refused(403):
        Registrar(Directory(load_site(NO_PASSWORDS, "site.yaml"), load_ivr_file(IVR, "ivr.yaml")), ALONE).register()


@pytest.mark.parametrize("user", ["000*307", "000%2A307", "307"])
def test_registration(ksr: FakeKsr, user: str) -> None:
    ksr.results.update({"kx.get_tuser": user, "auth.pv_auth_check": -1})
    with pytest.raises(Answered):
        Registrar(DIRECTORY, ALONE).register()
    assert ksr.called("auth.auth_challenge") == [(REALM, 1)]
    assert not ksr.called("registrar.save_uri")
    ksr.results["auth.pv_auth_check"] = 1
    Registrar(DIRECTORY, ALONE).register()
    assert ksr.called("auth.pv_auth_check")[-1] == (REALM, "secret", 0, 1)
    assert ksr.called("registrar.save_uri") == [("location", 0, "sip:000*307@callinteractive")]


def test_caller(ksr: FakeKsr) -> None:
    ksr.results.update({"kx.get_fuser": "307", "auth.pv_auth_check": -1})
    with pytest.raises(Answered):
        Registrar(DIRECTORY, ALONE).find_caller()
    assert ksr.called("auth.auth_challenge")
    ksr.results["auth.pv_auth_check"] = 1
    assert Registrar(DIRECTORY, ALONE).find_caller().number == "000*307"
    assert ksr.called("auth.consume_credentials")


def register(ksr: FakeKsr, *contacts: str, source: str = "203.0.113.5", transport: str = "UDP") -> list[str]:
    """Register contacts from an address; returns what was called."""
    ksr.message("REGISTER", source=(source, 4000))
    ksr.tags["$pr"] = transport
    ksr.results["kx.get_protoid"] = nat._PROTOCOLS[transport.lower()]
    values = list(contacts)
    ksr.results.update(
        {
            "kx.get_tuser": "307",
            "hdr.get_idx": lambda _name, index: values[index] if index < len(values) else None,
        }
    )
    Registrar(DIRECTORY, ALONE).register()
    return [name for name, _ in ksr.calls]


@pytest.mark.parametrize(
    ("contact", "is_bound"),
    [
        ("<sip:307@203.0.113.5:5060>;expires=60", False),
        ("sip:307@203.0.113.5;expires=60", False),
        ('"a <b>, c" <sip:307@203.0.113.5:4000>', False),
        ("<sip:307@203.0.113.5:4001;transport=tcp>", False),
        ("<sip:307@203.0.113.5:4001;transport=tcp;ob>", True),
        ("<sip:307@192.168.1.5:5060>", True),
        ("<sip:307@203.0.113.5>, <sip:307@10.1.1.1>", True),
        ("<sip:307@[fd00::5]:5060>", True),
        ("*", False),
    ],
)
def test_a_phone_behind_nat_is_kept_reachable(ksr: FakeKsr, contact: str, is_bound: bool) -> None:
    called = register(ksr, contact)
    assert called.index("nathelper.fix_nated_register") < called.index("registrar.save_uri")
    assert ksr.called("setbflag") == ([(6,), (7,)] if is_bound else [])


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:307@198.51.100.7>",
        "<sip:307@carrier.example>",
        "<sip:307@127.0.0.2>",
        "<sip:307@127.0.0.1:5060>",
        "<sips:307@203.0.113.5>",
        "<tel:307>",
        "<sip:307@203.0.113.5;maddr=198.51.100.7>",
        "<sip:307@203.0.113.5;transport=sctp>",
        "<sip:307@203.0.113.5;ALIAS=1.2.3.4~5060~1>",
        "<sip:307@203.0.113.5>, <sip:307@198.51.100.7>",
        "<sip:203.0.113.5@198.51.100.7>",
        "<sip:198.51.100.7@x@203.0.113.5>",
        "<sip:307 @203.0.113.5>",
        "<sip:307@[::ffff:198.51.100.7]>",
        '"<sip:307@203.0.113.5>" <sip:307@198.51.100.7>',
        "<sip:307@3405803781>",
        "<sip:>",
    ],
)
def test_a_third_party_is_not_registered(ksr: FakeKsr, contact: str) -> None:
    with refused(403):
        register(ksr, contact)
    with refused(403):
        register(ksr, "<sip:307@203.0.113.5>", contact)
    assert not ksr.called("registrar.save_uri")


def test_a_tcp_client_of_this_machine_is_called_by_its_connection(ksr: FakeKsr) -> None:
    contact = "<sip:307@127.0.0.77:5064;transport=tcp>"
    assert "setbflag" in register(ksr, contact, source="127.0.0.1", transport="TCP")
    for phone, source, transport in ((contact, "127.0.0.1", "UDP"), ("<sip:307@127.0.0.2>", "127.0.0.1", "TCP")):
        with refused(403):
            register(ksr, phone, source=source, transport=transport)


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:307@203.0.113.5:4000>",
        "<sip:307@203.0.113.5;transport=tls>",
        "<sips:307@203.0.113.5>",
        "<sips:307@10.1.1.1>",
    ],
)
def test_a_phone_over_tls_is_called_by_its_connection(ksr: FakeKsr, contact: str) -> None:
    assert "setbflag" in register(ksr, contact, transport="TLS")


@pytest.mark.parametrize("contact", ["<sip:307@203.0.113.5;transport=tls>", "<sips:307@203.0.113.5>"])
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_who_wants_tls_registers_by_tls(ksr: FakeKsr, contact: str, transport: str) -> None:
    with refused(403):
        register(ksr, contact, transport=transport)


def test_contacts(ksr: FakeKsr) -> None:
    registered, configured = (DIRECTORY.find_extension(number) for number in ("000*307", "000*306"))
    assert registered is not None
    assert configured is not None
    bindings = [
        ("sip:a@203.0.113.5:5060?x=y", "sip:203.0.113.5:4000"),
        ("sip:b@10.1.1.1:5060;x", "sip:203.0.113.6:4000;transport=TCP"),
        ("sip:c?c@10.1.1.1", "sip:[2001:db8::1]"),
        ("sips:e@203.0.113.5", "sip:203.0.113.5:4000;transport=tls"),
        ("sip:d@198.51.100.7", "sip:203.0.113.5:4000"),  # it cannot register, so nobody can call it
    ]
    values: dict[str, str | int] = {"$(ulc(ci=>count))": len(bindings)}
    for index, (uri, source) in enumerate(bindings):
        texts = (uri, source, "id")
        values |= {f"$(ulc(ci=>{name})[{index}])": value for name, value in zip(NAMES, texts, strict=True)}
    ksr.results["pv.get"] = values.get
    told: list[tuple[str, str]] = []
    values["$(ulc(ci=>socket)[0])"] = "udp:192.0.2.1:5060"
    assert Registrar(DIRECTORY, ALONE, lambda *seen: told.append(seen)).ways_to(registered)
    assert told[0] == ("sip:a@203.0.113.5:5060", "udp:192.0.2.1:5060")
    assert Registrar(DIRECTORY, ALONE).ways_to(registered) == [
        (Way("sip:a@203.0.113.5:5060"),),
        (Way("sip:b@10.1.1.1:5060;x;alias=203.0.113.6~4000~2"),),
        (Way("sip:c?c@10.1.1.1;alias=[2001:db8::1]~5060~1"),),
        (Way("sips:e@203.0.113.5;alias=203.0.113.5~4000~3"),),
    ]
    assert ksr.called("registrar.reg_free_contacts")
    assert Registrar(DIRECTORY, ALONE).ways_to(configured) == []
    ksr.results["registrar.reg_fetch_contacts"] = -1
    assert Registrar(DIRECTORY, ALONE).ways_to(registered) == []


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_a_browser_knows_no_address_of_its_own(ksr: FakeKsr, transport: str) -> None:
    """RFC 7118 5. It is pinged by its WebSocket, and called by it only."""
    ksr.results["pv.get"] = {"$conid": 7}.get
    called = register(ksr, f"<{BROWSER}>", transport=transport)
    assert called.index("nathelper.fix_nated_register") < called.index("registrar.save_uri")
    assert "setbflag" not in called
    assert ksr.called("htable.sht_sets")[-1] == ("browsers", "7", "sip:000*307@callinteractive")


@pytest.mark.parametrize("contact", [f"<{BROWSER};alias=1.2.3.4~5060~1>", f"<{BROWSER};maddr=1.2.3.4>", "<tel:307>"])
def test_what_a_browser_may_not_register(ksr: FakeKsr, contact: str) -> None:
    with refused(403):
        register(ksr, contact, transport="ws")


def test_a_name_is_a_browser_s_only(ksr: FakeKsr) -> None:
    with refused(403):
        register(ksr, f"<{BROWSER}>", transport="tcp")


def bound(*connections: int) -> dict[str, str | int]:
    """Browsers of one extension, by their connections."""
    values: dict[str, str | int] = {"$(ulc(ci=>count))": len(connections), "$ws_conid": 7}
    for index, connection in enumerate(connections):
        texts = (BROWSER, "sip:203.0.113.5:4000;transport=ws", f"id-{connection}")
        values |= {f"$(ulc(ci=>{name})[{index}])": value for name, value in zip(NAMES, texts, strict=True)}
        values[f"$(ulc(ci=>conid)[{index}])"] = connection
    return values


def test_browsers_whose_connection_is_closed_are_not_called(ksr: FakeKsr) -> None:
    extension = DIRECTORY.find_extension("000*307")
    assert extension is not None
    ksr.results["pv.get"] = bound(7, 8).get
    ksr.results["tcpops.tcp_conid_alive"] = lambda connection: 1 if connection == 8 else -1
    assert Registrar(DIRECTORY, ALONE).ways_to(extension) == [(Way(f"{BROWSER};alias=203.0.113.5~4000~5"),)]


def test_a_browser_that_has_gone_is_forgotten(ksr: FakeKsr) -> None:
    ksr.results["pv.get"] = bound(7, 8).get
    ksr.results["htable.sht_get"] = "sip:000*307@callinteractive"
    Registrar(DIRECTORY, ALONE).on_websocket_closed(7)
    gone = ("location", "sip:000*307@callinteractive", "id-7")
    assert ksr.called("registrar.unregister_ruid") == [gone]


def test_a_browser_of_another_edge_is_not_forgotten(ksr: FakeKsr) -> None:
    """Edges number their connections alike."""
    site = load_site(EDGES, "site.yaml")
    ksr.results["pv.get"] = (bound(7) | {"$(ulc(ci=>server_id)[0])": edge_id("b")}).get
    ksr.results["htable.sht_get"] = "sip:000*307@callinteractive"
    Registrar(DIRECTORY, Edges(site, site.edges[0], b"key")).on_websocket_closed(7)
    assert not ksr.called("registrar.unregister_ruid")
    Registrar(DIRECTORY, Edges(site, site.edges[1], b"key")).on_websocket_closed(7)
    assert ksr.called("registrar.unregister_ruid")


def test_a_websocket_without_a_registration_ends(ksr: FakeKsr) -> None:
    ksr.results["htable.sht_get"] = None
    Registrar(DIRECTORY, ALONE).on_websocket_closed(7)
    assert not ksr.called("registrar.unregister_ruid")
