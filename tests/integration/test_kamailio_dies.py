"""Kamailio is killed and started again: what it has forgotten harms no call.

Mostly it is killed by SIGKILL, all of its processes at once, and started again with the same key.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from callinteractive.headers import CallerHeader, TransferHeader
from kemi.slots import Slots
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import ENTRY, IVR, STATE, UNCHANGED, Call, consistent, redirect
from tests.integration.kemi_support import Dialog, Endpoint, RunningKamailio
from tests.integration.kemi_world import SITE, World, pick_up, refuse, ring, world_around
from tests.integration.test_kemi_registrar import register
from tests.support.timing import PATIENT_S

KEY = "7" * 32


class Edge:
    """A Kamailio that can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.running: RunningKamailio

    async def start(self) -> None:
        entered = sip.running_kamailio(self._folder, SITE, IVR, CALLINTERACTIVE_KEY=KEY)
        self.running = await self._stack.enter_async_context(entered)

    async def kill(self) -> None:
        self.running.process.kill()
        await self._stack.aclose()

    async def killed_and_started(self) -> None:
        await self.kill()
        await self.start()

    async def moved_to(self, folder: Path) -> None:
        """The address is another machine's now, which has the same site.yaml and key, and nothing else."""
        await self.kill()
        folder.mkdir()
        self._folder = folder
        await self.start()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    made = Edge(tmp_path)
    await made.start()
    yield made
    await made.kill()


@pytest.fixture
async def world(edge: Edge) -> AsyncIterator[World]:
    async with world_around(edge.running) as made:
        yield made


async def test_a_sidecar_s_302_to_the_old_one_is_a_clean_503_for_the_caller(edge: Edge, world: World) -> None:
    """Its plan is for Kamailio alone. Nobody is left to carry it out."""
    call = Call(world)
    sidecar, got = await call.dip()
    await call.caller.receive(100)
    await edge.killed_and_started()
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED, STATE, ENTRY)
    refused = await call.heard(503)
    assert refused.get("Retry-After")
    assert not refused.get("Contact")
    assert "300" not in bytes(refused).decode().replace(got.get("Call-ID"), "")
    again = Call(world)  # the caller tries again
    await again.plan("300")
    await again.rung(world.phones[0])


async def test_a_sidecar_s_answer_to_the_old_one_reaches_the_caller(edge: Edge, world: World) -> None:
    call = Call(world)
    sidecar, got = await call.dip()
    await edge.killed_and_started()
    sidecar.send(sip.reply(got, "200 OK", tag="t", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>", body=sip.SDP))
    ours = Dialog.of_caller(call.caller, call.invite, await call.heard(200))
    call.caller.send(ours.request("ACK"))
    await sidecar.receive("ACK")


async def test_a_phone_that_it_knows_no_more_can_still_answer(edge: Edge, world: World) -> None:
    """Our signature in Record-Route lets its reply pass."""
    async with Endpoint.at(f"{sip.NET}.77", 22095) as phone:
        assert (await register(phone)).status == 200
        invite = world.invite("399")
        got = await phone.receive("INVITE")
        await edge.killed_and_started()
        answer = pick_up(phone, got)
        final = await world.sidecar.receive(200)
        await consistent(Dialog.of_caller(world.sidecar, invite, final), Dialog.of_callee(phone, got, answer))


async def test_a_phone_that_it_knows_no_more_can_still_refuse(edge: Edge, world: World) -> None:
    """Its reply has no Record-Route. Where the INVITE rings is written down."""
    async with Endpoint.at(f"{sip.NET}.77", 22095) as phone:
        assert (await register(phone)).status == 200
        world.invite("399")
        got = await phone.receive("INVITE")
        await edge.killed_and_started()
        refused = sip.reply(got, "486 Busy Here", tag="p")
        refused.headers = [header for header in refused.headers if header[0] != "Record-Route"]
        phone.send(refused)
        assert (await world.sidecar.receive(486)).status == 486


@pytest.mark.parametrize("number", ["300", "+7495"])
async def test_the_caller_stays_secret(edge: Edge, world: World, number: str) -> None:
    """SetCaller (A5): no later request shows the callee who really calls, and each side keeps its view."""
    own = {"From": '"Own Name" <sip:secret@own.host>;tag=own'}
    invite = world.invite(number, caller=CallerHeader("Shown", "+7812"), headers=own)
    phone, sidecar = world.phones[0] if number == "300" else world.gateways[0], world.sidecar
    got = await phone.receive("INVITE")
    ring(phone, got)
    await sidecar.receive(180)
    await edge.killed_and_started()
    answer = pick_up(phone, got)
    final = await sidecar.receive(200)
    ours, theirs = Dialog.of_caller(sidecar, invite, final), Dialog.of_callee(phone, got, answer)
    ours.local = invite.get("From")
    await consistent(ours, theirs)
    assert "secret" not in bytes(got).decode()


async def test_the_caller_stays_secret_where_the_plan_was_a_302(edge: Edge, world: World) -> None:
    call = Call(world)
    await call.plan("300", caller=CallerHeader("Shown", "+7812"))
    phone = world.phones[0]
    got = await call.rung(phone)
    assert got.get("From").startswith('"Shown" <sip:+7812@')
    answer = pick_up(phone, got)
    ours = Dialog.of_caller(call.caller, call.invite, await call.heard(200))
    await edge.killed_and_started()
    await consistent(ours, Dialog.of_callee(phone, got, answer))


async def test_nobody_can_read_who_really_calls(world: World) -> None:
    """The callee's own Route tells it nothing, and a Route without the parameter shows it nothing."""
    own = {"From": '"Own Name" <sip:secret@own.host>;tag=own'}
    world.invite("300", caller=CallerHeader("Shown", "+7812"), headers=own)
    got = await world.phones[0].receive("INVITE")
    [sealed] = re.findall(r";cf=([\w-]+)", got.get("Record-Route"))
    assert len(sealed) > 40


@pytest.mark.parametrize("shown", ["Own", "Shown"])
async def test_a_cancel_stops_every_phone(edge: Edge, world: World, shown: str) -> None:
    """RFC 3261 16.10. A phone knows its call by the branch in Via (17.2.3)."""
    own = {"From": '"Own" <sip:secret@own.host>;tag=own'}
    invite = world.invite("300", "301", "+7495", caller=CallerHeader(shown, "+7812"), headers=own)
    rung = [*world.phones[:2], world.gateways[0]]
    invites = [await phone.receive("INVITE") for phone in rung]
    for phone, got in zip(rung, invites, strict=True):
        ring(phone, got)
        await world.sidecar.receive(180)
    await edge.killed_and_started()
    world.sidecar.send(sip.cancel_of(invite))
    for phone, got in zip(rung, invites, strict=True):
        cancel = await phone.receive("CANCEL")
        assert (cancel.get("Via"), cancel.get("From")) == (got.get("Via"), got.get("From"))
        assert "secret" not in bytes(cancel).decode()
        phone.send(sip.reply(cancel, "200 OK"))
        phone.send(sip.reply(got, "487 Request Terminated", tag=f"t{phone.port}"))
    told = {(await world.sidecar.receive()).start for _ in range(2)}
    assert told == {"SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"}


async def test_a_cancel_of_a_caller_s_own_invite_stops_the_phone(edge: Edge, world: World) -> None:
    call = Call(world)
    await call.plan("300", caller=CallerHeader("Shown", "+7812"))
    phone = world.phones[0]
    got = await call.rung(phone)
    ring(phone, got)
    await call.heard(180)
    await edge.killed_and_started()
    call.caller.send(sip.cancel_of(call.invite))
    while (cancel := await phone.receive("CANCEL")).get("Via") != got.get("Via"):
        phone.send(sip.reply(cancel, "481 Call Does Not Exist"))
    phone.send(sip.reply(cancel, "200 OK"))
    phone.send(sip.reply(got, "487 Request Terminated", tag=f"t{phone.port}"))
    await call.cancelled()


async def test_nothing_is_left_of_calls_that_no_longer_ring(edge: Edge, world: World) -> None:
    texts = Slots(edge.running.run_dir / "ringing.calls", 7200)
    for number in ("300", "301"):
        world.invite(number)
    answered, refused = [await phone.receive("INVITE") for phone in world.phones[:2]]
    ring(world.phones[0], answered)
    await world.sidecar.receive(180)
    assert len(list(texts.names())) == 2
    pick_up(world.phones[0], answered)
    await refuse(world.phones[1], refused)
    await world.sidecar.receive(486)
    async with asyncio.timeout(PATIENT_S):  # the route of the 200 may still run in another worker
        while list(texts.names()):
            await asyncio.sleep(0.01)
    world.sidecar.send(sip.cancel_of(world.sidecar.invite("300")))
    assert (await world.sidecar.receive(481)).status == 481


async def test_another_machine_with_the_same_address_carries_on(edge: Edge, world: World, tmp_path: Path) -> None:
    own = {"From": '"Own Name" <sip:secret@own.host>;tag=own'}
    invite = world.invite("300", caller=CallerHeader("Shown", "+7812"), headers=own)
    phone, sidecar = world.phones[0], world.sidecar
    got = await phone.receive("INVITE")
    answer = pick_up(phone, got)
    ours = Dialog.of_caller(sidecar, invite, await sidecar.receive(200))
    await edge.moved_to(tmp_path / "other")
    await consistent(ours, Dialog.of_callee(phone, got, answer))


async def test_a_process_that_hangs_is_no_reason_to_keep_the_ports(edge: Edge) -> None:
    """A minute is the default."""
    process = edge.running.process
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGSTOP)
    ended = asyncio.create_task(process.wait())
    async with asyncio.timeout(PATIENT_S):
        while not ended.done():
            process.ask_to_stop()  # again: it is forgotten while SIGCHLD of the stopped one waits
            await asyncio.wait([ended], timeout=0.2)
    await edge.killed_and_started()
