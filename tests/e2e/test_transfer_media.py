"""What caller and callee hear: ringback, early media, each other, digits, hold, other codecs (A12)."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import FIRST, SECOND, CalledPhones, both_hear, connected, transfer
from tests.support.rtp import RtpEndpoint
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

RINGBACK_HZ = 425
EARLY_HZ = 1100
ALLOWS_PRACK = "100rel"
USELESS_SDP = """\
v=0
o=callee 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 97
a=rtpmap:97 SMOKE-SIGNALS/8000
a=sendrecv
"""


async def test_a12_ringback_is_heard_while_it_rings_and_stops_at_the_answer(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await phone.sound.hear_tone(RINGBACK_HZ, for_s=0.3)
        await callee.picks_up()
        await phone.sound.hear_silence(for_s=0.3)
        await both_hear(phone.sound, callee.sound)
        assert phone.sound.tone_duration(RINGBACK_HZ) == 0  # both_hear has forgotten what came before
        await phone.hang_up()
        await callee.hung_up()


async def test_a12_ringback_stops_when_nobody_answers(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST, timeout="1", final="no", after='<Pause length="1"/>'), actions("<Hangup/>"))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await phone.sound.hear_tone(RINGBACK_HZ, for_s=0.3)
        await callee.stops_ringing()
        await phone.sound.hear_silence(for_s=0.5)
        await phone.hung_up()


@pytest.mark.parametrize("attributes", [{}, {"early_media": "true"}, {"early_media": "1"}, {"early_media": "False"}])
async def test_a12_early_media_off(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, attributes: dict[str, str]
) -> None:
    """Before the answer the caller hears the ringback and not the callee; after the answer, the callee."""
    web.on(caller, transfer(FIRST, **attributes))
    async with callees.first("callee-early-media") as callee, call(TRANSFER) as phone:
        await phone.answered()
        invite = await callee.rings()
        saying = asyncio.create_task(callee.sound.send_tone(EARLY_HZ, 3))
        await phone.sound.hear_tone(RINGBACK_HZ, for_s=0.5)
        assert phone.sound.tone_duration(EARLY_HZ) == 0
        await callee.picks_up()
        await phone.sound.hear_tone(EARLY_HZ)
        await saying
        await phone.hang_up()
        await callee.hung_up()
    assert ALLOWS_PRACK not in invite.header("Supported")


async def test_a12_early_media_on(call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones) -> None:
    """Before the answer the caller hears the callee instead of the ringback."""
    web.on(caller, transfer(FIRST, early_media="True"))
    async with callees.first("callee-early-media") as callee, call(TRANSFER) as phone:
        await phone.answered()
        invite = await callee.rings()
        saying = asyncio.create_task(callee.sound.send_tone(EARLY_HZ, 2))
        await phone.sound.hear_tone(EARLY_HZ, for_s=0.5)
        assert phone.sound.tone_duration(RINGBACK_HZ) == 0
        await saying
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()
    assert ALLOWS_PRACK in invite.header("Supported")


async def test_a12_early_media_of_one_ends_with_the_answer_of_the_other(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(f"{FIRST},{SECOND}", early_media="True"))
    async with callees.first("callee-early-media") as loser, callees.second() as winner, call(TRANSFER) as phone:
        await phone.answered()
        await loser.rings()
        await winner.rings()
        saying = asyncio.create_task(loser.sound.send_tone(EARLY_HZ, 1))
        await phone.sound.hear_tone(EARLY_HZ)
        await winner.picks_up()
        await loser.stops_ringing()
        await saying
        await both_hear(phone.sound, winner.sound)
        await phone.hang_up()
        await winner.hung_up()


async def test_the_bridge_leaves_the_callers_leg_as_it_was(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """During prompt, ringback and bridge the caller gets no re-INVITE, and RTPengine's port for it stays."""
    web.on(caller, transfer(FIRST, before="<PlaySound>tone-880-400.wav</PlaySound>"))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await phone.sound.hear_tone(880)
        await callee.rings()
        await phone.sound.hear_tone(RINGBACK_HZ)
        sources = {packet.source for packet in phone.sound.packets}
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        sources |= {packet.source for packet in phone.sound.packets}
        await phone.hang_up()
        await callee.hung_up()
        requests = [message for message in phone.sipp.messages() if not message.sent and message.status is None]
    assert sources == {phone.sound.destination}
    assert [request.method for request in requests if request.method != "MESSAGE"] == []


async def test_digits_pass_through_the_bridge_as_rfc_4733_events(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        await phone.sound.send_digits("159#")
        await callee.sound.wait_until(lambda: callee.sound.digits() == "159#", PATIENT_S, "159# at the callee")
        await callee.sound.send_digits("*0")
        await phone.sound.wait_until(lambda: phone.sound.digits() == "*0", PATIENT_S, "*0 at the caller")
        await phone.hang_up()
        await callee.hung_up()


async def test_digits_pass_from_the_caller_by_info(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first() as callee, call(TRANSFER, scenario="info-digits") as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        phone.sipp.nudge()
        digit = await callee.sipp.wait_for("INFO")
        hash_key = await callee.sipp.wait_for("INFO", nth=2)
        await callee.hangs_up()
        await phone.hung_up()
    assert digit.header("Content-Type") == "application/dtmf-relay"
    assert "Signal=5" in digit.body
    assert "Signal=#" in hash_key.body


async def test_digits_pass_from_the_callee_by_info(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first("callee-info-digits") as callee, call(TRANSFER, arguments=("-aa",)) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        callee.nudge()
        digit = await phone.sipp.wait_for("INFO")
        await phone.hang_up()
        await callee.hung_up()
    assert "Signal=5" in digit.body


@pytest.mark.parametrize(("ours", "theirs"), [("PCMA", "PCMU"), ("PCMU", "PCMA"), ("G722", "PCMU")])
async def test_legs_without_a_common_codec_hear_each_other(
    call: PlaceCall,
    web: FakeWebApp,
    caller: str,
    callees: CalledPhones,
    stack: RunningStack,
    ours: str,
    theirs: str,
) -> None:
    web.on(caller, transfer(FIRST))
    theirs_sound = RtpEndpoint(stack.net.phone, codec=theirs)
    async with (
        callees.first(sound=theirs_sound) as callee,
        call(TRANSFER, sound=RtpEndpoint(stack.net.carrier, codec=ours)) as phone,
    ):
        await phone.answered()
        invite = await callee.rings()
        assert theirs in invite.body
        await phone.sound.hear_tone(RINGBACK_HZ)
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        assert {packet.payload_type for packet in phone.sound.packets} == {phone.sound.codec.payload_type}
        assert {packet.payload_type for packet in callee.sound.packets} == {callee.sound.codec.payload_type}
        await phone.sound.send_digits("7")
        await callee.sound.wait_until(lambda: callee.sound.digits() == "7", PATIENT_S, "7 at the callee")
        await phone.hang_up()
        await callee.hung_up()


@pytest.mark.parametrize("early_media", ["True", "False"])
async def test_a_callee_whose_description_is_useless_counts_as_one_that_failed(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, early_media: str
) -> None:
    """Useless SDP before the answer is ignored: the caller hears the ringback. In the answer it ends that leg, and the
    script continues."""
    web.on(caller, transfer(FIRST, final="no", early_media=early_media), actions("<Hangup/>"))
    async with callees.first("callee-early-media", sdp=USELESS_SDP) as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await phone.sound.hear_tone(RINGBACK_HZ)
        callee.nudge()
        await callee.hung_up()
        after = await web.request(caller, nth=2)
        await phone.hung_up()
    assert (after.query["status"], after.query["code"]) == ("failed", "488")


async def test_the_caller_holds_and_resumes(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first() as callee, call(TRANSFER, scenario="hold") as phone:
        await connected(phone, callee)
        phone.sipp.nudge()
        held = await phone.sipp.wait_for(200, nth=2)
        assert "a=recvonly" in held.body
        phone.sound.forget()
        await callee.sound.send_tone(660, 0.3)
        assert phone.sound.tone_duration(660) == 0
        phone.sipp.nudge()
        resumed = await phone.sipp.wait_for(200, nth=3)
        assert "a=sendrecv" in resumed.body
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


async def test_the_callee_holds_and_resumes(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first("callee-hold") as callee, call(TRANSFER) as phone:
        await connected(phone, callee)
        callee.nudge()
        held = await callee.sipp.wait_for(200)
        assert "a=recvonly" in held.body
        callee.sound.forget()
        await phone.sound.send_tone(660, 0.3)
        assert callee.sound.tone_duration(660) == 0
        callee.nudge()
        resumed = await callee.sipp.wait_for(200, nth=2)
        assert "a=sendrecv" in resumed.body
        await both_hear(phone.sound, callee.sound)
        await callee.hangs_up()
        await phone.hung_up()
