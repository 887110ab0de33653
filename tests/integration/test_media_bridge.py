"""A bridge through a real RTPengine: two phones hear each other, and the caller can return to the IVR."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.errors import MediaRefused, NoCommonCodec
from tests.integration.media_support import Studio, StudioCall, stale_packets_passed
from tests.support.audio import CODECS, dtmf_frequencies, share_of
from tests.support.rtp import RtpEndpoint
from tests.support.timing import PATIENT_S

A_TONE, B_TONE = 700, 1500
UNHEARD_TONE = 1100


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


async def hear_each_other(a: RtpEndpoint, b: RtpEndpoint) -> None:
    """Both speak at once, and each hears the other in its own codec. Earlier packets are ignored."""
    await asyncio.gather(stale_packets_passed(a), stale_packets_passed(b))
    await asyncio.gather(a.send_tone(A_TONE, 0.5), b.send_tone(B_TONE, 0.5))
    await asyncio.gather(a.hear_tone(B_TONE, for_s=0.4), b.hear_tone(A_TONE, for_s=0.4))
    assert a.payload_types_of(B_TONE) == {a.codec.payload_type}
    assert b.payload_types_of(A_TONE) == {b.codec.payload_type}


async def ringing(studio: Studio, a: RtpEndpoint, b: RtpEndpoint, tag: str = "b1") -> StudioCall:
    """a's call, with b rung by an offer."""
    call = await studio.answered(a)
    b.send_to(await call.media.offer_leg(tag))
    return call


async def bridged(studio: Studio, a: RtpEndpoint, b: RtpEndpoint) -> StudioCall:
    call = await ringing(studio, a, b)
    await call.media.bridge("b1", b.sdp())
    return call


async def is_with_the_ivr(studio: Studio, call: StudioCall, phone: RtpEndpoint) -> None:
    """Sounds are heard and digits arrive, as before any transfer."""
    call.digits.clear()
    await call.media.play(studio.sound(1000, 10))
    await phone.hear_tone(1000)
    await phone.send_digits("42#")
    await call.expect_digits("42#")
    await call.media.stop()
    await phone.hear_silence()


async def test_ringback_then_both_directions_on_the_same_port(studio: Studio) -> None:
    a, b = await studio.phone("PCMU"), await studio.phone("PCMA")
    call = await ringing(studio, a, b)
    port = a.destination
    await call.media.play(studio.sound(425, 1), repeat=1000)
    await a.hear_tone(425)
    await b.send_tone(B_TONE, 0.4)
    assert a.tone_duration(B_TONE) == 0  # not answered yet: nothing of it is heard
    await call.media.bridge("b1", b.sdp())
    await hear_each_other(a, b)
    assert a.tone_duration(425) < 0.05
    assert a.destination == port
    assert {packet.source for packet in a.packets} == {port}


@pytest.mark.parametrize(
    ("a_codec", "b_codec"),
    [("PCMU", "PCMU"), ("PCMA", "PCMU"), ("G722", "PCMA"), ("opus", "PCMU"), ("opus", "opus")],
)
async def test_every_pair_of_codecs(studio: Studio, a_codec: str, b_codec: str) -> None:
    a, b = await studio.phone(a_codec), await studio.phone(b_codec)
    call = await studio.answered(a)
    offer = await call.media.offer_leg("b1")
    for codec in {CODECS[a_codec], CODECS["PCMU"], CODECS["PCMA"]}:
        assert f"a=rtpmap:{codec.rtpmap}\r\n" in offer
    assert offer.count("m=") == 1
    b.send_to(offer)
    await call.media.bridge("b1", b.sdp())
    await hear_each_other(a, b)


async def test_digits_cross_the_bridge_and_only_the_callers_are_reported(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone("PCMA")
    call = await bridged(studio, a, b)
    await asyncio.gather(a.send_digits("12#"), b.send_digits("90"))
    await call.expect_digits("12#")
    assert b.digits() == "12#"
    assert a.digits() == "90"


async def test_early_media_is_heard_before_the_answer_and_from_another_fork(studio: Studio) -> None:
    a, b, c = await studio.phone(), await studio.phone(), await studio.phone("PCMA")
    call = await studio.answered(a)
    await call.media.play(studio.sound(425, 1), repeat=100)
    offer = await call.media.offer_leg("b1", to_several=True)
    b.send_to(offer)
    c.send_to(offer)
    await call.media.early("b1", b.sdp())
    await hear_each_other(a, b)
    await call.media.early("b1", c.sdp())
    b.quiet = True
    await hear_each_other(a, c)
    await call.media.bridge("b1", b.sdp())
    b.quiet, c.quiet = False, True
    await hear_each_other(a, b)


async def test_a_losing_fork_that_goes_on_sending_does_not_take_the_stream(studio: Studio) -> None:
    a, winner, loser = await studio.phone(), await studio.phone(), await studio.phone()
    call = await studio.answered(a)
    offer = await call.media.offer_leg("b1", to_several=True)
    winner.send_to(offer)
    loser.send_to(offer)
    await call.media.early("b1", loser.sdp())
    await a.wait_until(lambda: len(a.packets) >= 15, PATIENT_S, "packets of the loser")
    await call.media.bridge("b1", winner.sdp())
    winner.forget()
    await a.send_tone(A_TONE, 4)
    await winner.hear_tone(A_TONE, for_s=3.8)


@pytest.mark.parametrize("answered", [False, True])
async def test_back_to_the_ivr_after_a_transfer(studio: Studio, answered: bool) -> None:
    a, b = await studio.phone(), await studio.phone("PCMA")
    call = await ringing(studio, a, b)
    if answered:
        await call.media.bridge("b1", b.sdp())
        await hear_each_other(a, b)
    await call.media.unbridge("b1")
    await call.media.unbridge("b1")
    await is_with_the_ivr(studio, call, a)
    b.forget()
    await a.send_tone(A_TONE, 0.3)
    await b.hear_silence()
    assert b.packets == []


async def test_one_transfer_after_another_with_a_prompt_between(studio: Studio) -> None:
    a = await studio.phone()
    call = await studio.answered(a)
    port = a.destination
    for attempt in range(4):
        b = await studio.phone("PCMA" if attempt % 2 else "PCMU")
        b.send_to(await call.media.offer_leg(f"b{attempt}"))
        if attempt:
            await call.media.bridge(f"b{attempt}", b.sdp())
            await hear_each_other(a, b)
        await call.media.unbridge(f"b{attempt}")
        b.quiet = True
        await is_with_the_ivr(studio, call, a)
    assert {packet.source for packet in a.packets} == {port}
    tags = (await studio.ng.command("query", call.media.media_id))["tags"]
    assert sum(bool(stream) for tag in tags.values() for stream in tag.get("medias", ())) <= 6
    await call.media.delete()
    assert await studio.calls() == 0


async def test_inband_digits_work_again_after_a_transfer(studio: Studio) -> None:
    a, b = await studio.phone(telephone_event=None), await studio.phone()
    call = await bridged(studio, a, b)
    await hear_each_other(a, b)
    await call.media.unbridge("b1")
    call.digits.clear()
    await call.media.play(studio.sound(0, 10))
    await a.send_inband_digits("37")
    await call.expect_digits("37")


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
async def test_either_party_offers_again_in_another_codec(studio: Studio, codec: str) -> None:
    a, b = await studio.phone("PCMU"), await studio.phone("PCMA")
    call = await bridged(studio, a, b)
    for phone, reoffer in ((a, call.media.reoffer), (b, lambda sdp: call.media.reoffer_leg("b1", sdp))):
        phone.use_codec(codec)
        answer = await reoffer(phone.sdp())
        assert re.findall(r"^m=audio \d+ RTP/AVP (\d+)", answer, re.M) == [str(phone.codec.payload_type)]
        assert phone.destination == ("127.11" + answer.split("c=IN IP4 127.11")[1].split()[0], phone.destination[1])
        await hear_each_other(a, b)
    await asyncio.gather(a.send_digits("1"), b.send_digits("2"))
    await call.expect_digits("1")
    assert (b.digits(), a.digits()) == ("1", "2")


async def test_hold_and_resume_from_either_side_and_from_both(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone("PCMA")
    call = await bridged(studio, a, b)
    assert "a=recvonly" in await call.media.reoffer(a.sdp("sendonly"))
    await silent_for(a, b)
    assert "a=inactive" in await call.media.reoffer_leg("b1", b.sdp("inactive"))
    await silent_for(b, a)
    assert "a=sendrecv" in await call.media.reoffer(a.sdp())
    await silent_for(b, a)
    assert "a=sendrecv" in await call.media.reoffer_leg("b1", b.sdp())
    await hear_each_other(a, b)


async def silent_for(held: RtpEndpoint, other: RtpEndpoint) -> None:
    """The held party hears nothing of what the other says."""
    held.forget()
    await other.send_tone(UNHEARD_TONE, 0.3)
    assert held.tone_duration(UNHEARD_TONE) == 0


async def test_a_callee_moves_to_another_address(studio: Studio) -> None:
    a, b, moved = await studio.phone(), await studio.phone(), await studio.phone()
    call = await bridged(studio, a, b)
    await hear_each_other(a, b)
    b.quiet = True
    moved.send_to(await call.media.reoffer_leg("b1", moved.sdp()))
    await hear_each_other(a, moved)


async def test_the_caller_offers_again_while_the_callee_rings(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone()
    call = await ringing(studio, a, b)
    await call.media.reoffer(a.sdp("sendonly"))
    await call.media.reoffer(a.sdp())
    await call.media.bridge("b1", b.sdp())
    await hear_each_other(a, b)


async def test_a_caller_on_hold_while_ringing_talks_after_resuming(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone()
    call = await studio.answered(a)
    await call.media.reoffer(a.sdp("inactive"))
    offer = await call.media.offer_leg("b1")
    assert "0.0.0.0" not in offer
    b.send_to(offer)
    await call.media.bridge("b1", b.sdp())
    await call.media.reoffer(a.sdp())
    await hear_each_other(a, b)


async def test_a_callee_that_answers_on_hold_and_resumes(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone()
    call = await ringing(studio, a, b)
    await call.media.bridge("b1", b.sdp("inactive"))
    await silent_for(b, a)
    await call.media.reoffer_leg("b1", b.sdp())
    await hear_each_other(a, b)


async def test_offers_without_sdp_while_bridged(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone("PCMA")
    call = await bridged(studio, a, b)
    ours = await call.media.offer()
    a.send_to(ours)
    await call.media.accept(a.sdp())
    theirs = await call.media.reoffer_leg("b1", None)
    b.send_to(theirs)
    await call.media.accept_leg("b1", b.sdp())
    await hear_each_other(a, b)


async def test_a_callee_without_a_codec_of_ours_and_one_that_does_not_exist(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone()
    call = await ringing(studio, a, b)
    with pytest.raises(NoCommonCodec):
        await call.media.bridge("b1", b.sdp().replace("AVP 0 101", "AVP 4"))
    with pytest.raises(MediaRefused):
        await call.media.bridge("b2", b.sdp())
    await call.media.bridge("b1", b.sdp())
    await hear_each_other(a, b)


async def test_an_encrypting_caller_keeps_its_keys_through_bridge_and_back(studio: Studio) -> None:
    a, b = await studio.phone(), await studio.phone("PCMA")
    gateway = {"from-tag": "phone", "ICE": "remove"}
    fields = {**gateway, "sdp": a.sdp(), "transport-protocol": "RTP/SAVP"}
    offer = (await studio.ng.command("offer", "gateway", fields))["sdp"]
    call = studio.call()
    answer = await call.media.answer(offer)
    reply = await studio.ng.command("answer", "gateway", {**gateway, "to-tag": "ivr", "sdp": answer})
    a.send_to(reply["sdp"])
    b.send_to(await call.media.offer_leg("b1"))
    await call.media.bridge("b1", b.sdp())
    await hear_each_other(a, b)
    assert await call.media.reoffer(offer) == answer
    assert "a=sendrecv" in await call.media.reoffer_leg("b1", b.sdp())
    await hear_each_other(a, b)
    await call.media.unbridge("b1")
    await is_with_the_ivr(studio, call, a)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_a_callee_that_knows_no_digits_hears_tones(studio: Studio, codec: str) -> None:
    """It must not get a payload type that it has not agreed to (RFC 3264 6.1)."""
    a, b = await studio.phone(), await studio.phone(codec, telephone_event=None)
    call = await bridged(studio, a, b)
    await hear_each_other(a, b)
    for digit in "159":
        b.forget()
        await a.send_digits(digit, duration_s=0.2, gap_s=0.2)
        for frequency in dtmf_frequencies(digit):
            await b.wait_until(lambda f=frequency: hears_half(b, f), PATIENT_S, f"{frequency} Hz of {digit}")  # type: ignore[misc]
        assert {packet.payload_type for packet in b.packets} == {b.codec.payload_type}
    await call.expect_digits("159")
    await hear_each_other(a, b)
    for again in (call.media.reoffer_leg("b1", b.sdp()), call.media.reoffer(a.sdp())):
        await again
        await hear_each_other(a, b)
        b.forget()
        await a.send_digits("5", duration_s=0.2, gap_s=0.2)
        await b.wait_until(lambda: hears_half(b, 1336), PATIENT_S, "digit 5")
        assert {packet.payload_type for packet in b.packets} == {b.codec.payload_type}
        await call.expect_digits("5")
    await call.media.unbridge("b1")
    await is_with_the_ivr(studio, call, a)


def hears_half(phone: RtpEndpoint, frequency: float) -> bool:
    """Whether it has heard 100 ms of a chord with this frequency."""
    sounds = [(sound, rate) for _, sound, rate in phone.audio() if len(sound)]
    return sum(len(sound) / rate for sound, rate in sounds if share_of(frequency, sound, rate) > 0.2) >= 0.1
