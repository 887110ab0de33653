"""A callee's 200 that is odd: it is acknowledged, and the call goes on or is ended by BYE (RFC 3261 13.2.2.4)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.test_odd_sdp import SECURE
from tests.e2e.transfers import FIRST, CalledPhones, both_hear, transfer
from tests.support.webapp import FakeWebApp

CONTACT = "      Contact: <sip:callee@[local_ip]:[local_port]>\n"
AT = "[local_ip]:[local_port]"


@pytest.mark.parametrize(
    "odd",
    [
        f"      Contact: <sip:#31#306@{AT}>\n",
        f'      Contact: <sip:306;phone-context=x%40y@{AT};ob>;+x.y="<z>"\n',
        f"      Contact: J. (Joe) Doe, Jr. <sip:306@{AT}>\n",
        f"      Contact: <sip:306@{AT}>\n      Session-Expires: soon\n",
        f"      Contact: <sip:306@{AT}>, <sip:307@127.0.0.1:9>\n",
        "",
        "      Contact: *\n",
        "      Contact: <\n",
    ],
    ids=["hash", "parameters", "bare name", "session timer", "two", "none", "star", "broken"],
)
async def test_a_200_with_an_odd_contact_is_acknowledged_and_the_call_goes_on(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, odd: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first(replace={CONTACT: odd}) as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()  # which wants an ACK
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


@pytest.mark.parametrize("sdp", ["nonsense", SECURE.format(host="127.0.0.1")], ids=["nonsense", "encrypted"])
async def test_a_200_without_a_description_that_answers_ours_gets_ack_and_bye(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, sdp: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first(sdp=sdp) as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        await callee.hung_up()
        await phone.hung_up()
