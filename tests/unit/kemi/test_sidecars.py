"""Which sidecar is asked next, of which pool, and when we stop asking."""

from __future__ import annotations

import time

import pytest

from callinteractive.actions import Context
from callinteractive.facts import CallFacts
from callinteractive.headers import AttemptHeader, CallHeader, EntryHeader
from callinteractive.model import IvrFile, RtpEngine, sidecars_of_host
from callinteractive.signature import SignatureHeader
from kemi.anchor import MediaAnchor
from kemi.engines import Engines
from kemi.sidecars import REST_S, Sidecars, Unavailable
from kemi.transaction import transaction
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused

CALL = CallHeader(CallFacts("c" * 32, "1:" + "c" * 32, "7", "N", "332", "000*332", 145))


KEY = b"0123456789abcdef"


@pytest.fixture
def sidecars() -> Sidecars:
    return Sidecars(
        sidecars_of_host("127.0.0.1", 3, 5070, pools={"vip": (2,)}),
        IvrFile((), {"3": Context("3", "main", {}), "4": Context("4", "vip", {}, pool="vip")}),
        KEY,
        MediaAnchor(Engines([RtpEngine()])),
    )


def enter(sidecars: Sidecars, context: str) -> None:
    sidecars.enter("332", EntryHeader("000*332", context, "start"), {CALL.NAME: str(CALL)})


def test_another_sidecar_learns_that_it_is_not_the_first(sidecars: Sidecars, ksr: FakeKsr) -> None:
    enter(sidecars, "3")
    ksr.results["tm.t_get_branch_index"] = 2
    sidecars.on_branch()
    [(lines,)] = ksr.called("hdr.append")
    assert lines.endswith(f"\r\n{AttemptHeader.NAME}: {AttemptHeader(2)}\r\n")


def test_headers_are_the_branch_s_only(sidecars: Sidecars, ksr: FakeKsr) -> None:
    ksr.results["tm.t_get_branch_index"] = 0
    enter(sidecars, "3")
    assert not ksr.called("hdr.append")
    sidecars.on_branch()
    [(lines,)] = ksr.called("hdr.append")
    generation, call, entry, signature, end = lines.split("\r\n")
    assert generation == "X-CI-Generation: ivr="
    assert CallHeader.parse(call.removeprefix("X-CI-Call: ")) == CALL
    assert EntryHeader.parse(entry.removeprefix("X-CI-Entry: ")) == EntryHeader("000*332", "3", "start")
    values = dict(line.split(": ") for line in (call, entry))
    signed = SignatureHeader.parse(signature.removeprefix("X-CI-Signature: "))
    assert signed.is_valid(KEY, time.time(), "some-call-id", values)
    assert end == ""


@pytest.mark.parametrize(("context", "group", "ports"), [("3", 1, ("5070", "5071")), ("4", 3, ("5072",))])
def test_context_s_pool_is_asked_even_where_none_lives(
    sidecars: Sidecars, ksr: FakeKsr, context: str, group: int, ports: tuple[str, ...]
) -> None:
    ksr.results["dispatcher.ds_select_domain"] = -1
    enter(sidecars, context)
    [(uri,)] = ksr.called("seturi")
    assert uri in [f"sip:332@127.0.0.1:{port}" for port in ports]
    assert ksr.called("dispatcher.ds_select_domain") == [(group, 4)]
    assert ksr.called("tm.t_relay")


def test_nothing_could_be_sent(sidecars: Sidecars, ksr: FakeKsr) -> None:
    ksr.results["tm.t_relay"] = -1
    with refused(503):
        enter(sidecars, "3")


@pytest.mark.parametrize("silent", [True, False])
def test_next_sidecar(sidecars: Sidecars, ksr: FakeKsr, silent: bool) -> None:
    ksr.results["tm.t_branch_timeout"] = 1 if silent else -1
    sidecars.ask_next()
    assert bool(ksr.called("dispatcher.ds_mark_dst_state")) is silent
    assert len(ksr.called("tm.t_relay")) == 1
    assert ksr.called("tm.t_on_failure") == [("sidecar_failed",)]
    assert ksr.called("tm.t_on_branch") == [("to_sidecar",)]


def test_all_were_tried(sidecars: Sidecars, ksr: FakeKsr) -> None:
    ksr.results["dispatcher.ds_next_domain"] = -1
    with pytest.raises(Unavailable) as caught:
        sidecars.ask_next()
    assert (caught.value.code, caught.value.headers) == (503, "Retry-After: 5\r\n")


def refuses(sidecars: Sidecars, context: str) -> bool:
    try:
        sidecars.check_load(context)
    except Unavailable:
        return True
    return False


def refuse(sidecars: Sidecars, ksr: FakeKsr, port: int) -> None:
    """The sidecar at that port says 503."""
    ksr.results.update({"kx.get_srcip": "127.0.0.1", "kx.get_srcport": port})
    sidecars.on_refusal()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock: a list of one."""
    now = [1000.0]
    monkeypatch.setattr("kemi.sidecars.time.monotonic", lambda: now[0])
    return now


def test_where_all_of_a_pool_refuse_new_calls_are_refused(sidecars: Sidecars, ksr: FakeKsr, now: list[float]) -> None:
    refuse(sidecars, ksr, 5070)
    assert not refuses(sidecars, "3")
    refuse(sidecars, ksr, 5071)
    assert (refuses(sidecars, "3"), refuses(sidecars, "4")) == (True, False)
    now[0] += REST_S
    assert not refuses(sidecars, "3")


def test_a_sidecar_that_refused_rests_while_others_work(sidecars: Sidecars, ksr: FakeKsr, now: list[float]) -> None:
    """A new call, or one that another sidecar refuses, passes it over, and does not wait for its answer."""
    refuse(sidecars, ksr, 5070)
    chosen = iter(["sip:332@127.0.0.1:5070", "sip:332@127.0.0.1:5071"])
    ksr.results["kx.get_ruri"] = lambda: next(chosen)
    enter(sidecars, "3")
    assert (len(ksr.called("dispatcher.ds_next_domain")), len(ksr.called("tm.t_relay"))) == (1, 1)
    ksr.results["kx.get_ruri"] = "sip:332@127.0.0.1:5070"
    ksr.results["dispatcher.ds_next_domain"] = iter([1, -1]).__next__
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert len(ksr.called("tm.t_relay")) == 1
    transaction.returns = 1  # a call that comes back is not new
    enter(sidecars, "3")
    assert len(ksr.called("tm.t_relay")) == 2
    transaction.returns = 0
    now[0] += REST_S
    enter(sidecars, "3")
    assert len(ksr.called("tm.t_relay")) == 3


def test_silence_is_no_refusal(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """Other sidecars may still work. The dispatcher's probes find the silent ones."""
    ksr.results.update({"dispatcher.ds_next_domain": -1, "tm.t_branch_timeout": 1})
    enter(sidecars, "3")
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert not refuses(sidecars, "3")


def test_a_refusal_after_a_silence_is_a_refusal(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """tm shows the silent one's 408. The one that said 503 must not be counted as silent, and it rests."""
    ksr.results.update({"dispatcher.ds_next_domain": -1, "tm.t_branch_timeout": 1, "tm.t_get_branch_index": 1})
    enter(sidecars, "4")
    sidecars.on_branch()
    refuse(sidecars, ksr, 5072)
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert not ksr.called("dispatcher.ds_mark_dst_state")
    assert refuses(sidecars, "4")
