"""Which of several UDP addresses a request leaves from."""

from __future__ import annotations

import pytest

from callinteractive.fleet import Edge, Listen
from kemi import sockets
from kemi.sockets import Sockets
from tests.unit.kemi.fake_ksr import FakeKsr

TWO = (Listen("udp", "127.0.0.1", 5060), Listen("udp", "127.0.0.1", 5070), Listen("udp", "192.0.2.1", 5060))
SIX = Listen("udp", "::1", 5060)


def leaves(ksr: FakeKsr, chosen: Sockets, uri: str, destination: str | None = None) -> str:
    """The socket that is chosen, empty for none."""
    ksr.calls.clear()
    ksr.results.update({"kx.get_ruri": uri, "kx.get_duri": destination})
    chosen.choose(uri)
    return "".join(value for name, value in ksr.called("pv.sets") if name == "$fs")


@pytest.mark.parametrize(
    ("uri", "destination", "expected"),
    [
        ("sip:a@127.0.0.9:5080", None, "udp:127.0.0.1:5060"),
        ("sip:a@127.0.0.9;transport=udp", None, "udp:127.0.0.1:5060"),
        ("sip:a@127.0.0.9;transport=tcp", None, ""),
        ("sip:a@192.168.1.1", "sip:127.0.0.9:4000", "udp:127.0.0.1:5060"),
        ("sip:a@192.168.1.1", "sip:127.0.0.9:4000;transport=tls", ""),
        ("sip:a@[::1]:5080", None, ""),
        ("sip:a@carrier.example", None, ""),
    ],
)
def test_the_kernel_s_way(ksr: FakeKsr, uri: str, destination: str | None, expected: str) -> None:
    assert leaves(ksr, Sockets(Edge("edge", (*TWO, SIX))), uri, destination) == expected


def test_one_address_is_no_choice(ksr: FakeKsr) -> None:
    chosen = Sockets(Edge("edge", (TWO[0], SIX, Listen("tcp", "192.0.2.1", 5060))))
    assert not chosen.is_choosing
    assert leaves(ksr, chosen, "sip:a@127.0.0.9") == ""


def test_an_address_that_we_do_not_listen_at_is_left_to_kamailio(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("198.51.100.1", ""):
        monkeypatch.setattr(sockets, "_source_towards", lambda _host, own=source: own)
        assert leaves(ksr, Sockets(Edge("edge", TWO)), "sip:a@127.0.0.9") == ""
    assert sockets._source_towards("no address") == ""


def test_a_phone_is_called_from_where_it_has_registered(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_MOST_PHONES", 2)
    chosen = Sockets(Edge("edge", TWO))
    for user in "abc":
        chosen.remember(f"sip:{user}@127.0.0.9", "udp:127.0.0.1:5070")
    chosen.remember("sip:d@127.0.0.9", "udp:192.0.2.7:5060")  # another edge's
    assert [leaves(ksr, chosen, f"sip:{user}@127.0.0.9")[-4:] for user in "abcd"] == ["5060", "5070", "5070", "5060"]
