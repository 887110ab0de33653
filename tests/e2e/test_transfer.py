"""SimpleTransfer of an answered call: who rings, who gets the call, and what a script learns when nobody does."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import BOTH, CalledPhones, transfer
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

AFTER = actions("<PlaySound>tone-880-400.wav</PlaySound><Hangup/>")
AFTER_HZ = 880


@pytest.mark.parametrize("answering", [0, 1])
async def test_a10_two_ring_and_the_first_to_answer_gets_the_call(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, answering: int
) -> None:
    web.on(caller, transfer(BOTH))
    async with callees.first() as first, callees.second() as second, call(TRANSFER) as phone:
        await phone.answered()
        await first.rings()
        await second.rings()
        winner, loser = (first, second) if answering == 0 else (second, first)
        await winner.picks_up()
        await loser.stops_ringing()
        await phone.sound.send_tone(440, 0.3)
        await winner.sound.hear_tone(440)
        await phone.hang_up()
        await winner.hung_up()
    assert len(web.requests[caller]) == 1  # an answered transfer is the end of the script (A13)
