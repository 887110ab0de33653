"""Which RTPengine takes a branch's media, what its name tells, and who is silent."""

from __future__ import annotations

import socket
from itertools import cycle

import pytest

from callinteractive.media_sets import module_parameters, set_of
from callinteractive.model import Address, Interface, RtpEngine
from kemi.anchor import MediaAnchor
from kemi.engines import Engines, Families, Watch, family_flag, family_of, use
from tests.unit.kemi.fake_ksr import FakeKsr

V4, V6 = Interface("192.0.2.9"), Interface("2001:db8::9")
A, B, C = (
    RtpEngine(ng=Address(f"192.0.2.{number}", 22222), weight=weight, interfaces=interfaces)
    for number, weight, interfaces in ((1, 2, (V4,)), (2, 1, (V4, V6)), (3, 1, (V4, V6)))
)


def engines(*picks: float, of: tuple[RtpEngine, ...] = (A, B, C)) -> Engines:
    """`picks`: the random numbers that come, again and again."""
    numbers = cycle(picks or (0.0,))
    return Engines(of, lambda: next(numbers))


def order(found: Engines, families: Families = Families()) -> str:  # noqa: B008
    """Which of A, B and C are named, in this order."""
    numbers = {f"{set_of(engine):06x}": letter for engine, letter in zip((A, B, C), "ABC", strict=True)}
    return "".join(numbers[name.removeprefix("anchored-")[:6]] for name in found.names(families))


def silence(ksr: FakeKsr, *silent: RtpEngine) -> None:
    ksr.results["pv.get"] = ",".join(f"{set_of(engine):06x}" for engine in silent)


@pytest.mark.parametrize(("pick", "named"), [(0.0, "ABC"), (0.49, "ABC"), (0.5, "BAC"), (0.75, "CBA"), (0.99, "CBA")])
def test_by_weight_and_then_the_others(ksr: FakeKsr, pick: float, named: str) -> None:
    assert order(engines(pick)) == named


def test_the_silent_are_left_out(ksr: FakeKsr) -> None:
    silence(ksr, A)
    assert order(engines(0.0)) == "BC"
    silence(ksr, A, B, C)
    assert len(order(engines(0.0))) == 1


def test_those_without_the_family_are_left_out(ksr: FakeKsr) -> None:
    assert order(engines(0.0), Families("4", "6")) == "BC"
    assert order(engines(0.0), Families("4", "0")) == "ABC"
    assert order(engines(0.0, of=(A,)), Families("6", "6")) == "A"


def test_a_name_tells_where_it_is_and_the_families(ksr: FakeKsr) -> None:
    name = next(engines(0.9).names(Families("4", "6")))
    assert use(name)
    assert ksr.called("rtpengine.set_rtpengine_set") == [(set_of(C),)]
    assert family_flag(name, of_caller=True) == " address-family=IP4"
    assert family_flag(name, of_caller=False) == " address-family=IP6"
    assert family_flag(next(engines().names(Families())), of_caller=True) == ""


def test_one_that_is_gone_is_not_asked(ksr: FakeKsr) -> None:
    name = next(engines(0.0).names(Families()))
    silence(ksr, B, A)
    assert use(name)  # about a call that it has
    ksr.results["pv.get"] += "!"
    assert not use(name)
    assert order(engines(0.0)) == "C"
    silence(ksr)
    ksr.results["rtpengine.set_rtpengine_set"] = -1  # no longer in site.yaml
    assert not use(name)
    assert not use("anchored-nonsense")


@pytest.mark.parametrize(
    ("body", "source", "uri", "needs"),
    [
        ("v=0\r\nc=IN IP4 192.0.2.1\r\n", "127.0.0.2", "sip:a@[2001:db8::1]:5060;transport=tcp", True),
        ("v=0\r\nc=IN IP4 192.0.2.1\r\n", "127.0.0.2", "sip:a@192.0.2.5", False),
        ("v=0\r\nc=IN IP6 2001:db8::1\r\n", "127.0.0.2", "sip:a@192.0.2.5", True),
        ("v=0\r\nc=IN IP6 2001:db8::1\r\n", "127.0.0.2", "sip:a@host.example", False),
        ("", "2001:db8::5", "sip:a@192.0.2.5", True),
        ("", "192.0.2.5", "sip:a@192.0.2.5", False),
    ],
)
def test_who_needs_a_bridge(ksr: FakeKsr, body: str, source: str, uri: str, needs: bool) -> None:
    ksr.message("INVITE", source=(source, 5060))
    ksr.results.update({"kx.get_body": body, "textops.has_body": 1 if body else -1})
    assert engines().needs_bridge(uri) is needs
    assert not engines(of=(A,)).needs_bridge(uri)


def test_family_of_a_uri() -> None:
    assert [family_of(uri) for uri in ("sip:[::1]", "sip:a@1.2.3.4:5", "sip:a@b", "")] == ["6", "4", "0", "0"]


def test_an_offer_that_one_does_not_take_goes_to_the_next(ksr: FakeKsr) -> None:
    ksr.message("INVITE")
    ksr.results.update({"kx.get_body": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\n", "textops.has_body": 1})
    answers = iter((-1, 1))
    ksr.results["rtpengine.rtpengine_offer"] = lambda _flags: next(answers)
    media = MediaAnchor(engines(0.0))
    name = media.on_branch(early_media=True)
    assert name.startswith(f"anchored-{set_of(B):06x}44")
    assert ksr.called("rtpengine.set_rtpengine_set") == [(set_of(A),), (set_of(B),)]
    media.release(name)  # and the first one is told to forget what it may have done
    assert ksr.called("rtpengine.set_rtpengine_set")[2:] == [(set_of(B),), (set_of(A),)]


def test_the_module_gets_one_set_for_each(ksr: FakeKsr) -> None:
    lines = module_parameters((A, B)).splitlines()
    assert lines[2] == f'modparam("rtpengine", "setid_default", {set_of(A)})'
    assert [line.partition("==")[2] for line in lines[:2]] == [' udp:192.0.2.1:22222")', ' udp:192.0.2.2:22222")']
    assert len({set_of(engine) for engine in (A, B, C)}) == 3


def test_who_is_silent_is_told_to_all(ksr: FakeKsr) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as living, socket.socket(type=socket.SOCK_DGRAM) as deaf:
        for each, host in ((living, "127.9.7.1"), (deaf, "127.9.7.2")):
            each.bind((host, 0))
            each.settimeout(2)
        first, second = (RtpEngine(ng=Address(*each.getsockname())) for each in (living, deaf))
        watch = Watch([first, second])

        def tick(*, is_second_alive: bool = False) -> None:
            watch.on_tick()
            for each in (living, deaf) if is_second_alive else (living,):
                ping, address = each.recvfrom(100)
                assert ping.endswith(b' {"command":"ping"}')
                each.sendto(b"pong", address)

        for _ in range(3):
            tick(is_second_alive=True)
        assert ksr.called("pv.sets") == []
        for _ in range(2):
            tick()
        watch.on_tick()
        assert ksr.called("pv.sets") == [("$shv(silent_rtpengines)", f"{set_of(second):06x}")]
        for _ in range(6):
            tick()
        assert ksr.called("pv.sets")[1:] == [("$shv(silent_rtpengines)", f"{set_of(second):06x}!")]
        deaf.sendto(b"pong", watch._pings[1]._socket.getsockname())  # type: ignore[union-attr]
        watch.on_tick()
        assert ksr.called("pv.sets")[2:] == [("$shv(silent_rtpengines)", "")]
    watch.on_tick()
    watch.on_tick()
    watch.on_tick()
    assert ksr.called("pv.sets")[-1][1].count(",") == 1  # nobody listens at either


def test_one_without_a_way_is_tried_again(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as living:
        living.bind(("127.9.7.3", 0))
        living.settimeout(2)
        watch = Watch([RtpEngine(ng=Address(*living.getsockname()))])
        with monkeypatch.context() as cut:
            cut.setattr(socket.socket, "connect", lambda *_: (_ for _ in ()).throw(OSError("Network is unreachable")))
            watch.on_tick()
            watch.on_tick()
        assert len(ksr.called("pv.sets")) == 1
        watch.on_tick()
        _, address = living.recvfrom(100)
        living.sendto(b"pong", address)
        watch.on_tick()
        assert ksr.called("pv.sets")[1:] == [("$shv(silent_rtpengines)", "")]
