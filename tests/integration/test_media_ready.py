"""Sessions that a real RTPengine has made in advance (`sidecar.media.ready`)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.call_media import CallMedia
from sidecar.media.engines import Engines
from sidecar.media.purge import purge
from sidecar.media.ready import MARK
from sidecar.state.keeper import All
from tests.integration.media_support import ENGINE, PHONES, Studio, StudioCall
from tests.support.rtp import RtpEndpoint
from tests.support.timing import PATIENT_S


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


async def answered(studio: Studio, phone: RtpEndpoint) -> StudioCall:
    """A call whose SIP comes from where its phone is."""
    call = studio.call()
    call.media = CallMedia(studio.engines, call.media.media_id, caller_from=PHONES)
    phone.send_to(await call.media.answer(phone.sdp()))
    studio.engines.digits.subscribe(call.media.name, call.on_digit)
    return call


async def ready(studio: Studio, count: int = 1) -> None:
    [engine] = studio.engines
    async with asyncio.timeout(PATIENT_S):
        while engine.sessions.waiting != count:
            await asyncio.sleep(0.01)


async def one_is_ready(studio: Studio) -> None:
    """One call has come and gone."""
    call = await answered(studio, await studio.phone(quiet=True))
    await ready(studio)
    await call.media.delete()


async def test_a_call_that_wants_nothing_costs_nothing(studio: Studio) -> None:
    await one_is_ready(studio)
    sent = studio.ng.counters.commands
    ports = set()
    for _ in range(3):
        phone = await studio.phone(quiet=True)
        call = await answered(studio, phone)
        assert MARK in call.media.name
        ports.add(phone.destination)
        await call.media.delete()
    assert studio.ng.counters.commands == sent
    assert len(ports) == 1  # the same session each time


async def test_its_sounds_digits_and_transfers_are_as_in_any_call(studio: Studio) -> None:
    await one_is_ready(studio)
    a, b = await studio.phone(), await studio.phone("PCMA")
    call = await answered(studio, a)
    assert MARK in call.media.name
    await call.media.play(studio.sound(700, 9))
    await a.hear_tone(700)
    await a.send_digits("42")
    await call.expect_digits("42")
    b.send_to(await call.media.offer_leg("b1"))
    await call.media.bridge("b1", b.sdp())
    for here, there in ((a, b), (b, a)):
        await here.send_tone(400, 0.5)
        await there.hear_tone(400)
    await call.media.unbridge("b1")
    await call.media.play(studio.sound(900, 9))
    await a.hear_tone(900)
    await a.send_digits("7")
    await call.expect_digits("7")
    assert [each["who"] for each in await call.media.counters()] == ["caller"]
    await call.media.delete()
    await ready(studio)  # another one has taken its place
    async with asyncio.timeout(PATIENT_S):
        while await studio.calls() != 1:
            await asyncio.sleep(0.01)


async def test_digits_are_heard_before_anything_is_played(studio: Studio) -> None:
    """It is soon told of a caller, also while the web application takes its time."""
    await one_is_ready(studio)
    phone = await studio.phone()
    call = await answered(studio, phone)
    sent = studio.ng.counters.commands
    async with asyncio.timeout(PATIENT_S):
        while studio.ng.counters.commands == sent:
            await asyncio.sleep(0.01)
    await phone.send_digits("5")
    await call.expect_digits("5")


async def test_who_had_the_port_before_is_neither_heard_nor_answered(studio: Studio) -> None:
    await one_is_ready(studio)
    before, phone = await studio.phone(), await studio.phone()
    call = await answered(studio, before)
    await before.send_tone(300, 0.04)
    await call.media.delete()
    call = await answered(studio, phone)
    assert phone.destination == before.destination
    before.forget()
    await call.media.play(studio.sound(700, 9))
    await asyncio.gather(before.send_digits("666"), phone.send_digits("1"))
    await phone.hear_tone(700)
    await call.expect_digits("1")
    assert not before.packets


async def test_a_session_that_is_gone_is_made_anew(studio: Studio) -> None:
    """RTPengine was started again, and nobody has noticed yet."""
    await one_is_ready(studio)
    [name] = (await studio.ng.command("list", fields={"limit": 9}))["calls"]
    await studio.ng.command("delete", name, {"delete-delay": 0})
    phone = await studio.phone()
    call = await answered(studio, phone)
    await call.media.play(studio.sound(700, 9))
    where = call.media.moved()
    assert where is not None
    phone.send_to(where)
    await phone.hear_tone(700)
    await purge(studio.ng, "left-behind", {call.media.media_id})
    assert call.media.name in (await studio.ng.command("list", fields={"limit": 9}))["calls"]


async def test_a_callee_gets_the_ports_of_sessions_that_wait(studio: Studio) -> None:
    """RTPengine destroys a call whose callee gets no port: it is made anew, and the offer is repeated."""
    [engine] = studio.engines
    phones = [await studio.phone(quiet=True) for _ in range(10)]
    calls = await asyncio.gather(*(answered(studio, phone) for phone in phones))
    async with asyncio.timeout(PATIENT_S):
        while engine.sessions.waiting < 4:
            await asyncio.sleep(0.01)
    await asyncio.gather(*(call.media.delete() for call in calls))
    call = await answered(studio, await studio.phone())
    async with asyncio.timeout(PATIENT_S):
        for number in itertools.count():
            await call.media.offer_leg(f"b{number}")
            if not engine.sessions.waiting:
                break
    assert call.media.moves == 1
    await call.media.offer_leg("b")


@pytest.mark.parametrize("is_known", [True, False], ids=["written down", "no store answers"])
async def test_a_process_that_dies_leaves_its_calls_alone(studio: Studio, is_known: bool) -> None:
    """One was not written down any more, and one session is nobody's."""
    await one_is_ready(studio)
    calls = []
    for _ in range(2):
        calls.append(await answered(studio, await studio.phone(quiet=True)))
        await calls[-1].media.play(studio.sound(700, 9))
        await calls[-1].media.reoffer((await studio.phone(quiet=True)).sdp())
        await ready(studio)
    assert await studio.calls() == 3
    kept = calls[:1] if is_known else calls
    assert await purge(studio.ng, "left-behind", {calls[0].media.media_id} if is_known else All()) == 3 - len(kept)
    assert set((await studio.ng.command("list", fields={"limit": 9}))["calls"]) == {call.media.name for call in kept}
    assert await purge(studio.ng, "left-behind") == len(kept)


async def test_a_process_that_ends_takes_them_back(studio: Studio) -> None:
    engines = Engines([ENGINE])
    await engines.open("0-")
    media = CallMedia(engines, "0-call", caller_from=PHONES)
    await media.answer((await studio.phone(quiet=True)).sdp())
    await media.delete()
    async with asyncio.timeout(PATIENT_S):
        while next(iter(engines)).sessions.waiting != 1:
            await asyncio.sleep(0.01)
    assert await studio.calls() == 1
    await engines.close()
    assert await studio.calls() == 0
