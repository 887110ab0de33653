"""A call out that can't even be sent: no way to the carrier, or its TCP port is closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from callinteractive.headers import ResultHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import IVR, Call
from tests.integration.kemi_support import Endpoint
from tests.integration.kemi_world import SITE, World, refuse, world_around

CLOSED = f"sip:{sip.TRUNK}:22080;transport=tcp"


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["sip:10.9.9.9:5060", CLOSED], ids=["no way there", "closed"])
async def test_a_call_that_could_not_be_sent_takes_no_place(tmp_path: Path, to: str) -> None:
    """Else the trunk would be full for two hours once its network is back."""
    trunks = f'trunks: [{{name: only, to: "{to}", max_calls_out: 1, options: no}}]\nextensions:'
    site = sip.SITE.partition("trunks:")[0] + trunks + sip.SITE.partition("extensions:")[2]
    async with sip.running_kamailio(tmp_path, site) as kamailio, Endpoint.at(*sip.SIDECARS[0]) as sidecar:
        world = World([sidecar], [], [])
        for _ in range(2):
            assert (await world.refused(world.invite("0049301"))).status == 503
        assert "max_calls_out" not in "".join(kamailio.log)
        assert "only" not in await kamailio.rpc("htable.dump", "calls")


@pytest.mark.asyncio
async def test_the_next_trunk_gets_a_call_that_could_not_be_sent(tmp_path: Path) -> None:
    host, port = sip.TRUNK_GATEWAYS[1]
    trunks = (
        f'trunks: [{{name: closed, to: "{CLOSED}", max_calls_out: 1, options: no}},'
        f' {{name: next, to: "sip:{host}:{port}", options: no}}]\nextensions:'
    )
    site = sip.SITE.partition("trunks:")[0] + trunks + sip.SITE.partition("extensions:")[2]
    async with (
        sip.running_kamailio(tmp_path, site) as kamailio,
        Endpoint.at(*sip.SIDECARS[0]) as sidecar,
        Endpoint.at(host, port) as gateway,
    ):
        world = World([sidecar], [], [])
        for _ in range(2):
            invite = world.invite("0049301")
            await refuse(gateway, await gateway.receive_only("INVITE"))
            assert (await world.refused(invite)).status == 486
        assert "max_calls_out" not in "".join(kamailio.log)


@pytest.mark.asyncio
async def test_a_branch_beside_others_that_could_not_be_sent_gives_its_place_back(tmp_path: Path) -> None:
    """tm runs no failure route for it, and here one of the others refuses."""
    trunks = f'trunks: [{{name: only, to: "{CLOSED}", max_calls_out: 1, options: no}}]\nextensions:'
    site = sip.SITE.partition("trunks:")[0] + trunks + sip.SITE.partition("extensions:")[2]
    async with (
        sip.running_kamailio(tmp_path, site) as kamailio,
        Endpoint.at(*sip.SIDECARS[0]) as sidecar,
        Endpoint.at(sip.EXTENSION, 22090) as phone,
    ):
        world = World([sidecar], [], [])
        for _ in range(2):
            invite = world.invite("000*306", "0049301")
            await refuse(phone, await phone.receive_only("INVITE"))
            assert (await world.refused(invite)).status == 486
        assert "max_calls_out" not in "".join(kamailio.log)
        assert "only" not in await kamailio.rpc("htable.dump", "calls")


@pytest.mark.asyncio
@pytest.mark.parametrize("is_final", [False, True])
async def test_a13_a_script_goes_on_where_nothing_could_be_sent(tmp_path: Path, is_final: bool) -> None:
    """A phone whose connection has died. It is no overload of ours: 503 could make a carrier leave us alone."""
    phones = f"extensions: [{{number: '000*306', id: 134, contact: 'sip:306@{sip.EXTENSION}:22090;transport=tcp'}}]\n"
    site = SITE.partition("extensions:")[0] + phones + "sidecars:" + SITE.partition("sidecars:")[2]
    async with sip.running_kamailio(tmp_path, site, IVR) as kamailio, world_around(kamailio) as world:
        call = Call(world)
        await call.plan("306", final=is_final)
        if not is_final:
            sidecar, got = await call.dip()
            assert ResultHeader.parse(got.get(ResultHeader.NAME)).code == 480
            sidecar.send(sip.reply(got, "603 Decline", tag="d"))
        await call.heard(480 if is_final else 603)
        await asyncio.sleep(0.2)
        assert "Traceback" not in "".join(kamailio.log)  # the sidecar is no target
