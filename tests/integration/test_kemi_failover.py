"""A sidecar that fails is passed over before the caller notices; the caller may give up at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.headers import BusyHeader, CallHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def sidecars(kamailio: RunningKamailio) -> AsyncIterator[list[Endpoint]]:
    async with Endpoint.at(*sip.SIDECARS[0]) as first, Endpoint.at(*sip.SIDECARS[1]) as second:
        await kamailio.until_flagged("AP", *sip.SIDECARS)
        yield [first, second]


async def answer(sidecar: Endpoint, invite: Message, **more: str) -> None:
    sidecar.send(sip.reply(invite, "100 Trying"))
    contact = f"<sip:s@{sidecar.host}:{sidecar.port}>"
    sidecar.send(sip.reply(invite, "200 OK", tag=f"t{sidecar.port}", Contact=contact, body=sip.SDP, **more))


async def place(caller: Endpoint, sidecars: Sequence[Endpoint]) -> tuple[Message, Endpoint, Message]:
    """A call: its INVITE, the sidecar that is asked first, and what that one got."""
    invite = caller.invite("332")
    caller.send(invite)
    asked = {asyncio.create_task(of_call(invite, sidecar)): sidecar for sidecar in sidecars}
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    task = done.pop()
    return invite, asked[task], task.result()


async def invite_first(
    caller: Endpoint, first: Endpoint, other: Endpoint, within_s: float = 5
) -> tuple[Message, Message]:
    """Place calls until `first` is asked first. `other` answers the calls that it gets until then.

    Returns the caller's INVITE and what `first` got. If that has just refused a call, it rests for a moment.
    """
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        invite, sidecar, got = await place(caller, (first, other))
        if sidecar is first:
            return invite, got
        await answer(other, got)
        await caller.receive(200)
        await asyncio.sleep(0.05)
    raise AssertionError("never asked")


async def of_call(invite: Message, sidecar: Endpoint) -> Message:
    """The INVITE as it reaches the sidecar, and none of an earlier call."""
    while (got := await sidecar.receive("INVITE")).get("Call-ID") != invite.get("Call-ID"):
        pass
    return got


async def test_silent_sidecar_is_passed_over(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    silent, alive = sidecars
    _, unanswered = await invite_first(caller, silent, alive)
    began = time.monotonic()
    got = await alive.receive("INVITE")
    assert time.monotonic() - began > 0.15  # it had its time; `receive` bounds the rest
    assert got.get(CallHeader.NAME) == unanswered.get(CallHeader.NAME)  # R2: the same CallID
    assert got.uri.endswith(f":{alive.port}")
    assert sorted(got.private()) == [
        "X-CI-Attempt",
        "X-CI-Call",
        "X-CI-Entry",
        "X-CI-Generation",
        "X-CI-Signature",
    ]  # each once, not those of both sidecars
    silent.send(sip.reply(unanswered, "100 Trying"))  # it is alive, only slow
    await silent.receive("CANCEL")
    await answer(alive, got)
    await caller.receive(200)


async def test_a_busy_sidecar_is_spared_until_its_time_is_over(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    """Each of Kamailio's workers hears of it with a reply that it gets itself."""
    busy, other = sidecars
    in_a_row, began = 0, time.monotonic()
    while in_a_row < 8 and time.monotonic() < began + 5:
        _, asked, got = await place(caller, sidecars)
        if asked is busy:
            in_a_row = 0
            await answer(busy, got, **{BusyHeader.NAME: str(BusyHeader(5_000))})
        else:
            in_a_row += 1
            await answer(other, got)
        assert not (await caller.receive(200)).private()
    assert in_a_row == 8
    await invite_first(caller, busy, other, within_s=15)


async def test_dead_sidecar_is_passed_over_and_then_left_out(
    kamailio: RunningKamailio, caller: Endpoint, sidecars: list[Endpoint]
) -> None:
    """Its port is closed, as after SIGKILL. Kamailio ignores ICMP errors, so the call must not depend on them."""
    dead, alive = sidecars
    dead.close()
    for _ in range(4):
        caller.send(caller.invite("332"))
        await answer(alive, await alive.receive("INVITE"))
        await caller.receive(200)
    await kamailio.until_flagged("IP", sip.SIDECARS[0])  # two calls told


@pytest.mark.parametrize("is_silent_first", [True, False])
async def test_one_silent_and_one_that_refuses_give_503_with_retry_after(
    caller: Endpoint, sidecars: list[Endpoint], is_silent_first: bool
) -> None:
    """As under overload. tm itself would choose our own 408 of the silent one: it prefers the lower class."""
    first, second = sidecars
    invite, got = await invite_first(caller, first, second)
    if not is_silent_first:
        first.send(sip.reply(got, "503 Service Unavailable", tag="d"))
    got = await second.receive("INVITE")
    if is_silent_first:
        second.send(sip.reply(got, "503 Service Unavailable", tag="d"))
    while (refused := await caller.receive()).status < 200:
        pass
    caller.send(sip.ack_of_failure(invite, refused))
    assert refused.status == 503
    assert refused.get("Retry-After") == "5"


async def test_draining_sidecar_is_passed_over_at_once(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    """Not only when a silent one would be: the fastest of some calls shows it, whatever else the machine does."""
    draining, alive = sidecars
    fastest_s = 1.0
    for _ in range(8):
        _, got = await invite_first(caller, draining, alive)
        began = time.monotonic()
        draining.send(sip.reply(got, "503 Service Unavailable", tag="d"))
        await answer(alive, await alive.receive("INVITE"))
        answered = await caller.receive()
        while answered.status == 100:
            answered = await caller.receive()
        assert answered.status == 200
        fastest_s = min(fastest_s, time.monotonic() - began)
        if fastest_s < 0.15:
            return
    raise AssertionError(f"the fastest of 8 took {fastest_s:.2f} s")


async def test_sidecar_killed_after_its_100_is_passed_over(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    dying, alive = sidecars
    _, got = await invite_first(caller, dying, alive)
    dying.send(sip.reply(got, "100 Trying"))
    await answer(alive, await alive.receive("INVITE"))
    await caller.receive(200)


async def test_refusal_of_a_sidecar_is_final(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    first, other = sidecars
    invite, got = await invite_first(caller, first, other)
    first.send(sip.reply(got, "488 Not Acceptable Here", tag="t"))
    caller.send(sip.ack_of_failure(invite, await caller.receive(488)))
    await other.expect_silence(0.2)


async def test_no_sidecar_gives_503_with_retry_after(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    for sidecar in sidecars:
        sidecar.options_status = "503 Draining"
    first, second = sidecars
    invite, got = await invite_first(caller, first, second)
    first.send(sip.reply(got, "503 Service Unavailable", tag="d"))
    second.send(sip.reply(await second.receive("INVITE"), "503 Service Unavailable", tag="d"))
    refused = await caller.receive(503)
    caller.send(sip.ack_of_failure(invite, refused))
    assert refused.get("Retry-After") == "5"


async def test_when_all_are_out_one_is_asked_all_the_same(
    kamailio: RunningKamailio, caller: Endpoint, sidecars: list[Endpoint]
) -> None:
    """A machine may be too busy to answer OPTIONS for a moment. Its calls must not be refused for that."""
    for sidecar in sidecars:
        sidecar.options_status = "503 Draining"
    sidecars[1].inbox = sidecars[0].inbox
    await kamailio.until_flagged("IP", *sip.SIDECARS)
    caller.send(caller.invite("332"))
    await answer(sidecars[0], await sidecars[0].receive("INVITE"))
    await caller.receive(200)
    invite = caller.invite("332")
    caller.send(invite)
    sidecars[0].send(sip.reply(await sidecars[0].receive("INVITE"), "503 Service Unavailable", tag="d"))
    refused = await caller.receive(503)
    caller.send(sip.ack_of_failure(invite, refused))
    assert refused.get("Retry-After") == "5"


async def test_cancel_before_any_answer(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    """No CANCEL may go to a sidecar that has said nothing (RFC 3261 9.1); nor may the call go to the next."""
    silent, other = sidecars
    invite, got = await invite_first(caller, silent, other)
    caller.send(sip.cancel_of(invite))
    statuses = {(await caller.receive()).status for _ in range(3)}
    assert statuses == {100, 200, 487}
    silent.send(sip.reply(got, "100 Trying"))
    await silent.receive("CANCEL")
    await other.expect_silence(0.4)


async def cancelled(sidecar: Endpoint, got: Message) -> Message:
    """The CANCEL. Kamailio's workers may see it before our 100, so that is sent again, as a sidecar does."""
    while True:
        try:
            return await sidecar.receive_only("CANCEL", timeout_s=1)
        except TimeoutError:
            sidecar.send(sip.reply(got, "100 Trying"))


@pytest.mark.parametrize("provisional", ["100 Trying", "180 Ringing"])
async def test_cancel_after_a_provisional_reply(caller: Endpoint, sidecars: list[Endpoint], provisional: str) -> None:
    first, other = sidecars
    invite, got = await invite_first(caller, first, other)
    first.send(sip.reply(got, provisional, tag="" if provisional.startswith("100") else "t"))
    if provisional.startswith("180"):
        await caller.receive(180)
    caller.send(sip.cancel_of(invite))
    cancel = await cancelled(first, got)
    assert cancel.get("Via") == got.get("Via")
    assert not cancel.private()
    first.send(sip.reply(cancel, "200 OK", tag="t"))
    first.send(sip.reply(got, "487 Request Terminated", tag="t"))
    await first.receive_only("ACK")
    caller.send(sip.ack_of_failure(invite, await caller.receive(487)))
    await other.expect_silence(0.2)


async def test_cancel_between_two_sidecars(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    silent, other = sidecars
    invite, _ = await invite_first(caller, silent, other)
    got = await other.receive("INVITE")
    other.send(sip.reply(got, "180 Ringing", tag="t"))
    await caller.receive(180)
    caller.send(sip.cancel_of(invite))
    await other.receive_only("CANCEL")
    other.send(sip.reply(got, "487 Request Terminated", tag="t"))
    caller.send(sip.ack_of_failure(invite, await caller.receive(487)))


async def test_cancel_after_the_answer_changes_nothing(caller: Endpoint, sidecars: list[Endpoint]) -> None:
    first, other = sidecars
    invite, got = await invite_first(caller, first, other)
    await answer(first, got)
    await caller.receive(200)
    caller.send(sip.cancel_of(invite))
    assert (await caller.receive()).get("CSeq").endswith("CANCEL")
    await first.expect_silence(0.2)


async def test_cancel_of_nothing_gets_481(caller: Endpoint) -> None:
    """When it comes again: its INVITE may be on the way."""
    cancel = sip.cancel_of(caller.invite("332"))
    caller.send(cancel)
    await caller.expect_silence(0.3)
    caller.send(cancel)
    assert (await caller.receive()).status == 481


async def test_rfc_3261_9_2_a_cancel_that_overtakes_its_invite_ends_it(
    caller: Endpoint, sidecars: list[Endpoint]
) -> None:
    first, other = sidecars
    other.inbox = first.inbox
    for _ in range(10):
        invite = caller.invite("332")
        cancel = sip.cancel_of(invite)
        caller.send(cancel)
        caller.send(invite)  # another worker may be quicker with it
        got = None
        with suppress(TimeoutError):
            got = await first.receive("INVITE", timeout_s=0.3)
            first.send(sip.reply(got, "100 Trying"))
        caller.send(cancel)  # timer E
        if got is not None:
            await first.receive("CANCEL")
            first.send(sip.reply(got, "487 Request Terminated", tag="t"))
        told = set()
        while len(told) < 2:
            answer = await caller.receive()
            if answer.status >= 200:
                told.add((answer.get("CSeq"), answer.status))
            if answer.status >= 300:
                caller.send(sip.ack_of_failure(invite, answer))
        assert told == {("1 CANCEL", 200), ("1 INVITE", 487)}


async def test_exception_in_a_callback_is_500_and_logged(tmp_path: Path) -> None:
    """A .pth file in the folder of packages makes `Redirects.enter` fail for calls to a DID only."""
    (tmp_path / "broken.py").write_text(
        "from kemi.redirect import Redirects\n"
        "enter = Redirects.enter\n"
        "def fail(self, user, call, *others, **more):\n"
        "    if call.facts.called_did: raise RuntimeError('boom')\n"
        "    enter(self, user, call, *others, **more)\n"
        "Redirects.enter = fail\n"
    )
    packages = sip.PACKAGES
    (tmp_path / "broken.pth").write_text(f"{packages}\nimport broken\n")
    other_net = {"KAMAILIO": (f"{sip.NET}.2", sip.KAMAILIO[1])}
    site = sip.SITE.replace(sip.KAMAILIO[0], other_net["KAMAILIO"][0])
    async with (
        sip.running_kamailio(tmp_path, site, CALLINTERACTIVE_PACKAGES=str(tmp_path)) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as caller,
        Endpoint.at(*sip.SIDECARS[0]) as first,
        Endpoint.at(*sip.SIDECARS[1]),
    ):
        invite = caller.invite("+78123210001")
        caller.send(invite, other_net["KAMAILIO"])
        caller.send(sip.ack_of_failure(invite, await caller.receive(500)), other_net["KAMAILIO"])
        for _ in range(2):  # the worker still takes calls
            caller.send(caller.invite("332"), other_net["KAMAILIO"])
        await first.receive("INVITE")
        await kamailio.logged("RuntimeError: boom")
