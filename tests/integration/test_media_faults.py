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
from sidecar.media import moving, surviving
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaError, MediaRefused, MediaUnavailable
from sidecar.media.purge import purge
from sidecar.media.rtpengine import NgClient
from tests.integration.media_support import ENGINE, Studio
from tests.support.rtpengine import RunningRtpEngine


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


async def test_a_call_goes_on_at_the_engine_that_was_started_again(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    moved: list[bool] = []
    call.media.when_moved = moved.append
    await studio.engine.stop(with_signal=signal.SIGKILL)
    loop = asyncio.get_running_loop()
    killed = loop.time()
    playing = asyncio.create_task(call.media.play(studio.sound(700, 1)))
    with pytest.raises(MediaUnavailable) as unavailable:  # a new call does not wait: another sidecar may take it
        await studio.call().media.answer(phone.sdp())
    assert unavailable.value.sip_code == 503
    assert loop.time() - killed < 3  # it is known at once: a command that waits for an answer takes longer
    await studio.engine.start()
    await playing
    assert moved == [True]
    where = call.media.moved()
    assert where is not None
    assert call.media.moved() is None
    phone.send_to(where)
    await phone.hear_tone(700)
    await phone.send_digits("4")
    await call.expect_digits("4")
    assert await studio.calls() == 1


async def test_a_call_that_nobody_asks_for_moves_too(studio: Studio) -> None:
    caller, callee = await studio.phone(), await studio.phone()
    call = await studio.answered(caller)
    callee.send_to(await call.media.offer_leg("b1"))
    await call.media.bridge("b1", callee.sdp())
    moved = asyncio.Event()
    call.media.when_moved = lambda _is_elsewhere: moved.set()
    await studio.engine.stop(with_signal=signal.SIGKILL)
    await studio.engine.start()
    async with asyncio.timeout(3):
        await moved.wait()
    for phone, where in ((caller, call.media.moved()), (callee, call.media.moved("b1"))):
        assert where is not None
        phone.send_to(where)
        phone.forget()
    await asyncio.gather(
        caller.send_tone(500, 0.4), callee.send_tone(900, 0.4), caller.hear_tone(900), callee.hear_tone(500)
    )
    await call.media.unbridge("b1")
    await call.media.play(studio.sound(700, 1))
    await caller.hear_tone(700)


async def test_a_call_ends_if_no_engine_comes_back(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (surviving, moving):
        monkeypatch.setattr(module, "WAIT_S", 0.6)
    call = await studio.answered(await studio.phone())
    lost: list[MediaError] = []
    call.media.when_lost = lost.append
    await studio.engine.stop(with_signal=signal.SIGKILL)
    async with asyncio.timeout(3):
        while not lost:
            await asyncio.sleep(0.02)
    with pytest.raises(MediaUnavailable):
        await call.media.play(studio.sound(700, 1))
    await studio.engine.start()


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
    wide = replace(ENGINE, port_min=30000, port_max=41999)
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
