"""Trunks by host name: looked up beside Kamailio, followed when they change, and no worker ever waits for it."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from cli.process import ProcessSpec
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, RunningKamailio
from tests.integration.kemi_world import SITE as WORLD_SITE
from tests.integration.kemi_world import World, pick_up, refuse
from tests.support.name_server import NameServer
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER = f"{sip.NET}.54"
GATEWAYS = tuple((f"{sip.NET}.{host}", 22080) for host in (33, 34, 35))
SITE = (
    WORLD_SITE.partition("trunks:")[0]
    + f"""
trunks:
  - {{name: named, to: "sip:carrier.example", from: ["in.carrier.example"]}}
extensions:
  - {{number: "000*300", id: 1, contact: "sip:phone@phone.example:22090"}}
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
"""
)


def with_name_server(spec: ProcessSpec, folder: Path) -> ProcessSpec:
    """Start it with an /etc/resolv.conf that names our server."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {SERVER}\n")
    script = f"mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && exec {shlex.join(spec.argv)}"
    return replace(spec, argv=("/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c", script))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[NameServer]:
    async with NameServer.at(SERVER) as running:
        services = [f"{priority} 0 22080 {host}.carrier.example." for priority, host in ((10, "one"), (20, "two"))]
        running.set("_sip._udp.carrier.example", "SRV", *services)
        running.set("one.carrier.example", "A", GATEWAYS[0][0])
        running.set("two.carrier.example", "A", GATEWAYS[1][0])
        running.set("in.carrier.example", "A", f"{sip.NET}.77")
        running.set("phone.example", "A", f"{sip.NET}.65")
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory, server: NameServer) -> AsyncIterator[RunningKamailio]:
    folder = tmp_path_factory.mktemp("kamailio")
    async with sip.running_kamailio(folder, SITE, wrap=with_name_server) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Endpoint.at(*address)) for address in sip.SIDECARS]
        gateways = [await stack.enter_async_context(Endpoint.at(*address)) for address in GATEWAYS]
        await kamailio.until_flagged("AP", *sip.SIDECARS, *GATEWAYS[:2])
        sidecars[1].inbox = sidecars[0].inbox  # either may get a call
        yield World(sidecars, [], gateways)


async def until_called(world: World, gateway: Endpoint) -> None:
    """Place calls until this gateway gets several in a row: each worker of Kamailio learns by itself."""
    in_a_row = 0
    async with asyncio.timeout(2 * PATIENT_S):
        while in_a_row < 6:
            in_a_row = in_a_row + 1 if await who_refuses(world) is gateway else 0
            if not in_a_row:
                await asyncio.sleep(0.2)


async def who_refuses(world: World) -> Endpoint | None:
    """The gateway that a new call goes to. None where Kamailio refuses it, because the name is not known yet."""
    invite = world.invite("+7495")
    over = asyncio.create_task(world.refused(invite))
    waiting = {asyncio.create_task(invited(gateway, invite)): gateway for gateway in world.gateways}
    done, left = await asyncio.wait((over, *waiting), return_when=asyncio.FIRST_COMPLETED)
    for task in left - {over}:
        task.cancel()
    reached = next((task for task in done if task in waiting), None)
    if reached:
        await refuse(waiting[reached], reached.result(), "603 Decline")
    await over
    return waiting[reached] if reached else None


async def is_taken(world: World, carrier: Endpoint) -> bool:
    """Whether a new call of this carrier comes to a sidecar."""
    invite = carrier.invite("332")
    carrier.send(invite)
    taken = asyncio.create_task(invited(world.sidecar, invite))
    refused = asyncio.create_task(carrier.receive(403))
    _, left = await asyncio.wait((taken, refused), return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    return taken not in left


async def invited(gateway: Endpoint, invite: sip.Message) -> sip.Message:
    """The INVITE of this call as the gateway gets it. One of an earlier call may have been sent again."""
    while (got := await gateway.receive("INVITE")).get("Call-ID") != invite.get("Call-ID"):
        pass
    return got


async def test_call_goes_to_the_first_of_the_name_then_to_the_second(world: World) -> None:
    one, two, _ = world.gateways
    await until_called(world, one)
    invite = world.invite("+7495")
    got = await invited(one, invite)
    assert got.uri == "sip:+7495@carrier.example"  # RFC 3263 4: the next hop changes, not the Request-URI
    await refuse(one, got, "503 Down")
    again = await invited(two, invite)
    assert again.uri == "sip:+7495@carrier.example"
    answer = pick_up(two, again)
    told = await world.sidecar.receive(200)
    theirs = Dialog.of_caller(world.sidecar, invite, told)
    ours = Dialog.of_callee(two, again, answer)
    world.sidecar.send(theirs.request("ACK"))
    await two.receive_only("ACK")
    two.send(ours.request("BYE"))
    world.sidecar.send(sip.reply(await world.sidecar.receive("BYE"), "200 OK"))
    await two.receive(200)


async def test_phone_by_name_is_rung(world: World) -> None:
    async with Endpoint.at(f"{sip.NET}.65", 22090) as phone:
        invite = world.invite("000*300")
        got = await phone.receive("INVITE")
        assert got.uri == "sip:phone@phone.example:22090"
        await refuse(phone, got)
        assert (await world.refused(invite)).status == 486


async def test_call_from_the_name_s_address_is_the_trunk_s(world: World) -> None:
    async with Endpoint.at(f"{sip.NET}.77", 22080) as carrier, Endpoint.at(sip.STRANGER, 22080) as stranger:
        async with asyncio.timeout(PATIENT_S):
            while not await is_taken(world, carrier):  # each worker of Kamailio learns by itself whose address it is
                await asyncio.sleep(0.2)
        stranger.send(stranger.invite("332"))
        assert (await stranger.receive(403)).status == 403


async def test_change_of_the_name_is_followed_and_silence_changes_nothing(
    world: World, server: NameServer, kamailio: RunningKamailio
) -> None:
    third = world.gateways[2]
    server.set("_sip._udp.carrier.example", "SRV", "5 0 22080 three.carrier.example.")
    server.set("three.carrier.example", "A", GATEWAYS[2][0])
    await until_called(world, third)
    await kamailio.until("dispatcher.list", shows=lambda out: GATEWAYS[0][0] not in out, timeout_s=PATIENT_S)
    await kamailio.until_flagged("AP", *sip.SIDECARS, GATEWAYS[2])
    server.is_silent = True
    asked = len(server.asked)
    async with asyncio.timeout(PATIENT_S):
        while len(server.asked) == asked:  # it asks again, in vain
            await asyncio.sleep(0.1)
    started = time.monotonic()
    for _ in range(12):  # more than there are workers
        invite = world.invite("+7495")
        await refuse(third, await invited(third, invite), "603 Decline")
        await world.refused(invite)
    assert time.monotonic() - started < 10, "a worker has waited for the name server"
    assert len(server.asked) > asked
    server.is_silent = False
