"""A stranger's RTP is ignored: its digits do not count, and its sound is not heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.call_media import CallMedia
from tests.integration.media_support import HOST, PHONES, Studio, StudioCall
from tests.support.rtp import RtpEndpoint

STRANGER = HOST.rsplit(".", 1)[0] + ".66"
BEHIND_NAT = "10.255.255.1"  # what a phone behind NAT says


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


@asynccontextmanager
async def stranger_at(destination: tuple[str, int] | None) -> AsyncIterator[RtpEndpoint]:
    """Sends to a party's port at RTPengine, from another address."""
    async with RtpEndpoint(STRANGER) as stranger:
        stranger.destination = destination
        yield stranger


async def answered(studio: Studio, phone: RtpEndpoint, says: str) -> StudioCall:
    """An answered call. Its SIP comes from the phone's address; its SDP names the address `says`."""
    call = studio.call()
    call.media = CallMedia(studio.engines, call.media.media_id, caller_from=PHONES)
    phone.send_to(await call.media.answer(phone.sdp(connection=says)))
    return call


async def bridged(call: StudioCall, a: RtpEndpoint, b: RtpEndpoint) -> None:
    b.send_to(await call.media.offer_leg("b1"))
    await call.media.bridge("b1", b.sdp())


async def heard(phone: RtpEndpoint) -> None:
    """Send enough packets that RTPengine has received some of the phone."""
    await phone.send_tone(300, 0.1)


async def test_a_stranger_who_is_first_is_not_the_caller(studio: Studio) -> None:
    phone = await studio.phone(quiet=True)
    call = await answered(studio, phone, says=PHONES)
    await call.media.play(studio.sound(700, 5))
    async with stranger_at(phone.destination) as stranger:
        await stranger.send_digits("666")
        await phone.hear_tone(700)
        await phone.send_digits("1")
        await stranger.send_digits("6")
        await phone.send_digits("2")
        await call.expect_digits("12")
        assert not stranger.packets


@pytest.mark.parametrize("says", [PHONES, BEHIND_NAT], ids=["open", "nat"])
async def test_a_stranger_in_the_middle_of_a_call(studio: Studio, says: str) -> None:
    phone = await studio.phone()
    call = await answered(studio, phone, says)
    await heard(phone)
    for sound in range(4):  # each new sound makes RTPengine look again
        await call.media.play(studio.sound(700 + 100 * sound, 2))
        async with stranger_at(phone.destination) as stranger:
            await asyncio.gather(stranger.send_digits("66"), phone.send_digits(str(sound)))
            await phone.hear_tone(700 + 100 * sound)
            assert not stranger.packets
    await call.expect_digits("0123")


@pytest.mark.parametrize("says", [PHONES, BEHIND_NAT], ids=["open", "nat"])
async def test_a_stranger_is_not_heard_by_the_other_party(studio: Studio, says: str) -> None:
    a, b = await studio.phone(), await studio.phone()
    call = await answered(studio, a, says)
    await heard(a)
    await bridged(call, a, b)
    await heard(b)
    async with stranger_at(a.destination) as to_a, stranger_at(b.destination) as to_b:
        await asyncio.gather(to_a.send_tone(600, 1), to_b.send_tone(600, 1), a.send_tone(900, 1), b.send_tone(1200, 1))
        await a.hear_tone(1200, for_s=0.5)
        await b.hear_tone(900, for_s=0.5)
        await to_a.send_digits("6")
        await a.send_digits("4")
        await call.expect_digits("4")
        assert (a.tone_duration(600), b.tone_duration(600)) == (0, 0)
        assert not to_a.packets
        assert not to_b.packets
    await call.media.unbridge("b1")
    async with stranger_at(a.destination) as stranger:
        await stranger.send_digits("6")
        await a.send_digits("5")
        await call.expect_digits("5")


async def test_nobody_speaks_in_the_place_of_the_ivr(studio: Studio) -> None:
    """RTPengine also opens a port for the party that we made up (the IVR); a stranger sends to it."""
    phone = await studio.phone()
    call = await answered(studio, phone, PHONES)
    await heard(phone)
    reply = await studio.ng.command("query", call.media.media_id)
    port = reply["tags"]["ivr"]["medias"][0]["streams"][0]["local port"]
    async with stranger_at((HOST, port)) as stranger:
        await stranger.send_tone(600, 0.5)
        await call.media.play(studio.sound(700, 1))
        await phone.hear_tone(700)
        assert phone.tone_duration(600) == 0


async def test_a_caller_behind_nat_who_moves_is_found_again(studio: Studio) -> None:
    """A re-INVITE with a new address, as from a phone that has left its Wi-Fi."""
    phone = await studio.phone()
    call = await answered(studio, phone, BEHIND_NAT)
    await heard(phone)
    await call.media.play(studio.sound(700, 30))
    await phone.hear_tone(700)
    phone.quiet = True  # before: else its next packet may be the first one that is learned from
    async with RtpEndpoint(STRANGER) as moved:
        moved.send_to(await call.media.reoffer(moved.sdp(connection="10.255.255.2")))
        await moved.hear_tone(700)
        await moved.send_digits("7")
        await call.expect_digits("7")
