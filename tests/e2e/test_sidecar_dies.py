"""A sidecar is killed, or sleeps for longer than its lease: every answered call goes on (H1, H2).

What counts is what phones notice: sound, digits, and a BYE for both sides in the end. Each test runs twice.
`RESTARTED`: the only sidecar is killed, and takes its calls back when its supervisor has started it again. `TAKEN`: it
hangs, and the other one takes its calls; then it is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from callinteractive.record import HEIR_STEP
from cli.stack import STABLE_AFTER_S
from tests.e2e.conftest import EXTENSION, LOG, _ivr_yaml, own_net
from tests.e2e.ivr import MENU, RECORDER, SCRIPTED_GET, TRANSFER
from tests.e2e.transfers import FIRST, ONE_HZ, OTHER_HZ, CalledPhones, both_hear, connected, transfer
from tests.support.callee import Callee
from tests.support.leftovers import assert_idle
from tests.support.phone import Phone
from tests.support.rtp import RtpEndpoint
from tests.support.sipp import ANSWERS_UPDATE
from tests.support.stack import RunningStack, until
from tests.support.webapp import FakeWebApp, Reply, actions

RESTARTED, TAKEN = "restarted", "taken"
RINGBACK_HZ = 425
EARLY_HZ = 1100
SURVIVES_S = 15.0
"""By then its calls are somebody's again, also on a busy machine."""
LONG = "<PlaySound>tone-880-3000.wav</PlaySound>"
TWICE = ("-aa", "-m", "2")
_THE_200 = '<recv response="200" rrs="true"/>'
_ACK_TO, _PEER = (
    "      Call-ID: [call_id]\n      CSeq: 1 ACK",
    "<sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]",
)
NO_ACK_YET = {
    _THE_200: f'{_THE_200}<recv response="200" optional="true" rrs="true"/><recv request="MESSAGE"/>',
    f"      [last_To:]\n{_ACK_TO}": f"      To: {_PEER}\n{_ACK_TO}",
}
"""A caller that sends its ACK when it is nudged. The 200 may come again from another sidecar."""


Place = Callable[..., Phone]


@pytest.fixture(scope="module", params=[RESTARTED, TAKEN])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mortal(how: str, web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    """A stack whose sidecars die again and again."""
    net = own_net(2)
    directory = tmp_path_factory.mktemp("mortal")
    async with RunningStack(net, directory, _ivr_yaml(web), sidecars=1 if how == RESTARTED else 2) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(mortal: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """After each test, nothing of its calls may be left, wherever they were."""
    request.node.stash[LOG] = (mortal, len(mortal.log))
    yield mortal
    await until(lambda: all(_lives(mortal, index) for index in range(len(mortal.idle))), SURVIVES_S, "all sidecars")
    lives_since = time.monotonic()
    await assert_idle(mortal, within_s=10)
    # One that dies soon after its start waits longer and longer for the next: so that no test pays for those before it.
    await until(lambda: time.monotonic() - lives_since > STABLE_AFTER_S, STABLE_AFTER_S + 2, "a stable sidecar")


def _lives(stack: RunningStack, index: int) -> bool:
    """Whether it has been started again each time that it was killed."""
    deaths = sum(f"sidecar-{index} ended (SIGKILL)" in str(entry["event"]) for entry in stack.entries())
    return stack.starts(f"sidecar-{index}") > deaths


@pytest.fixture
def call(stack: RunningStack, caller: str) -> Place:
    """Its phones answer UPDATE, but go on to send their requests where the call has begun."""

    def place(number: str, *, is_internal: bool = False, **options: Any) -> Phone:
        where, who = (stack.net.phone, EXTENSION) if is_internal else (stack.net.carrier, caller)
        return Phone(stack.net.sip, number, **({"host": where, "caller": who, "arguments": ANSWERS_UPDATE} | options))

    return place


@pytest.fixture
def callees(stack: RunningStack) -> CalledPhones:
    return CalledPhones(stack)


class Death:
    """Of the sidecar that has the call of `caller`."""

    def __init__(self, stack: RunningStack, caller: str) -> None:
        self._stack = stack
        self.since = len(stack.log)
        calls = stack.entries(event="call", caller=caller)
        assert calls, f"no call of {caller}"
        self.call_id = str(calls[-1]["call_id"])
        taken = stack.entries(event="call taken over", call_id=self.call_id)
        self.part = str((taken or calls)[-1]["part"])
        self.pid = stack.pid(self.part)

    def strike(self, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, how)

    async def seen(self) -> None:
        """Wait until its supervisor has noticed."""
        ended = f"{self.part} ended (SIGKILL)"
        noticed = lambda: any(ended in str(entry["event"]) for entry in self._stack.entries(self.since))  # noqa: E731
        await until(noticed, SURVIVES_S, ended)

    async def survived(self) -> str:
        """Wait until somebody has the call; returns who."""
        entry = await self._stack.logged(SURVIVES_S, self.since, event="call taken over", call_id=self.call_id)
        return str(entry["part"])


Kill = Callable[..., Any]


def _options(how: str) -> tuple[str, ...]:
    """Of a phone that rings meanwhile, see `_rings_on`."""
    return ANSWERS_UPDATE if how == RESTARTED else TWICE


async def _rings_on(callee: Callee, how: str) -> None:
    """Where another sidecar has the call, it rings once more: the first ringing can't be taken over."""
    if how == TAKEN:
        await callee.rings(nth=2)


@pytest.fixture
def killed(stack: RunningStack, caller: str, how: str) -> Kill:
    """The sidecar that has the call dies; returns when somebody has the call. What is given is done meanwhile."""

    async def kill(meanwhile: Awaitable[None] | None = None) -> None:
        await stack.kept()
        death = Death(stack, caller)
        death.strike(signal.SIGKILL if how == RESTARTED else signal.SIGSTOP)
        if meanwhile is not None:
            await meanwhile
        heir = await death.survived()
        if how == TAKEN:
            assert heir != death.part
            death.strike()
        await death.seen()

    return kill


def assert_no_gap(sound: RtpEndpoint) -> None:
    """Not one packet of 20 ms is missing. When each came says little on a busy machine."""
    numbers = [packet.sequence for packet in sound.packets if packet.ssrc == sound.packets[-1].ssrc]
    assert len(numbers) > 150, "the tone of 4 s"
    assert [after for before, after in pairwise(numbers) if (after - before) % 2**16 != 1] == []


async def test_a_prompt_is_heard_to_its_end(call: Place, web: FakeWebApp, caller: str, killed: Kill) -> None:
    web.on(caller, actions(LONG * 3), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(880)
        await killed()
        await phone.sound.hear_tone(880)
        await web.request(caller, nth=2, within_s=20)
        await phone.hung_up()
    assert 8.5 < phone.sound.tone_duration(880) < 13, "each of the three to its end, and at most one of them again"


async def test_a_call_without_its_ack_goes_on(call: Place, web: FakeWebApp, caller: str, killed: Kill) -> None:
    """RFC 3261 13.3.1.4."""
    web.on(caller, actions("<Hangup/>"))
    async with call(MENU, replace=NO_ACK_YET) as phone:
        await phone.answered()
        await killed()
        phone.sipp.nudge()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("1")
        await web.request(caller)
        await phone.hung_up()


async def test_a_number_is_dialled_across_the_death(call: Place, web: FakeWebApp, caller: str, killed: Kill) -> None:
    """Every sidecar hears every digit. Where the only one dies, they wait for the process that takes its place."""
    web.on(caller, actions("<Hangup/>"))
    async with call(RECORDER) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("1")
        await phone.sound.hear_silence()
        await killed(phone.sound.send_digits("11"))
        await phone.sound.send_digits("2")
        recorded = await web.request(caller)
        await phone.hung_up()
    assert recorded.query["code"] == "1112", "none is lost, none counts twice"


async def test_a_menu_takes_a_choice_after_the_death(
    call: Place, web: FakeWebApp, caller: str, killed: Kill, stack: RunningStack
) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(MENU) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await killed()
        await phone.sound.send_digits("1")
        option = await web.request(caller)
        await phone.hung_up()
    assert option.query["is"] == "1"
    end = (await stack.story(caller))[-1]  # E1: of both sidecars
    assert [step["option"] for step in end["path"]] == ["start", "1"]
    assert end["seq"] > HEIR_STEP
    assert end["began_at"] <= end["answered_at"] <= end["ended_at"]


async def test_the_web_application_is_asked_again_once_with_the_same_id(
    call: Place, web: FakeWebApp, caller: str, killed: Kill
) -> None:
    web.on(caller, Reply(delay_s=30), actions("<Hangup/>"))
    async with call(TRANSFER) as phone:
        await phone.answered()
        first = await web.request(caller)
        await killed()
        second = await web.request(caller, nth=2)
        await phone.hung_up()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.form == second.form
    assert len(web.requests[caller]) == 2


async def test_who_rings_can_answer(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill, how: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        callees.first(arguments=_options(how)) as callee,
        call(TRANSFER) as phone,
    ):
        await phone.answered()
        await callee.rings()
        await phone.sound.hear_tone(RINGBACK_HZ, for_s=0.3)
        await killed()
        await _rings_on(callee, how)
        await phone.sound.hear_tone(RINGBACK_HZ, for_s=0.3)
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


async def test_who_rings_with_early_media_can_answer(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill, how: str
) -> None:
    web.on(caller, transfer(FIRST, early_media="True"))
    async with callees.first("callee-early-media", arguments=_options(how)) as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        saying = asyncio.create_task(callee.sound.send_tone(EARLY_HZ, 4))
        await phone.sound.hear_tone(EARLY_HZ)
        await killed()
        await _rings_on(callee, how)
        await saying
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await callee.hangs_up()
        await phone.hung_up()


async def test_a_caller_who_gives_up_stops_the_ringing(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill, how: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        callees.first(arguments=_options(how)) as callee,
        call(TRANSFER) as phone,
    ):
        await phone.answered()
        await callee.rings()
        await killed()
        await _rings_on(callee, how)
        await phone.hang_up()
        await callee.sipp.wait_for("CANCEL", within_s=3, nth=1 if how == RESTARTED else 2)
        await callee.sipp.finished(within_s=3)


@pytest.mark.parametrize("who_hangs_up", ["caller", "callee"])
async def test_a_talk_is_not_interrupted(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill, who_hangs_up: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first(arguments=ANSWERS_UPDATE) as callee, call(TRANSFER) as phone:
        await connected(phone, callee)
        saying = asyncio.gather(phone.sound.send_tone(ONE_HZ, 4), callee.sound.send_tone(OTHER_HZ, 4))
        await killed()
        await saying
        assert_no_gap(phone.sound)
        assert_no_gap(callee.sound)
        await both_hear(phone.sound, callee.sound)
        if who_hangs_up == "caller":
            await phone.hang_up()
            await callee.hung_up()
        else:
            await callee.hangs_up()
            await phone.hung_up()


async def test_a_held_talk_is_resumed(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first(arguments=ANSWERS_UPDATE) as callee, call(TRANSFER, scenario="hold") as phone:
        await connected(phone, callee)
        phone.sipp.nudge()
        await phone.sipp.wait_for(200, within_s=8, nth=2)
        await killed()
        phone.sipp.nudge()
        resumed = await phone.sipp.wait_for(200, within_s=8, nth=3)
        assert "a=sendrecv" in resumed.body
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


async def test_after_a_blind_transfer(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill
) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        callees.first("callee-refers") as first,
        callees.second(arguments=ANSWERS_UPDATE) as second,
        call(TRANSFER) as phone,
    ):
        await connected(phone, first)
        first.nudge()
        await second.rings()
        await second.picks_up()
        await first.hung_up()
        await both_hear(phone.sound, second.sound)
        await killed()
        await both_hear(phone.sound, second.sound)
        await phone.hang_up()
        await second.hung_up()


async def test_a_blind_transfer_under_way(
    call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, killed: Kill, how: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        callees.first("callee-refers", arguments=ANSWERS_UPDATE) as first,
        callees.second(arguments=_options(how)) as second,
        call(TRANSFER) as phone,
    ):
        await connected(phone, first)
        first.nudge()
        await second.rings()
        await killed()
        await _rings_on(second, how)
        await second.picks_up()
        await first.hung_up()
        await both_hear(phone.sound, second.sound)
        await phone.hang_up()
        await second.hung_up()


async def test_a_caller_hangs_up_while_its_sidecar_is_dead(
    stack: RunningStack, call: Place, web: FakeWebApp, caller: str, callees: CalledPhones, how: str
) -> None:
    """Its BYE waits in Kamailio until somebody has the call."""
    web.on(caller, transfer(FIRST))
    async with callees.first(arguments=ANSWERS_UPDATE) as callee, call(TRANSFER) as phone:
        await connected(phone, callee)
        await stack.kept()
        death = Death(stack, caller)
        death.strike(signal.SIGKILL if how == RESTARTED else signal.SIGSTOP)
        phone.sipp.nudge()
        await phone.sipp.finished(within_s=8)
        await callee.hung_up(within_s=SURVIVES_S)
        if how == TAKEN:
            death.strike()
        await death.seen()


@pytest.mark.parametrize("how", [TAKEN], indirect=True, scope="module")
async def test_one_that_sleeps_gives_its_calls_up(
    stack: RunningStack, call: Place, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """Stopped for longer than its lease: another one has the talk, tells both phones so, and keeps it."""
    web.on(caller, transfer(FIRST))
    async with callees.first(arguments=ANSWERS_UPDATE) as callee, call(TRANSFER) as phone:
        await connected(phone, callee)
        await stack.kept()
        death = Death(stack, caller)
        saying = asyncio.gather(phone.sound.send_tone(ONE_HZ, 8), callee.sound.send_tone(OTHER_HZ, 8))
        death.strike(signal.SIGSTOP)
        heir = await death.survived()
        assert heir != death.part
        await callee.sipp.wait_for("UPDATE", within_s=3)
        death.strike(signal.SIGCONT)
        await stack.logged(
            since=death.since, event="call given up", call_id=death.call_id, part=death.part, within_s=SURVIVES_S
        )
        await saying
        assert_no_gap(phone.sound)
        assert_no_gap(callee.sound)
        byes = [message for message in (*phone.sipp.messages(), *callee.sipp.messages()) if message.is_request("BYE")]
        assert byes == []
        await phone.hang_up()
        await callee.hung_up()
    await stack.logged(since=death.since, event="call ended", call_id=death.call_id, part=heir)
    assert not stack.entries(death.since, event="call ended", call_id=death.call_id, part=death.part)


@pytest.mark.parametrize("how", [RESTARTED], indirect=True, scope="module")
async def test_one_that_sleeps_alone_goes_on(stack: RunningStack, call: Place, web: FakeWebApp, caller: str) -> None:
    """Where nobody else is there, its calls are still its own."""
    web.on(caller, actions(LONG + LONG), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(880)
        await stack.kept()
        death = Death(stack, caller)
        death.strike(signal.SIGSTOP)
        await asyncio.sleep(2)
        death.strike(signal.SIGCONT)
        await web.request(caller, nth=2, within_s=15)
        await phone.hung_up()
    assert not stack.entries(death.since, event="call given up")
