"""What a call does with its legs, its media and its script, in the orders that races produce.

Leg and media are fakes that write down what is asked of them; the script, the inbox and the task are real.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callinteractive.config import load_ivr_file
from callinteractive.events import Fetched, FetchFailed
from callinteractive.facts import CallFacts
from callinteractive.headers import EntryHeader, ResultHeader, StateHeader, TransferHeader
from callinteractive.model import Address
from sidecar import sip
from sidecar.call import call as call_module
from sidecar.call.call import Call, Resumption
from sidecar.media.dtmf import DigitEvent
from sidecar.media.errors import MediaUnavailable, NoCommonCodec
from sidecar.media.sounds import Sound

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)


class Recorder:
    """Answers every method call, sync or awaited, and remembers it as ``name`` or ``name(argument)``."""

    def __init__(self, log: list[str], prefix: str, results: dict[str, Any]) -> None:
        self._log, self._prefix, self._results = log, prefix, results

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **_kwargs: Any) -> Any:
            shown = getattr(args[0], "name", args[0]) if args and not isinstance(args[0], bytes) else ""
            self._log.append(f"{self._prefix}.{name}" + (f"({shown})" if shown else ""))
            result = self._results.get(name, "sdp")
            if isinstance(result, Exception):
                raise result
            return result

        return method


class FakeMedia(Recorder):
    sound_ends_at = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = super().__getattr__(name)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return method(*args, **kwargs)

        return awaited


class FakeLeg(Recorder):
    answered = False
    ended = False
    listener: Callable[[sip.Event], None]

    def answer(self, _sdp: bytes) -> None:
        self._log.append(f"{self._prefix}.answer")
        self.answered = True

    def redirect(self, _contacts: Any, headers: Any) -> None:
        self._log.append(f"{self._prefix}.redirect")
        self.redirected = dict(headers)

    def bye(self, headers: Any = ()) -> None:
        self._log.append(f"{self._prefix}.bye" + "".join(f"({value})" for _, value in headers))
        self.ended = True


class Harness:
    """A call in an IVR whose `start` option has the given rules."""

    def __init__(
        self,
        rules: str,
        monkeypatch: pytest.MonkeyPatch,
        answer_at: str = "at_once",
        resumed: Any = None,
        pool: str | None = None,
        **results: Any,
    ) -> None:
        text = f"""
ivrs: [{{number: "000*332", id: 145, entry_context: 1, answer: {answer_at}}}]
contexts:
  1: {{options: {{start: {rules}, "1": [play_sound: {{file: one.wav}}], "12": [hangup]}}, inter_digit_timeout: 60}}
"""
        self.log: list[str] = []
        self.fetched: asyncio.Queue[Any] = asyncio.Queue()
        self.b_leg = FakeLeg(self.log, "b", {})
        self.invites: list[dict[str, str | None]] = []
        monkeypatch.setattr(call_module, "CallMedia", lambda _ng, _id: FakeMedia(self.log, "media", results))
        ivr_file = load_ivr_file(text, "ivr.yaml")
        self.digits: Any = None
        services = SimpleNamespace(
            index=0, pool=pool, ivr_file=ivr_file, ng=None, proxy=Address("127.9.0.1", 5060),
            observe=lambda _note: None,
            agent=SimpleNamespace(invite=self._invite),
            dtmf=SimpleNamespace(subscribe=self._subscribe, unsubscribe=lambda _id: self.log.append("unsubscribed")),
            sounds=SimpleNamespace(find=self._find), ringback=Sound("ringback", Path("r"), 5000),
            webhook=SimpleNamespace(fetch=self._fetch),
        )  # fmt: skip
        self.leg = FakeLeg(self.log, "a", {})
        invite = SimpleNamespace(sdp=results.get("invite_sdp", b"offer"), max_forwards=70)
        entry = resumed or EntryHeader("000*332", "1", "start")
        self.call = Call(services, self.leg, invite, FACTS, ivr_file.ivrs[0], entry)  # type: ignore[arg-type]

    def _subscribe(self, _id: str, listener: Any) -> None:
        self.digits = listener

    def _find(self, name: str) -> Sound | None:
        return None if name == "missing.wav" else Sound(name, Path(name), 40)

    async def _fetch(self, _request: Any) -> Any:
        self.log.append("fetch")
        try:
            return await self.fetched.get()
        except asyncio.CancelledError:
            self.log.append("fetch cancelled")
            raise

    def _invite(
        self, _uri: str, _sdp: bytes, listener: Any, *, from_: str | None, headers: Any, max_forwards: int
    ) -> FakeLeg:
        self.invites.append({"From": from_, **dict(headers)})
        self.b_leg.listener = listener
        self.log.append(f"invite(max_forwards {max_forwards})")
        return self.b_leg

    async def until(self, entry: str) -> None:
        """Wait until the log has `entry`."""
        async with asyncio.timeout(5):
            while entry not in self.log:
                await asyncio.sleep(0.001)

    async def answered(self) -> None:
        await self.until("a.answer")
        self.leg.listener(sip.Acked(None))

    async def over(self) -> list[str]:
        async with asyncio.timeout(5):
            await asyncio.wait([self.call.task])
        assert self.call.task.exception() is None
        return self.log


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Harness]:
    return lambda rules, **results: Harness(rules, monkeypatch, **results)


async def test_a_whole_call_in_order(make):
    h = make("[play_sound: {file: a.wav}, hangup]")
    await h.answered()
    assert await h.over() == [
        "media.answer(offer)", "a.answer", "media.play(a.wav)", "a.bye(SIP ;cause=200 ;text=\"the script says so\")",
        "unsubscribed", "media.delete",
    ]  # fmt: skip


async def test_nothing_runs_before_the_ACK(make):
    h = make("[play_sound: {file: a.wav}]")
    await h.until("a.answer")
    h.digits(DigitEvent("1", 100))
    await asyncio.sleep(0.01)
    assert h.log == ["media.answer(offer)", "a.answer"]
    h.call.hang_up()
    await h.over()


async def test_a_digit_before_the_ACK_is_kept(make):
    h = make("[pause: {length: 0}]")
    await h.until("a.answer")
    h.digits(DigitEvent("1", 100))
    h.leg.listener(sip.Acked(None))
    await h.until("media.play(one.wav)")
    h.call.hang_up()
    await h.over()


async def test_an_offerless_invite_takes_the_answer_from_the_ACK(make):
    h = make("[hangup]", invite_sdp=None)
    await h.until("a.answer")
    h.leg.listener(sip.Acked(b"answer"))
    assert (await h.over())[:3] == ["media.offer", "a.answer", "media.accept(answer)"]


async def test_A8_a_digit_stops_the_sound(make):
    h = make("[play_sound: {file: a.wav, where: background}]")
    await h.answered()
    await h.until("media.play(a.wav)")
    h.digits(DigitEvent("1", 100))
    await h.until("media.play(one.wav)")
    assert h.log.index("media.stop") > h.log.index("media.play(a.wav)")
    h.call.hang_up()
    await h.over()


async def test_a_timer_of_a_replaced_command_is_stale(make):
    """The wait for the first digit ends in the same instant as that digit comes: the number goes on."""
    h = make("[pause: {length: 0}]")
    await h.answered()
    async with asyncio.timeout(5):
        while "command" not in h.call._timers:
            await asyncio.sleep(0.001)
    timer = h.call._timers["command"]
    h.digits(DigitEvent("1", 100))  # in the inbox first …
    timer._callback(*timer._args)  # … and the end of the wait right behind
    await asyncio.sleep(0.01)
    h.digits(DigitEvent("2", 100))
    await h.until('a.bye(SIP ;cause=200 ;text="the script says so")')
    assert "media.play(one.wav)" not in h.log


@pytest.mark.parametrize("event", [sip.Ended(sip.EndReason.BYE), sip.Cancelled(None)])
@pytest.mark.parametrize(
    ("rules", "when"),
    [
        ("[play_sound: {file: a.wav}]", "media.play(a.wav)"),
        ('[call_interactive: {url: "http://h/"}]', "fetch"),
        ('[simple_transfer: {to: ["1"]}]', "invite(max_forwards 69)"),
    ],
)
async def test_A15_the_caller_hangs_up_in_the_middle(make, event, rules, when):
    h = make(rules)
    await h.answered()
    await h.until(when)
    h.leg.listener(event)
    log = await h.over()
    assert not [entry for entry in log if entry.startswith(("a.bye", "a.reject"))]
    assert log[-1] == "media.delete"
    assert ("fetch cancelled" in log) == (when == "fetch")
    assert ("b.bye" in log) == when.startswith("invite")


async def test_A15_the_caller_cancels_before_the_answer(make):
    h = make("[hangup]")
    await h.until("media.answer(offer)")
    h.leg.listener(sip.Cancelled(None))
    log = await h.over()
    assert log[-2:] == ["unsubscribed", "media.delete"]
    assert "a.reject(487)" not in log


@pytest.mark.parametrize(("error", "code"), [(NoCommonCodec("none"), 488), (MediaUnavailable("dead"), 503)])
async def test_media_that_cannot_be_had_refuses_the_call(make, error, code):
    h = make("[hangup]", answer=error)
    assert f"a.reject({code})" in await h.over()


async def test_media_lost_in_the_call_ends_it_with_a_reason(make):
    h = make("[play_sound: {file: a.wav}]", play=MediaUnavailable("dead"))
    await h.answered()
    assert 'a.bye(SIP ;cause=503 ;text="media: dead")' in await h.over()


async def test_a_bug_ends_the_call_and_leaks_nothing(make):
    h = make("[play_sound: {file: a.wav}]", play=RuntimeError("bug"))
    await h.answered()
    log = await h.over()
    assert 'a.bye(SIP ;cause=500 ;text="internal error")' in log
    assert log[-1] == "media.delete"


async def test_A6_a_missing_sound_does_not_end_the_call(make):
    h = make("[play_sound: {file: missing.wav}, play_sound: {file: a.wav}, hangup]")
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


@pytest.mark.parametrize("answer", [Fetched(200, b""), Fetched(500, b"x"), FetchFailed("timeout", "slow")])
async def test_X3_the_next_rule_runs_whatever_the_web_application_does(make, answer):
    h = make('[call_interactive: {url: "http://h/"}, play_sound: {file: a.wav}, hangup]')
    h.fetched.put_nowait(answer)
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


async def test_a_reoffer_is_answered_and_a_bad_one_refused(make):
    h = make("[pause]", reoffer=NoCommonCodec("none"))
    await h.answered()
    answers: list[str] = []
    respond = Recorder(answers, "respond", {})
    h.leg.listener(sip.ReOffered(b"hold", respond))
    h.leg.listener(sip.ReOffered(None, respond))
    while len(answers) < 2:
        await asyncio.sleep(0.001)
    assert answers == ["respond.reject(488)", "respond.answer"]
    h.call.hang_up()
    await h.over()


async def test_INFO_and_RTP_digits_do_not_count_twice(make):
    h = make('[play_sound: {file: a.wav, where: background, digitvar: v}, call_interactive: {url: "http://h/?v=$v"}]')
    await h.answered()
    await h.until("media.play(a.wav)")
    h.leg.listener(sip.DigitReceived("1", 100))
    h.digits(DigitEvent("1", 100))
    await h.until("fetch")
    assert h.call._script.variables["v"] == "1"
    h.call.hang_up()
    await h.over()


async def test_A10_a_transfer_answered_connects_and_ends_with_the_callee(make):
    h = make('[simple_transfer: {to: ["1", "2"], timeout: 7, early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert TransferHeader.parse(h.invites[0]["X-CI-Transfer"]) == TransferHeader(("1", "2"), 7, True)
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    assert "a.bye(Q.850;cause=16)" in await h.over()


async def test_A12_ringback_starts_once_and_early_media_replaces_it(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.early(b1)")
    assert h.log.count("media.play(ringback)") == 1
    h.call.hang_up()
    await h.over()


async def test_A12_early_media_is_not_heard_unless_asked_for(make):
    h = make('[simple_transfer: {to: ["1"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.play(ringback)")
    assert "media.early(b1)" not in h.log
    h.call.hang_up()
    await h.over()


async def test_A13_a_failed_transfer_gives_the_media_back_and_goes_on(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, play_sound: {file: a.wav}, simple_transfer: {to: ["2"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    await h.until("media.offer_leg(b2)")
    assert h.log.index("media.unbridge(b1)") < h.log.index("media.play(a.wav)") < h.log.index("media.offer_leg(b2)")
    assert h.call._script.variables == {"TRANSFER_STATUS": "busy", "TRANSFER_CODE": "486"}
    while len(h.invites) < 2:
        await asyncio.sleep(0.001)
    h.b_leg.listener(sip.Rejected(408, "Request Timeout", None))
    assert any(entry.startswith("a.bye(SIP ;cause=408") for entry in await h.over())


ROUTING = '[call_interactive: {url: "http://h/"}, simple_transfer: {to: ["1"], final: no}, hangup]'


async def test_C6_an_unanswered_call_is_redirected_with_its_script(make):
    h = make(ROUTING, answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    assert await h.over() == ["fetch", "a.redirect", "unsubscribed", "media.delete"]
    assert TransferHeader.parse(h.leg.redirected["X-CI-Transfer"]) == TransferHeader(("1",))
    state = StateHeader.parse(h.leg.redirected["X-CI-State"])

    resumed = make(ROUTING, answer_at="on_media", resumed=Resumption(state, ResultHeader(486)))
    assert "a.reject(603)" in await resumed.over()
    assert resumed.call._script.variables["TRANSFER_STATUS"] == "busy"


async def test_C6_a_final_transfer_leaves_no_script_behind(make):
    h = make('[simple_transfer: {to: ["1"]}]', answer_at="on_media")
    await h.over()
    assert "X-CI-State" not in h.leg.redirected


async def test_C6_the_first_action_that_needs_media_answers(make):
    h = make('[call_interactive: {url: "http://h/"}, play_sound: {file: a.wav}, hangup]', answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    await h.answered()
    assert (await h.over())[:4] == ["fetch", "media.answer(offer)", "a.answer", "media.play(a.wav)"]


async def test_C6_a_script_too_long_for_a_header_is_answered_and_bridged(make, monkeypatch):
    monkeypatch.setattr(StateHeader, "is_too_long", True)
    h = make('[simple_transfer: {to: ["1"], final: no}]', answer_at="on_media")
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.call.hang_up()
    assert "a.redirect" not in await h.over()


async def test_C6_hangup_refuses_an_unanswered_call(make):
    h = make("[hangup]", answer_at="on_media")
    assert "a.reject(603)" in await h.over()


async def test_C6_the_caller_cancels_in_the_dip(make):
    h = make(ROUTING, answer_at="on_media")
    await h.until("fetch")
    h.leg.listener(sip.Cancelled(None))
    assert "a.redirect" not in await h.over()


async def test_A4_an_unanswered_jump_to_another_pool_is_left_to_Kamailio(make):
    """The script goes along, and its first command is begun there, not here."""
    h = make(ROUTING, answer_at="on_media", pool="vip")
    assert await h.over() == ["a.redirect", "unsubscribed", "media.delete"]
    assert set(h.leg.redirected) == {"X-CI-State", "X-CI-Entry"}
    state = StateHeader.parse(h.leg.redirected["X-CI-State"])

    there = make(ROUTING, answer_at="on_media", resumed=Resumption(state, None))
    await there.until("fetch")
    there.call.hang_up()
    await there.over()


async def test_A4_an_answered_call_runs_a_foreign_context_where_it_is(make):
    h = make("[play_sound: {file: a.wav}, hangup]", pool="vip")
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        ("", '"Ann" <sip:306@127.9.0.1>'),
        ("""set_caller: {name: 'A "B"', number: "7 8"},""", r'"A \"B\"" <sip:7%208@127.9.0.1>'),
        ("set_caller: {number: anonymous},", None),
    ],
)
async def test_A5_a_callee_is_shown_the_caller(make, before, shown):
    h = make(f'[{before} simple_transfer: {{to: ["1"]}}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert h.invites[0]["From"] == shown
    h.leg.listener(sip.Ended(sip.EndReason.BYE))
    await h.over()


async def test_a_call_is_freed_at_its_end_without_the_garbage_collector(make):
    h = make('[call_interactive: {url: "http://h/"}]')
    await h.answered()
    await h.until("fetch")
    h.fetched.put_nowait(Fetched(200, b"<Response><Hangup/></Response>"))
    await h.over()
    call = weakref.ref(h.call)
    gc.disable()
    try:
        h.leg.listener = h.digits = h.call = None  # as the user agent and the receiver of digits have
        await asyncio.sleep(0)
        assert call() is None
    finally:
        gc.enable()
