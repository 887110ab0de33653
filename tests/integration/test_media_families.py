"""Sound over IPv4 and IPv6 through a real RTPengine, each party by its own family; and an address behind a NAT."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from callinteractive.model import Address, Interface, RtpEngine
from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent
from sidecar.media.engines import Engines
from sidecar.media.errors import NoCommonAddress
from tests.integration.media_support import ENGINE, HOST, PHONES, sound
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S

SIX = "::1"
BOTH = replace(ENGINE, ng=Address(SIX, ENGINE.ng.port), interfaces=(Interface(HOST), Interface(SIX)))
"""Controlled over IPv6 too."""
PUBLIC = ("198.51.100.21", "2001:db8::21")
BEHIND_NAT = replace(ENGINE, interfaces=(Interface(HOST, PUBLIC[0]), Interface(SIX, PUBLIC[1])))
FAMILIES = [PHONES, SIX]
IDS = ["IPv4", "IPv6"]  # the same in each test worker


class Studio:
    """One RTPengine, its sidecar, and phones of both families."""

    def __init__(self, stack: AsyncExitStack, engine: RtpEngine, directory: Path) -> None:
        self._stack = stack
        self._engine = RunningRtpEngine(engine, directory)
        self.engines = Engines([engine])
        self.sound = sound(directory, 700, 1)
        self.digits = ""

    async def start(self) -> None:
        await self._stack.enter_async_context(self._engine)
        await self.engines.open("1-0-")
        self._stack.push_async_callback(self.engines.close)

    def call(self, caller_from: str) -> CallMedia:
        media = CallMedia(self.engines, "1-0-call", caller_from=caller_from)
        self.engines.digits.subscribe(media.media_id, self._on_digit)
        return media

    async def phone(self, host: str) -> RtpEndpoint:
        return await self._stack.enter_async_context(RtpEndpoint(host))

    def _on_digit(self, digit: DigitEvent) -> None:
        self.digits += digit.digit


@pytest.fixture
async def studio(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Studio]:
    async with AsyncExitStack() as stack:
        made = Studio(stack, getattr(request, "param", BOTH), tmp_path)
        await made.start()
        yield made


def addresses(sdp: str) -> set[str]:
    return set(re.findall(r"IN IP[46] (\S+)", sdp))


def ours(host: str) -> str:
    """Where RTPengine is for a party there."""
    return SIX if ":" in host else HOST


@pytest.mark.parametrize("host", FAMILIES, ids=IDS)
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_caller_hears_and_dials(studio: Studio, host: str, is_late: bool) -> None:
    """is_late: its INVITE has no offer, so its SIP tells the family."""
    phone, media = await studio.phone(host), studio.call(host)
    if is_late:
        answer = await media.offer()
        await media.accept(phone.sdp())
    else:
        answer = await media.answer(phone.sdp())
    assert addresses(answer) == {ours(host)}
    phone.send_to(answer)
    await media.play(studio.sound)
    await phone.hear_tone(700)
    await phone.send_digits("5")
    await phone.wait_until(lambda: studio.digits == "5", PATIENT_S, "digit")
    await media.delete()


@pytest.mark.parametrize("host", FAMILIES, ids=IDS)
async def test_a_bridge_of_one_family(studio: Studio, host: str) -> None:
    caller, callee, media = await studio.phone(host), await studio.phone(host), studio.call(host)
    caller.send_to(await media.answer(caller.sdp()))
    offer = await media.offer_leg("b1")
    assert addresses(offer) == {ours(host)}
    callee.send_to(offer)
    await media.bridge("b1", callee.sdp(), signalled_from=host)
    await caller.send_tone(500, 0.4)
    await callee.hear_tone(500)
    await callee.send_tone(900, 0.4)
    await caller.hear_tone(900)
    await media.unbridge("b1")
    caller.forget()
    await media.play(studio.sound)
    await caller.hear_tone(700)


async def test_a_caller_can_not_move_to_the_other_family(studio: Studio) -> None:
    """RTPengine does not move a stream so. The session stays as it was (RFC 3261 14.2)."""
    four, six, media = await studio.phone(PHONES), await studio.phone(SIX), studio.call(PHONES)
    four.send_to(await media.answer(four.sdp()))
    with pytest.raises(NoCommonAddress):
        await media.reoffer(six.sdp())
    await media.play(studio.sound)
    await four.hear_tone(700)


async def test_a_callee_that_answers_by_the_other_family_is_refused(studio: Studio) -> None:
    caller, callee, media = await studio.phone(SIX), await studio.phone(PHONES), studio.call(SIX)
    caller.send_to(await media.answer(caller.sdp()))
    await media.offer_leg("b1")
    with pytest.raises(NoCommonAddress):
        await media.bridge("b1", callee.sdp())
    await media.unbridge("b1")
    await media.play(studio.sound)
    await caller.hear_tone(700)


@pytest.mark.parametrize("studio", [ENGINE], indirect=True, ids=["IPv4 only"])
async def test_a_family_that_rtpengine_has_not_is_refused(studio: Studio) -> None:
    phone = await studio.phone(SIX)
    for attempt in (studio.call(SIX).answer(phone.sdp()), studio.call(SIX).offer()):
        with pytest.raises(NoCommonAddress) as refused:
            await attempt
        assert refused.value.sip_code == 488


@pytest.mark.parametrize("studio", [BEHIND_NAT], indirect=True, ids=["NAT"])
@pytest.mark.parametrize(("host", "shown"), list(zip(FAMILIES, PUBLIC, strict=True)), ids=IDS)
async def test_a_party_is_shown_the_public_address(studio: Studio, host: str, shown: str) -> None:
    phone, media = await studio.phone(host), studio.call(host)
    answer = await media.answer(phone.sdp())
    assert addresses(answer) == {shown}
    assert addresses(await media.offer_leg("b1")) == {shown}
    phone.send_to(answer.replace(shown, ours(host)))  # what the NAT before RTPengine does
    await media.play(studio.sound)
    await phone.hear_tone(700)
