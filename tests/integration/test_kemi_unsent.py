"""A call out that can't even be sent: no way to the carrier, or its TCP port is closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint
from tests.integration.kemi_world import World

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
