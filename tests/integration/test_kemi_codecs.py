"""The codecs of a trunk: in what it offers, and in what it is offered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, RunningKamailio
from tests.integration.kemi_world import SITE as WORLD_SITE
from tests.integration.kemi_world import World, refuse

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAYS = tuple((f"{sip.NET}.{host}", 22080) for host in (33, 34))
SITE = (
    WORLD_SITE.partition("trunks:")[0]
    + f"""
trunks:
  - {{name: narrow, from: ["{sip.TRUNK}/32"], to: "sip:{GATEWAYS[0][0]}:22080", codecs: [g729, pcmu]}}
  - {{name: any, to: "sip:{GATEWAYS[1][0]}:22080"}}
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
"""
)
OFFER = sip.SDP.replace("RTP/AVP 8", "RTP/AVP 9 8 0 101") + "a=rtpmap:101 telephone-event/8000\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Endpoint.at(*address)) for address in sip.SIDECARS]
        sidecars[1].inbox = sidecars[0].inbox
        gateways = [await stack.enter_async_context(Endpoint.at(*address)) for address in GATEWAYS]
        await kamailio.until_flagged("AP", *sip.SIDECARS, *GATEWAYS)
        yield World(sidecars, [], gateways)


def media_of(body: str) -> str:
    return next(line for line in body.split("\r\n") if line.startswith("m="))


async def test_trunk_s_offer_has_its_codecs_only(world: World) -> None:
    carrier = world.gateways[0]
    invite = carrier.invite("332", body=OFFER)
    carrier.send(invite)
    got = await world.sidecar.receive("INVITE")
    assert media_of(got.body) == "m=audio 22500 RTP/AVP 0 101"
    assert got.get("Content-Type") == "application/sdp"
    assert len(got.body) == int(got.get("Content-Length"))
    world.sidecar.send(sip.reply(got, "486 Busy Here", tag="s"))
    await world.sidecar.receive("ACK")
    carrier.send(sip.ack_of_failure(invite, await carrier.receive(486)))


async def test_trunk_that_offers_none_of_them_gets_488(world: World) -> None:
    carrier = world.gateways[0]
    invite = carrier.invite("332")
    carrier.send(invite)
    carrier.send(sip.ack_of_failure(invite, await carrier.receive(488)))


async def test_trunk_is_offered_its_codecs_only_and_the_next_all(world: World) -> None:
    narrow, other = world.gateways
    invite = world.invite("+7495", headers={"body": OFFER})
    got = await narrow.receive("INVITE")
    assert media_of(got.body) == "m=audio 22500 RTP/AVP 0 101"
    assert len(got.all("Content-Type")) == 1
    await refuse(narrow, got, "503 Down")
    got = await other.receive("INVITE")
    assert got.body == OFFER
    await refuse(other, got)
    assert (await world.refused(invite)).status == 486


async def test_trunk_with_none_of_the_caller_s_codecs_is_passed_over(world: World) -> None:
    narrow, other = world.gateways
    invite = world.invite("+7495")
    got = await other.receive("INVITE")
    await refuse(other, got)
    assert (await world.refused(invite)).status == 486
    await narrow.expect_silence(0.2)
