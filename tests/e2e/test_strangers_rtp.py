"""RTP from somebody else: digits that do not choose, before the caller has spoken and in the middle of the call."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import INTER_DIGIT_TIMEOUT_S, MENU, MENU_HZ
from tests.support.rtp import RtpEndpoint
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, Reply

BEHIND_NAT = "10.255.255.1"


# Whoever is first is taken for a caller behind NAT (docs/media.md), so there the caller speaks first.
@pytest.mark.parametrize(("says", "caller_speaks_first"), [("", True), ("", False), (BEHIND_NAT, True)])
async def test_a_strangers_digits_do_not_choose(
    stack: RunningStack, call: PlaceCall, web: FakeWebApp, caller: str, says: str, caller_speaks_first: bool
) -> None:
    web.on(caller, Reply(status=204))
    sound = RtpEndpoint(stack.net.carrier, quiet=not caller_speaks_first)
    sdp = sound.sdp(connection=says or None)
    async with call(MENU, sound=sound, sdp=sdp) as phone, RtpEndpoint(stack.net.stranger) as stranger:
        await phone.answered()
        if caller_speaks_first:
            await phone.sound.hear_tone(MENU_HZ)
        stranger.destination = phone.sound.destination
        await stranger.send_digits("1")
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits("*")
        request = await web.request(caller, within_s=INTER_DIGIT_TIMEOUT_S / 2)
        await phone.hung_up()
        assert not stranger.packets
    assert request.query["is"] == "star"
