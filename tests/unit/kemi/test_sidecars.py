"""Which sidecar is asked next, of which pool, and when we stop asking."""

from __future__ import annotations

import time

import pytest

from callinteractive.actions import Context
from callinteractive.facts import CallFacts
from callinteractive.headers import AttemptHeader, BusyHeader, CallHeader, EntryHeader
from callinteractive.model import IvrFile, RtpEngine, sidecars_of_host
from callinteractive.signature import SignatureHeader
from kemi import memory
from kemi.anchor import MediaAnchor
from kemi.engines import Engines
from kemi.refusal import NO_MEMORY
from kemi.sidecars import REST_S, SILENT_S, Sidecars, Unavailable
from kemi.transaction import transaction
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused

CALL = CallHeader(CallFacts("c" * 32, "1:" + "c" * 32, "7", "N", "332", "000*332", 145))


KEY = b"0123456789abcdef"


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kemi.sidecars.random.shuffle", lambda _turns: None)


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


def test_a_call_that_there_is_no_memory_to_send_names_the_memory(
    sidecars: Sidecars, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "left", lambda: -1)
    ksr.results["tm.t_relay"] = -1
    with pytest.raises(Unavailable) as unsent:
        enter(sidecars, "3")
    assert unsent.value.advice == NO_MEMORY


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


def asked(ksr: FakeKsr) -> list[str]:
    """The sidecars that got the INVITE, by the last digit of their port."""
    return [uri[-1] for (uri,) in ksr.called("seturi")]


def alive(ksr: FakeKsr, *ports: int) -> None:
    """Only these live."""
    uris = [f"sip:127.0.0.1:{port}" for port in ports]
    ksr.results["dispatcher.ds_is_active_uri"] = lambda _group, uri: 1 if uri in uris else -1


@pytest.mark.parametrize(("context", "group", "ports"), [("3", 1, "01"), ("4", 3, "2")])
def test_context_s_pool_is_asked_even_where_none_lives(
    sidecars: Sidecars, ksr: FakeKsr, context: str, group: int, ports: str
) -> None:
    alive(ksr)
    enter(sidecars, context)
    enter(sidecars, context)
    assert asked(ksr) == list(ports * 2)[:2]
    assert {of for of, _ in ksr.called("dispatcher.ds_is_active_uri")} == {group}
    assert len(ksr.called("tm.t_relay")) == 2
    with pytest.raises(Unavailable):  # one is enough to find out
        sidecars.ask_next()


def test_one_sidecar_gets_the_calls_while_it_lives(sidecars: Sidecars, ksr: FakeKsr) -> None:
    for _ in range(3):
        enter(sidecars, "3")
    alive(ksr, 5071)
    enter(sidecars, "3")
    assert asked(ksr) == ["0", "0", "0", "1"]


def test_hosts_get_calls_in_turn_by_how_many_sidecars_they_have(ksr: FakeKsr) -> None:
    hosts = [*sidecars_of_host("127.0.0.1", 2, 5070), *sidecars_of_host("127.0.0.2", 1, 5070)]
    sidecars = Sidecars(hosts, IvrFile((), {"3": Context("3", "main", {})}), KEY, MediaAnchor(Engines([RtpEngine()])))
    for _ in range(3):
        enter(sidecars, "3")
    ksr.results["dispatcher.ds_is_active_uri"] = lambda _group, uri: 1 if "127.0.0.2" in uri else -1
    enter(sidecars, "3")
    first, other = "sip:332@127.0.0.1:5070", "sip:332@127.0.0.2:5070"
    assert [uri for (uri,) in ksr.called("seturi")] == [first, first, other, other]


def busy(sidecars: Sidecars, ksr: FakeKsr, port: int) -> None:
    """The sidecar at that port says that others should get calls."""
    ksr.results.update({"kx.get_srcip": "127.0.0.1", "kx.get_srcport": port})
    sidecars.on_busy(str(BusyHeader(250)))


def test_a_busy_sidecar_is_spared_for_a_while(sidecars: Sidecars, ksr: FakeKsr, now: list[float]) -> None:
    busy(sidecars, ksr, 5070)
    enter(sidecars, "3")
    enter(sidecars, "3")
    now[0] += 0.25
    enter(sidecars, "3")
    assert asked(ksr) == ["1", "1", "0"]


def test_where_all_are_busy_each_gets_calls_in_turn(sidecars: Sidecars, ksr: FakeKsr, now: list[float]) -> None:
    for port in (5070, 5071):
        busy(sidecars, ksr, port)
    for _ in range(3):
        enter(sidecars, "3")
    alive(ksr, 5071)
    enter(sidecars, "3")
    assert asked(ksr) == ["0", "1", "0", "1"]


def test_who_is_no_sidecar_is_never_busy(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """A phone's reply may say so too. Nothing is remembered of it."""
    ksr.results.update({"kx.get_srcip": "192.0.2.1", "kx.get_srcport": 5070})
    sidecars.on_busy(str(BusyHeader(250)))
    assert not sidecars._spared_until


@pytest.mark.parametrize("said", ["for=ever", "until=9", "for=10001"])
def test_what_a_sidecar_says_in_another_way_breaks_no_reply(sidecars: Sidecars, ksr: FakeKsr, said: str) -> None:
    ksr.results.update({"kx.get_srcip": "127.0.0.1", "kx.get_srcport": 5070})
    sidecars.on_busy(said)
    assert not sidecars._spared_until


def test_nothing_could_be_sent(sidecars: Sidecars, ksr: FakeKsr) -> None:
    ksr.results["tm.t_relay"] = -1
    with refused(503):
        enter(sidecars, "3")


@pytest.mark.parametrize("silent", [True, False])
def test_next_sidecar(sidecars: Sidecars, ksr: FakeKsr, silent: bool) -> None:
    enter(sidecars, "3")
    transaction.user = "332"
    ksr.results["tm.t_branch_timeout"] = 1 if silent else -1
    sidecars.ask_next()
    assert asked(ksr) == ["0", "1"]
    assert [("$xavp(_dsdst_[0]=>uri)", "sip:127.0.0.1:5070") in ksr.called("pv.sets")] == [silent]
    assert bool(ksr.called("dispatcher.ds_mark_dst_state")) is silent
    assert len(ksr.called("tm.t_relay")) == 2
    assert ksr.called("tm.t_on_failure") == [("sidecar_failed",)] * 2
    assert ksr.called("tm.t_on_branch") == [("to_sidecar",)] * 2


def test_all_were_tried(sidecars: Sidecars, ksr: FakeKsr) -> None:
    enter(sidecars, "3")
    sidecars.ask_next()
    with pytest.raises(Unavailable) as caught:
        sidecars.ask_next()
    assert (caught.value.code, caught.value.headers) == (503, "Retry-After: 5\r\n")


def test_a_pool_that_a_reload_removes_meanwhile(sidecars: Sidecars, ksr: FakeKsr) -> None:
    enter(sidecars, "4")
    later = Sidecars(sidecars_of_host("127.0.0.1", 2, 5070), IvrFile((), {}), KEY, MediaAnchor(Engines([RtpEngine()])))
    with pytest.raises(Unavailable):
        later.ask_next()


def test_a_pool_that_a_reload_empties_meanwhile(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """Those that are in no pool are a pool that is always there."""
    enter(sidecars, "3")
    members = sidecars_of_host("127.0.0.1", 3, 5070, pools={"vip": (0, 1, 2)})
    with pytest.raises(Unavailable):
        Sidecars(members, IvrFile((), {}), KEY, MediaAnchor(Engines([RtpEngine()]))).ask_next()


def test_one_that_said_nothing_is_spared(sidecars: Sidecars, ksr: FakeKsr, now: list[float]) -> None:
    enter(sidecars, "3")
    ksr.results["tm.t_branch_timeout"] = 1
    sidecars.ask_next()
    enter(sidecars, "3")
    now[0] += SILENT_S
    enter(sidecars, "3")
    assert asked(ksr) == ["0", "1", "1", "0"]


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
    enter(sidecars, "3")
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert asked(ksr) == ["1"]
    transaction.returns = 1  # a call that comes back is not new
    alive(ksr, 5070)
    enter(sidecars, "3")
    assert asked(ksr) == ["1", "0"]
    transaction.returns = 0
    with pytest.raises(Unavailable):
        enter(sidecars, "3")
    now[0] += REST_S
    enter(sidecars, "3")
    assert asked(ksr) == ["1", "0", "0"]


def test_silence_is_no_refusal(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """Other sidecars may still work. The dispatcher's probes find the silent ones."""
    ksr.results["tm.t_branch_timeout"] = 1
    enter(sidecars, "3")
    sidecars.ask_next()
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert not refuses(sidecars, "3")


def test_a_refusal_after_a_silence_is_a_refusal(sidecars: Sidecars, ksr: FakeKsr) -> None:
    """tm shows the silent one's 408. The one that said 503 must not be counted as silent, and it rests."""
    ksr.results.update({"tm.t_branch_timeout": 1, "tm.t_get_branch_index": 1})
    enter(sidecars, "4")
    sidecars.on_branch()
    refuse(sidecars, ksr, 5072)
    with pytest.raises(Unavailable):
        sidecars.ask_next()
    assert not ksr.called("dispatcher.ds_mark_dst_state")
    assert refuses(sidecars, "4")
