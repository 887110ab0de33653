"""Proxied calls with two real RTPengines: one dies or hangs, a dialog keeps to its own, and IPv4 speaks with IPv6."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.model import Address, Interface
from sidecar.media.rtpengine import NgClient
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import IVR, Call
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, pick_up
from tests.integration.test_kemi_anchored import ENGINE as FIRST
from tests.integration.test_kemi_anchored import hang_up, port_of, sdp_of
from tests.support.freeze import freeze
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S
from tests.support.workers import WORKER

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTS = (f"{sip.NET}.7", f"{sip.NET}.8")
# All test workers share ::1: ports tell them apart, and the two RTPengines.
ENGINES = tuple(
    replace(
        FIRST,
        name=f"media-{index}",
        ng=Address(host, 22222),
        interfaces=(Interface(host), Interface("::1")),
        port_min=26000 + 800 * WORKER + 400 * index,
        port_max=26399 + 800 * WORKER + 400 * index,
    )
    for index, host in enumerate(HOSTS)
)
SIX = ("::1", 22300 + 10 * WORKER)
KAMAILIO_SIX = ("::1", 22301 + 10 * WORKER)
BOTH = (
    SITE.replace("'000*300', id: 0,", "'000*300', id: 0, anchor_media: yes,")
    .replace(f"sip:phone2@{sip.NET}.65:22092", f"sip:phone2@[{SIX[0]}]:{SIX[1]}")
    .replace('listen: ["udp:', f'listen: ["udp:[::1]:{KAMAILIO_SIX[1]}", "udp:')
    + "rtpengines:\n"
    + "".join(
        f'  - {{name: {engine.name}, ng: "{engine.ng}", interface: [{engine.ng.host}, "::1"], '
        f"ports: [{engine.port_min}, {engine.port_max}]}}\n"
        for engine in ENGINES
    )
)
"""Phone 0 anchors, phone 2 has IPv6 only."""


@pytest_asyncio.fixture(loop_scope="module")
async def engines(tmp_path: Path) -> AsyncIterator[list[RunningRtpEngine]]:
    async with AsyncExitStack() as stack:
        running = []
        for engine in ENGINES:
            folder = tmp_path / engine.name
            folder.mkdir()
            running.append(await stack.enter_async_context(RunningRtpEngine(engine, folder)))
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def kamailio(engines: list[RunningRtpEngine], tmp_path: Path) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path, BOTH, IVR) as running:
        yield running


async def calls_at(index: int) -> int:
    ng = NgClient(*ENGINES[index].ng)
    await ng.open()
    try:
        return len((await ng.command("list", fields={"limit": 100}))["calls"])
    finally:
        ng.close()


def engine_of(sdp: str) -> int:
    """Whose ports they are."""
    return next(index for index, each in enumerate(ENGINES) if each.port_min <= port_of(sdp) <= each.port_max)


async def connected(world: World) -> tuple[Dialog, Dialog, int]:
    """A call to phone 0, answered; which RTPengine has it."""
    call = Call(world)
    await call.plan("300")
    phone = world.phones[0]
    got = await call.rung(phone)
    answer = pick_up(phone, got, sdp_of(phone.host, 22600))
    told = await call.heard(200)
    assert engine_of(got.body) == engine_of(told.body)
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
    call.caller.send(ours.request("ACK"))
    await phone.receive("ACK")
    return ours, theirs, engine_of(got.body)


async def reoffered(ours: Dialog, theirs: Dialog) -> int:
    """A re-INVITE; which RTPengine it goes through."""
    ours.endpoint.send(ours.request("INVITE", body=sdp_of(ours.endpoint.host, 22700, 2)))
    got = await theirs.endpoint.receive("INVITE")
    theirs.endpoint.send(sip.reply(got, "200 OK", body=sdp_of(theirs.endpoint.host, 22800, 2), Contact="<sip:a@h>"))
    told = await ours.endpoint.receive(200)
    ours.endpoint.send(ours.request("ACK", CSeq=got.get("CSeq").replace("INVITE", "ACK")))
    await theirs.endpoint.receive("ACK")
    assert engine_of(told.body) == engine_of(got.body)
    return engine_of(got.body)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_calls_go_on_when_one_dies_or_hangs(
    world: World, engines: list[RunningRtpEngine], kamailio: RunningKamailio, how: signal.Signals
) -> None:
    dialogs = [await connected(world) for _ in range(12)]
    assert {index for _, _, index in dialogs} == {0, 1}
    assert [await calls_at(index) for index in (0, 1)] == [
        sum(index == each for _, _, each in dialogs) for index in (0, 1)
    ]
    for ours, theirs, index in dialogs:
        assert await reoffered(ours, theirs) == index
    if how == signal.SIGKILL:
        await engines[0].stop(with_signal=how)
    else:
        freeze(engines[0].pid)
    try:
        for _ in range(6):  # nobody knows yet
            ours, theirs, index = await connected(world)
            assert index == 1
            await hang_up(ours, theirs)
        await until(lambda: any(f"{ENGINES[0].name} at {ENGINES[0].ng} is silent" in line for line in kamailio.log))
        for _ in range(6):
            began = asyncio.get_running_loop().time()
            ours, theirs, index = await connected(world)
            assert index == 1
            await hang_up(ours, theirs)
            assert asyncio.get_running_loop().time() - began < 2
        for ours, theirs, index in dialogs:
            if index == 1:
                assert await reoffered(ours, theirs) == 1
            await hang_up(theirs, ours)
    finally:
        if how == signal.SIGKILL:
            await engines[0].start()
        else:
            os.kill(engines[0].pid, signal.SIGCONT)
    await until(lambda: any(f"{ENGINES[0].name} at {ENGINES[0].ng} answers again" in line for line in kamailio.log))
    async with asyncio.timeout(2 * PATIENT_S):
        index = 1
        while index == 1:
            ours, theirs, index = await connected(world)
            await hang_up(ours, theirs)
        # What could not be deleted while it hung is deleted now, when others are.
        while await calls_at(0):
            ours, theirs, _ = await connected(world)
            await hang_up(ours, theirs)
    assert await calls_at(1) == 0


async def until(condition: object, within_s: float = PATIENT_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)


def six(sdp: str) -> str:
    return re.sub(r"IN IP4 \S+", f"IN IP6 {SIX[0]}", sdp)


async def talk(ours: RtpEndpoint, theirs: RtpEndpoint) -> None:
    await asyncio.gather(theirs.send_tone(660, 0.4), ours.send_tone(880, 0.4))
    await ours.hear_tone(660)
    await theirs.hear_tone(880)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_caller_on_ipv4_speaks_with_a_phone_on_ipv6(world: World, is_late: bool) -> None:
    """None of them anchors. is_late: the INVITE has no offer."""
    async with RtpEndpoint(sip.TRUNK) as ours, RtpEndpoint(SIX[0]) as theirs, Endpoint.at(*SIX) as phone:
        call = Call(world, sdp="" if is_late else ours.sdp())
        await call.plan("302")
        got = await rung(call, phone)
        if not is_late:
            assert "c=IN IP6 ::1" in got.body
            assert "IP4" not in got.body
            theirs.send_to(got.body)
        contact = f"<sip:me@[{SIX[0]}]:{SIX[1]}>"
        answer = sip.reply(got, "200 OK", tag="six", body=theirs.sdp(), Contact=contact)
        phone.send(answer, to=KAMAILIO_SIX)
        told = await call.heard(200)
        assert f"c=IN IP4 {HOSTS[engine_of(told.body)]}" in told.body
        assert "IP6" not in told.body
        ours.send_to(told.body)
        caller = Dialog.of_caller(call.caller, call.invite, told)
        call.caller.send(caller.request("ACK", body=ours.sdp() if is_late else ""))
        ack = await phone.receive("ACK")
        if is_late:
            assert "c=IN IP6 ::1" in ack.body
            theirs.send_to(ack.body)
        await talk(ours, theirs)
        call.caller.send(caller.request("BYE"))
        bye = await phone.receive("BYE")
        phone.send(sip.reply(bye, "200 OK"), to=KAMAILIO_SIX)
        await call.caller.receive(200)
    assert [await calls_at(index) for index in (0, 1)] == [0, 0]


async def test_ipv4_and_ipv4_speak_directly(world: World) -> None:
    call = Call(world)
    await call.plan("301")
    got = await call.rung(world.phones[1])
    assert got.body == sip.SDP
    pick_up(world.phones[1], got)
    await call.heard(200)


async def rung(call: Call, phone: Endpoint) -> Message:
    while not call.has(got := await phone.receive()):
        pass
    return got
