"""Trunks for calls out: several addresses, number format, limits, carriers without OPTIONS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, RunningKamailio
from tests.integration.kemi_world import PHONES, World, pick_up, refuse
from tests.integration.kemi_world import SITE as WORLD_SITE

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAYS = tuple((f"{sip.NET}.{host}", 22080) for host in (33, 34, 35))
PHONE = PHONES[0]
FIRST, SECOND, THIRD = (f"sip:{host}:{port}" for host, port in GATEWAYS)
SITE = (
    WORLD_SITE.partition("trunks:")[0]
    + f"""
trunks:
  - {{name: pair, to: ["{FIRST}", "{SECOND}"], number: {{strip: 2, prefix: "+"}}, max_calls_out: 1, options: no}}
  - {{name: last, to: "{THIRD}"}}
extensions: [{{number: "000*390", id: 390, contact: "sip:390@{PHONE[0]}:{PHONE[1]}"}}]
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
"""
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Endpoint.at(*address)) for address in sip.SIDECARS]
        gateways = [await stack.enter_async_context(Endpoint.at(*address)) for address in GATEWAYS]
        await kamailio.until_flagged("AP", *sip.SIDECARS, GATEWAYS[2])
        yield World(sidecars, [], gateways)


async def test_addresses_of_a_trunk_before_the_next_trunk(world: World, kamailio: RunningKamailio) -> None:
    invite = world.invite("0049301234")
    first, second, third = world.gateways
    got = await first.receive("INVITE")
    assert got.uri == f"sip:+49301234@{sip.NET}.33:22080"
    await refuse(first, got, "503 Down")
    got = await second.receive("INVITE")
    assert got.uri == f"sip:+49301234@{sip.NET}.34:22080"
    await refuse(second, got, "500 Broken")
    got = await third.receive("INVITE")
    assert got.uri == f"sip:0049301234@{sip.NET}.35:22080"
    await refuse(third, got)
    assert (await world.refused(invite)).status == 486
    assert GATEWAYS[0][0] not in await kamailio.rpc("dispatcher.list")  # options: no


async def test_full_trunk_is_passed_over_until_a_call_ends(world: World) -> None:
    first, _, third = world.gateways
    invite = world.invite("0049301")
    got = await first.receive("INVITE")
    answer = pick_up(first, got)
    theirs = Dialog.of_caller(world.sidecar, invite, await world.sidecar.receive(200))
    world.sidecar.send(theirs.request("ACK"))
    await first.receive_only("ACK")
    again = world.invite("0049302")
    await refuse(third, await third.receive("INVITE"))  # the other trunk at once
    assert (await world.refused(again)).status == 486
    ours = Dialog.of_callee(first, got, answer)
    first.send(ours.request("BYE"))
    world.sidecar.send(sip.reply(await world.sidecar.receive("BYE"), "200 OK"))
    await first.receive(200)
    third_call = world.invite("0049303")
    await refuse(first, await first.receive("INVITE"))  # a refused call counts no longer
    assert (await world.refused(third_call)).status == 486
    fourth_call = world.invite("0049304")
    await refuse(first, await first.receive("INVITE"))
    assert (await world.refused(fourth_call)).status == 486


async def test_call_that_its_caller_cancels_counts_no_longer(world: World) -> None:
    first = world.gateways[0]
    invite = world.invite("0049301")
    got = await first.receive("INVITE")
    first.send(sip.reply(got, "180 Ringing", tag="t"))
    await world.sidecar.receive(180)
    world.sidecar.send(sip.cancel_of(invite))
    first.send(sip.reply(await first.receive("CANCEL"), "200 OK"))
    await refuse(first, got, "487 Terminated")
    refused = await world.sidecar.receive(487)
    world.sidecar.send(sip.ack_of_failure(invite, refused))
    again = world.invite("0049302")
    await refuse(first, await first.receive("INVITE"))
    await world.refused(again)


async def test_call_that_another_number_takes_counts_no_longer(world: World) -> None:
    first = world.gateways[0]
    async with Endpoint.at(*PHONE) as phone:
        invite = world.invite("0049301", "000*390")
        rung, got = await phone.receive("INVITE"), await first.receive("INVITE")
        first.send(sip.reply(got, "180 Ringing", tag="t"))
        await world.sidecar.receive(180)
        pick_up(phone, rung)
        theirs = Dialog.of_caller(world.sidecar, invite, await world.sidecar.receive(200))
        world.sidecar.send(theirs.request("ACK"))
        first.send(sip.reply(await first.receive_only("CANCEL"), "200 OK"))
        await refuse(first, got, "487 Terminated")
    again = world.invite("0049302")
    await refuse(first, await first.receive("INVITE"))
    await world.refused(again)


async def test_silent_gateway_without_options_is_left_out_for_a_while(world: World) -> None:
    first, second, third = world.gateways
    invite = world.invite("0049301")
    await first.receive("INVITE")
    await refuse(second, await second.receive("INVITE"))
    assert (await world.refused(invite)).status == 486
    again = world.invite("0049302")
    await refuse(second, await second.receive("INVITE"))
    assert (await world.refused(again)).status == 486
    assert not any(message.method == "INVITE" and "302" in message.uri for message in list(first.inbox._queue))  # type: ignore[attr-defined]
    assert third.inbox.empty()
