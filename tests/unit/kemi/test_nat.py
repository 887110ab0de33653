"""Which Contacts are unreachable (NAT), and how a request still finds the phone."""

from __future__ import annotations

import pytest

from kemi import nat
from tests.unit.kemi.fake_ksr import FakeKsr

PUBLIC, OTHER, OURS = "203.0.113.5", "198.51.100.7", "192.0.2.99"


@pytest.mark.parametrize(
    ("contact", "source", "via", "expected"),
    [
        (PUBLIC, PUBLIC, "", False),
        (OTHER, PUBLIC, "", False),  # a carrier with several addresses
        ("10.1.1.1", PUBLIC, "", True),
        ("172.31.0.1", PUBLIC, "", True),
        ("172.32.0.1", PUBLIC, "", False),
        ("192.168.0.1", PUBLIC, "", True),
        ("100.64.0.1", PUBLIC, "", True),
        ("169.254.0.1", PUBLIC, "", True),
        ("0.0.0.0", PUBLIC, "", True),
        ("127.0.0.1", PUBLIC, "", True),
        ("127.0.0.1", "127.0.0.2", "", False),
        ("fd00::1", "2001:db8::1", "", True),
        ("2001:db8:0::1", "2001:db8::1", "", False),
        ("phone.example", PUBLIC, "", True),
        ("", PUBLIC, "", False),
        ("10.1.1.1", "127.0.0.2", "10.1.1.1", True),
        # Private addresses on both sides: Via tells a NAT from a carrier with several hosts.
        ("10.1.1.1", "10.2.2.2", "10.1.1.1", True),
        ("10.1.1.1", "10.2.2.2", "10.2.2.2", False),
        ("10.1.1.1", "10.2.2.2", "", False),
    ],
)
def test_leads_nowhere(contact: str, source: str, via: str, expected: bool) -> None:
    assert nat.leads_nowhere(contact, source, via) is expected


def request(ksr: FakeKsr, contact: str, method: str = "INVITE", via: str = "10.1.1.1") -> None:
    ksr.message(method, source=(PUBLIC, 4000))
    ksr.headers["Contact"] = contact
    ksr.results["pv.get"] = lambda name: via if name == "$sel(via.host)" else None
    ksr.results["is_myself"] = lambda uri: uri in ("sip:127.0.0.1", f"sip:{OURS}")


@pytest.mark.parametrize(
    ("contact", "marked"),
    [
        ("<sip:a@10.1.1.1>", True),
        ('"x" <sip:a@10.1.1.1:5060>;expires=1', True),
        ("sip:a@phone.example", True),
        (f"<sip:10.1.1.1@{PUBLIC}>", False),
        (f"<sip:a@{OTHER}>", False),
        ("<tel:+1555>", False),
        ("", False),
        ("<", False),
        (f"<sip:a@{OURS}>", True),  # a GRUU
    ],
)
def test_the_contact_of_a_new_call(ksr: FakeKsr, contact: str, marked: bool) -> None:
    request(ksr, contact)
    nat.on_new_call(is_trunk=False)
    nat.on_branch()
    assert len(ksr.called("nathelper.add_contact_alias")) == marked


def test_behind_a_proxy_the_contact_stays(ksr: FakeKsr) -> None:
    request(ksr, "<sip:a@10.1.1.1>")
    ksr.headers["Record-Route"] = f"<sip:{PUBLIC};lr>"
    nat.on_new_call(is_trunk=False)
    nat.on_branch()
    assert not ksr.called("nathelper.add_contact_alias")
    ksr.results["siputils.is_first_hop"] = -1
    assert not nat.on_refreshing_request(is_alias=False, is_trunk=False)


@pytest.mark.parametrize(("via", "asked"), [("10.1.1.1", 1), (PUBLIC, 0), ("", 0)])
def test_replies_go_to_the_source(ksr: FakeKsr, via: str, asked: int) -> None:
    request(ksr, "", via=via)
    nat.reply_to_source(PUBLIC)
    assert len(ksr.called("force_rport")) == asked


@pytest.mark.parametrize(
    ("uri", "has_route", "followed"),
    [("sip:a@10.1.1.1;alias=1.2.3.4~5~1", False, 1), ("sip:a@10.1.1.1", False, 0), ("sip:a;alias=1@h", True, 0)],
)
def test_a_request_in_a_dialog_follows_the_alias(ksr: FakeKsr, uri: str, has_route: bool, followed: int) -> None:
    request(ksr, "", "BYE")
    ksr.results.update({"kx.get_ruri": uri, "isdsturiset": has_route})
    assert nat.follow_alias_of_next_hop() is bool(followed)
    assert len(ksr.called("nathelper.handle_ruri_alias")) == followed
    assert not ksr.called("tm.t_on_reply")


@pytest.mark.parametrize(
    ("uri", "is_read"), [("sip:a@h;alias=1.2.3.4~5~1", 1), ("sip:a@h;alias=1", -1), ("sip:a@h", 1)]
)
def test_a_branch_follows_the_alias(ksr: FakeKsr, uri: str, is_read: int) -> None:
    ksr.results.update({"kx.get_ruri": uri, "nathelper.handle_ruri_alias": is_read})
    assert nat.follow_alias() is (";alias=" in uri and is_read > 0)
    assert len(ksr.called("nathelper.handle_ruri_alias")) == (";alias=" in uri)


@pytest.mark.parametrize(("more", "followed"), [(900, True), (1000, False), (3000, False)])
@pytest.mark.parametrize("character", ["a", "\u20ac"])
def test_a_uri_that_kamailio_has_no_room_for_is_not_followed(
    ksr: FakeKsr, character: str, more: int, followed: bool
) -> None:
    uri = f"sip:{character * (more // len(character.encode()))}@10.0.0.1;alias=192.0.2.1~5060~1"
    ksr.results.update({"kx.get_ruri": uri, "nathelper.handle_ruri_alias": 1})
    assert nat.follow_alias() is followed
    assert len(ksr.called("nathelper.handle_ruri_alias")) == followed


@pytest.mark.parametrize(
    ("source", "alias"),
    [
        ("sip:192.0.2.1:5061", "192.0.2.1~5061~1"),
        ("sip:192.0.2.1", "192.0.2.1~5060~1"),
        ("sip:x@192.0.2.1:5061;transport=tcp", "192.0.2.1~5061~2"),
        ("sip:192.0.2.1:5061;transport=tls", "192.0.2.1~5061~3"),
        ("sip:192.0.2.1:5061;transport=ws", "192.0.2.1~5061~5"),
        ("sip:[2001:db8::1]:5061;transport=wss", "[2001:db8::1]~5061~6"),
        ("sip:[2001:db8::1]", "[2001:db8::1]~5060~1"),
    ],
)
def test_an_alias_as_kamailio_writes_it(source: str, alias: str) -> None:
    uri = nat.with_alias("sip:a@10.1.1.1;ob", source)
    assert uri == f"sip:a@10.1.1.1;ob;alias={alias}"
    assert nat.without_alias(uri) == "sip:a@10.1.1.1;ob"
    assert nat.is_websocket(uri) is ("=ws" in source)


@pytest.mark.parametrize(("method", "is_refreshing"), [("INVITE", True), ("UPDATE", True), ("INFO", False)])
@pytest.mark.parametrize("is_alias", [True, False])
def test_the_reply_of_a_request_that_went_to_an_alias(
    ksr: FakeKsr, method: str, is_refreshing: bool, is_alias: bool
) -> None:
    """Within a dialog: it may change where that leads (RFC 3261 12.2.1.2, RFC 3311 5.1)."""
    request(ksr, f"<sip:b@{OTHER}>", method)
    ksr.results["kx.get_status"] = 200
    nat.on_refreshing_request(is_alias=is_alias, is_trunk=False)
    nat.on_in_dialog_reply()
    assert len(ksr.called("nathelper.add_contact_alias")) == (is_refreshing and is_alias)


@pytest.mark.parametrize(
    ("contact", "route", "status", "to_alias", "marked"),
    [
        ("<sip:b@10.1.1.1>", "", 180, False, True),
        ("<sip:b@10.1.1.1>", "<sip:127.0.0.1;lr>, <sip:192.0.2.1;lr>", 200, False, True),
        ("<sip:b@10.1.1.1>", "<sip:192.0.2.1;lr>, <sip:127.0.0.1;lr>", 200, False, False),
        ("<sip:b@10.1.1.1>", "", 302, False, False),
        (f"<sip:b@{PUBLIC}>", "", 200, True, False),
        (f"<sip:b@{OTHER}>", "", 200, False, False),
        (f"<sip:b@{OTHER}>", "", 200, True, True),
        (f"<sip:b@{OURS}>", "", 200, False, True),  # a GRUU
    ],
)
def test_the_contact_of_a_reply(
    ksr: FakeKsr, contact: str, route: str, status: int, to_alias: bool, marked: bool
) -> None:
    request(ksr, contact)
    ksr.headers["Record-Route"] = route
    ksr.results["kx.get_status"] = status
    nat.mark_reply(is_alias=to_alias)
    assert len(ksr.called("nathelper.add_contact_alias")) == marked


@pytest.mark.parametrize(("is_trunk", "protocol", "marked"), [(False, 3, True), (True, 3, False), (False, 2, False)])
def test_a_phone_over_tls_is_reached_by_its_connection_only(
    ksr: FakeKsr, is_trunk: bool, protocol: int, marked: bool
) -> None:
    """A trunk has a certificate: it can be called anew."""
    request(ksr, f"<sip:a@{PUBLIC}:5061;transport=tls>", "UPDATE")
    ksr.results["kx.get_protoid"] = protocol
    assert nat.on_refreshing_request(is_alias=False, is_trunk=is_trunk) is marked
    nat.on_new_call(is_trunk=is_trunk)
    nat.on_branch()
    assert len(ksr.called("nathelper.add_contact_alias")) == marked


@pytest.mark.parametrize(("to_alias", "marked"), [(True, True), (False, False)])
def test_a_reply_over_tls(ksr: FakeKsr, to_alias: bool, marked: bool) -> None:
    request(ksr, f"<sip:b@{PUBLIC}:5061;transport=tls>")
    ksr.results.update({"kx.get_protoid": 3, "kx.get_status": 200})
    nat.mark_reply(is_alias=to_alias)
    assert len(ksr.called("nathelper.add_contact_alias")) == marked
