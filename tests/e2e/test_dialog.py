"""What phones do in a call: hold, dial by INFO, send an INVITE without SDP, use TCP, lose the ACK."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_GET
from tests.support.timing import NotBefore
from tests.support.webapp import FakeWebApp, actions

LONG = '<PlaySound where="background" digitvar="digits">tone-440-3000.wav</PlaySound>'


async def test_hold_is_silent_and_resumes(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<PlaySound>tone-440-3000.wav</PlaySound>" * 4))
    async with call(SCRIPTED_GET, scenario="hold") as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        phone.sipp.nudge()
        held = await phone.sipp.wait_for(200, nth=2)
        assert "a=recvonly" in held.body
        await phone.sound.hear_silence(for_s=0.5)
        phone.sound.forget()
        phone.sipp.nudge()
        resumed = await phone.sipp.wait_for(200, nth=3)
        assert "a=sendrecv" in resumed.body
        await phone.sound.hear_tone(440)
        await phone.hang_up()


async def test_digits_by_sip_info(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(LONG), actions("<Hangup/>"))
    async with call(SCRIPTED_GET, scenario="info-digits") as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        phone.sipp.nudge()
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "5"
    assert phone.sound.tone_duration(440) < 1.5


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/dtmf", "Signal=5\n"),
        ("application/dtmf", "5\n"),
        ("application/dtmf", "Signal = 5\n      Duration = soon\n"),
        ("application/dtmf-relay", "signal: 5\n"),
    ],
)
async def test_digits_by_sip_info_in_their_other_forms(
    call: PlaceCall, web: FakeWebApp, caller: str, kind: str, body: str
) -> None:
    web.on(caller, actions(LONG), actions("<Hangup/>"))
    other = {"application/dtmf-relay": kind, "Signal=5\n      Duration=160\n": body}
    async with call(SCRIPTED_GET, scenario="info-digits", replace=other) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        phone.sipp.nudge()
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "5"


async def test_a_reinvite_without_an_offer_and_without_an_answer_changes_nothing(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, actions("<PlaySound>tone-440-3000.wav</PlaySound>" * 4))
    async with call(SCRIPTED_GET, scenario="reinvite-without-offer") as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        phone.sipp.nudge()
        offer = await phone.sipp.wait_for(200, nth=2)
        assert "m=audio" in offer.body
        phone.sound.forget()
        await phone.sound.hear_tone(440)
        await phone.hang_up()


async def test_a_call_without_an_offer(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(LONG), actions("<Hangup/>"))
    async with call(SCRIPTED_GET, scenario="offerless") as phone:
        offer = await phone.answered()
        assert "telephone-event/8000" in offer.body
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("7#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "7"


async def test_a_call_over_tcp(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(LONG), actions("<Hangup/>"))
    async with call(SCRIPTED_GET, arguments=("-t", "t1")) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("3#")
        again = await web.request(caller, nth=2)
        bye = await phone.hung_up()
    assert again.query["digits"] == "3"
    assert bye.header("Via").startswith("SIP/2.0/TCP")


@pytest.mark.timeout(60)
async def test_an_ack_that_never_comes_ends_the_call(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(SCRIPTED_GET, scenario="no-ack") as phone:
        answer = await phone.answered()
        bye = await phone.hung_up(within_s=40)
        answers = [entry for entry in phone.sipp.messages() if entry.is_response(200)]
    assert bye.at_s - answer.at_s == NotBefore(32)
    assert len(answers) >= 7  # at once, then after 0.5, 1, 2, 4, 4, … s
    assert web.requests[caller] == []  # the script does not begin before the ACK
