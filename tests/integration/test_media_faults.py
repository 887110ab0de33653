"""What happens to calls when RTPengine dies, comes back, or is full, and when a sidecar dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from cli.rtpengine import answers_ping
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaLost, MediaRefused, MediaUnavailable
from sidecar.media.rtpengine import NgClient, purge
from tests.integration.media_support import ENGINE, Studio
from tests.support.rtpengine import RunningRtpEngine


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


async def test_a_killed_engine_is_unavailable_at_once_and_has_forgotten_everything_when_back(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    sound = studio.sound(700, 1)
    await studio.engine.stop(with_signal=signal.SIGKILL)
    loop = asyncio.get_running_loop()
    killed = loop.time()
    with pytest.raises(MediaUnavailable) as unavailable:
        await call.media.play(sound)
    with pytest.raises(MediaUnavailable):
        await studio.call().media.answer(phone.sdp())
    assert unavailable.value.sip_code == 503
    assert loop.time() - killed < 0.3
    await studio.engine.start()
    for attempt in (call.media.play(sound), call.media.reoffer(phone.sdp()), call.media.offer_leg("b1")):
        with pytest.raises(MediaLost):
            await attempt
    await call.media.delete()
    again = await studio.answered(phone)
    await again.media.play(sound)
    await phone.hear_tone(700)
    assert await studio.calls() == 1


async def test_no_ports_left_is_an_error_of_that_call_alone(studio: Studio) -> None:
    phone = await studio.phone()
    first = await studio.answered(phone)
    refused = 0
    for _ in range(60):  # the test's RTPengine has ports for about thirty
        try:
            await studio.call().media.answer(phone.sdp())
        except (MediaRefused, MediaUnavailable):
            refused += 1
    assert refused > 10
    await first.media.play(studio.sound(700, 1))
    await phone.hear_tone(700)


async def test_a_sidecar_purges_what_its_predecessor_left(studio: Studio) -> None:
    phone = await studio.phone()
    for media_id in ("1left", "2other", "1behind"):
        await CallMedia(studio.engines, media_id).answer(phone.sdp())
    assert await purge(studio.ng, "1") == 2
    assert await purge(studio.ng, "1") == 0
    assert await studio.calls() == 1


async def test_the_list_that_a_purge_asks_for_fits_a_datagram(tmp_path: Path) -> None:
    """More calls than fit into RTPengine's reply: the purge still gets an answer and deletes what it names."""
    wide = replace(ENGINE, port_min=30000, port_max=35999)
    async with RunningRtpEngine(wide, tmp_path):
        ng = NgClient(*wide.ng)
        await ng.open()
        offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
        for start in range(0, 1600, 50):
            names = [f"{n % 2}{n:032x}" for n in range(start, start + 50)]
            fields = {"from-tag": "a", "sdp": offer}
            await asyncio.gather(*(ng.command("offer", name, fields) for name in names), return_exceptions=True)
        assert await purge(ng, "0") > 700
        assert await purge(ng, "1") > 600
        assert (await ng.command("list", fields={"limit": 10}))["calls"] == []
        ng.close()


async def test_readiness_is_told_truly(studio: Studio) -> None:
    assert await answers_ping(*ENGINE.ng)
    await studio.engine.stop()
    assert not await answers_ping(*ENGINE.ng)
    assert not await answers_ping("192.0.2.1", 1)
