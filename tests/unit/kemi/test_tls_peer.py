"""Which replies of carriers that we reach by TLS are believed."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.names import Hop, Names
from kemi.tls_peer import TOLD_EVERY_S, TlsPeers, has_proved
from tests.support.certificates import Authority
from tests.unit.kemi.fake_ksr import FakeKsr

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061"]}
tls: {certificate: a, private_key: b}
trunks:
  - {name: named, to: "sips:sip.carrier.example"}
  - {name: other, to: "sips:192.0.2.7:5071", tls: {name: other.example}}
  - {name: plain, to: "sip:192.0.2.8"}
"""
NAMED, OTHER, PLAIN = "sip:sip.carrier.example;transport=tls", "sip:192.0.2.7:5071;transport=tls", "sip:192.0.2.8"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    names = ("sip.carrier.example", "other.example", "*.carrier.example")
    return {name: authority.issue("peer", f"DNS:{name}").certificate.read_text() for name in names}


def answer(ksr: FakeKsr, to: str, pem: str = "", verified: str = "1", method: str = "OPTIONS") -> None:
    """The reply at hand."""
    variables = {"$tls_peer_verified": verified, "$tls_peer_raw_cert": pem}
    ksr.message(method)
    ksr.results.update(
        {"kx.get_fuser": "dispatcher", "kx.get_turi": to, "kx.get_protoid": 3 if pem else 1, "pv.get": variables.get}
    )


@pytest.fixture
def peers() -> TlsPeers:
    return TlsPeers(load_site(SITE, "site.yaml"))


@pytest.mark.parametrize(
    ("to", "name", "verified", "is_impostor"),
    [
        (NAMED, "sip.carrier.example", "1", False),
        (NAMED, "*.carrier.example", "1", False),
        (NAMED, "sip.carrier.example", "0", True),
        (NAMED, "other.example", "1", True),
        (NAMED, "", "1", True),
        (OTHER, "other.example", "1", False),
        (OTHER, "sip.carrier.example", "1", True),
        (PLAIN, "", "1", False),
    ],
)
def test_probes(
    ksr: FakeKsr, peers: TlsPeers, pems: dict[str, str], to: str, name: str, verified: str, is_impostor: bool
) -> None:
    answer(ksr, to, pems.get(name, ""), verified)
    assert peers.is_impostor_s_answer() is is_impostor
    kept = ksr.called("htable.sht_seti")
    assert [(table, until > 0) for table, _, until in kept] == [("proved", True)] * (to != PLAIN and not is_impostor)
    assert bool(ksr.called("err")) is is_impostor


def test_an_impostor_is_told_of_once_in_a_while(
    ksr: FakeKsr, peers: TlsPeers, pems: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("kemi.tls_peer.time.monotonic", lambda: now)
    answer(ksr, NAMED, pems["other.example"])
    for _ in range(3):
        assert peers.is_impostor_s_answer()
    assert len(ksr.called("err")) == 1
    assert "is for other.example, not for sip.carrier.example" in ksr.called("err")[0][0]
    now += TOLD_EVERY_S
    assert peers.is_impostor_s_answer()
    assert len(ksr.called("err")) == 2


def test_other_replies_are_no_probes(ksr: FakeKsr, peers: TlsPeers) -> None:
    answer(ksr, NAMED, method="INVITE")
    assert not peers.is_impostor_s_answer()
    answer(ksr, NAMED)
    ksr.results["kx.get_fuser"] = "somebody"
    assert not peers.is_impostor_s_answer()
    assert not TlsPeers(load_site(SITE.partition("trunks")[0], "site.yaml")).is_impostor_s_answer()


def test_what_strangers_send_proves_and_disproves_nothing(ksr: FakeKsr, peers: TlsPeers, pems: dict[str, str]) -> None:
    """Anybody can write such a reply: it neither takes memory nor keeps calls away from a carrier."""
    answer(ksr, "sip:a.example;transport=tls", pems["other.example"])
    assert not peers.is_impostor_s_answer()
    answer(ksr, NAMED)
    assert peers.is_impostor_s_answer()
    assert not ksr.called("htable.sht_seti")


@pytest.mark.parametrize(
    ("source", "name", "is_impostor"),
    [
        ("192.0.2.7", "other.example", False),
        ("192.0.2.7", "sip.carrier.example", True),
        ("192.0.2.7", "", False),  # not by TLS
        ("192.0.2.8", "sip.carrier.example", False),
        ("192.0.2.9", "other.example", True),
        ("192.0.2.9", "sip.carrier.example", False),
    ],
)
def test_only_the_carrier_may_ask_for_the_password_of_a_registration(
    ksr: FakeKsr, peers: TlsPeers, pems: dict[str, str], source: str, name: str, is_impostor: bool
) -> None:
    peers.learn(Names({NAMED: (Hop(0, 0, "192.0.2.9", 5061, "tls"),)}))
    answer(ksr, "sip:we@192.0.2.7", pems.get(name, ""), method="REGISTER")
    ksr.results["kx.get_srcip"] = source
    assert peers.is_impostor_s_answer() is is_impostor


@pytest.mark.parametrize(
    ("source", "port", "name", "is_impostor"),
    [
        ("192.0.2.7", 5071, "other.example", False),
        ("192.0.2.7", 5071, "sip.carrier.example", True),
        ("192.0.2.7", 5071, "", False),  # not by TLS: tm's route knows whom it was sent to
        ("192.0.2.7", 40000, "sip.carrier.example", False),  # a phone behind the same NAT
        ("192.0.2.9", 5061, "other.example", True),
        ("192.0.2.9", 5061, "sip.carrier.example", False),
    ],
)
def test_no_answer_from_a_carrier_s_address_counts_without_its_certificate(
    ksr: FakeKsr, peers: TlsPeers, pems: dict[str, str], source: str, port: int, name: str, is_impostor: bool
) -> None:
    peers.learn(Names({NAMED: (Hop(0, 0, "192.0.2.9", 5061, "tls"),)}))
    answer(ksr, "sip:7@192.0.2.1", pems.get(name, ""), method="INVITE")
    ksr.results |= {"kx.get_srcip": source, "kx.get_srcport": port}
    assert peers.is_impostor_s_answer() is is_impostor


def test_what_a_gateway_has_proved_is_forgotten(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kemi.tls_peer.time.time", lambda: 1000.0)
    for until, expected in ((1001, True), (1000, False), (0, False)):
        ksr.results["htable.sht_get"] = until
        assert has_proved(NAMED) is expected
