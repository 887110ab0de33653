"""The caller's media through a real RTPengine: answers, sounds heard, digits, re-offers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.errors import MalformedSdp, MediaLost, MediaRefused, NoCommonCodec
from sidecar.media.sounds import Sound
from tests.integration.media_support import Studio
from tests.support.audio import CODECS
from tests.support.rtp import RtpEndpoint
from tests.support.timing import PATIENT_S


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


def media_lines(sdp: str) -> list[str]:
    return re.findall(r"^m=.*(?=\r)", sdp, re.M)


def rtp_port(sdp: str) -> str:
    return media_lines(sdp)[0].split()[1]


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus", "GSM", "speex"])
async def test_a_caller_of_each_codec_hears_the_whole_sound(studio: Studio, codec: str) -> None:
    phone = await studio.phone(codec)
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 1.0))
    await phone.hear_tone(700, for_s=0.95)
    await phone.hear_silence()
    assert phone.tone_duration(700) == pytest.approx(1.0, abs=0.12)
    assert {packet.payload_type for packet in phone.packets} == {CODECS[codec].payload_type}
    await phone.send_digits("7*")
    await call.expect_digits("7*")
    await call.media.delete()
    assert await studio.calls() == 0


async def test_the_answer_takes_the_callers_first_codec_of_ours(studio: Studio) -> None:
    offer = (await studio.phone()).sdp(codecs=["PCMA", "PCMU"]).replace("RTP/AVP 8", "RTP/AVP 3 97 8")
    answer = await studio.call().media.answer(offer)
    assert media_lines(answer)[0].endswith("RTP/AVP 8 101")
    assert "a=rtpmap:101 telephone-event/8000" in answer
    assert "a=sendrecv" in answer


async def test_opus_with_digits_of_the_wrong_clock(studio: Studio) -> None:
    """Old phones offer telephone-event/8000 beside opus, and nothing else."""
    phone = await studio.phone("opus")
    offer = phone.sdp().replace("telephone-event/48000", "telephone-event/8000")
    call = await studio.answered(phone, offer)
    await call.media.play(studio.sound(700, 1))
    await phone.hear_tone(700)
    await phone.send_digits("6")
    await call.expect_digits("6")


async def test_other_media_lines_are_rejected_in_their_places(studio: Studio) -> None:
    phone = await studio.phone()
    video = "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
    session, audio = phone.sdp().split("m=audio", 1)
    fax = "m=image 4002 udptl t38\r\n"
    call = studio.call()
    answer = await call.media.answer(f"{session}{video}m=audio{audio}{fax}")
    lines = media_lines(answer)
    assert lines[0] == "m=video 0 RTP/AVP 96"
    assert lines[1].startswith("m=audio 36")
    assert lines[2] == "m=image 0 udptl t38"
    phone.send_to(re.sub("m=video.*", "", answer))
    await call.media.play(studio.sound(700, 0.5))
    await phone.hear_tone(700)


async def test_a_new_sound_replaces_the_old_one_and_stop_ends_it(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    loop = asyncio.get_running_loop()
    await call.media.play(studio.sound(700, 5))
    assert call.media.sound_ends_at == pytest.approx(loop.time() + 5, abs=0.1)
    await phone.hear_tone(700)
    await call.media.play(studio.sound(1000, 1), repeat=3)
    assert call.media.sound_ends_at == pytest.approx(loop.time() + 3, abs=0.1)
    phone.forget()
    await phone.hear_tone(1000, for_s=1.5)
    assert phone.tone_duration(700) < 0.05
    await call.media.stop()
    assert call.media.sound_ends_at is None
    await phone.hear_silence()
    await call.media.stop()


async def test_a_sound_that_cannot_be_played_is_an_error_and_the_call_goes_on(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    with pytest.raises(MediaRefused):
        await call.media.play(Sound("gone.wav", studio.directory / "gone.au", 1000))
    await call.media.play(studio.sound(700, 0.3))
    await phone.hear_tone(700)


async def test_digits_arrive_once_each_while_a_sound_plays(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 10))
    await phone.send_digits("0123456789*#ABCD", duration_s=0.06, gap_s=0.06)
    await call.expect_digits("0123456789*#ABCD")
    await phone.send_digits("77")
    await call.expect_digits("77")
    assert not call.media.detects_inband


async def test_a_caller_without_telephone_event_dials_by_tones(studio: Studio) -> None:
    phone = await studio.phone(telephone_event=None)
    call = await studio.answered(phone)
    assert call.media.detects_inband
    await call.media.play(studio.sound(0, 10))
    await phone.send_inband_digits("159*0#")
    await call.expect_digits("159*0#")
    await call.media.reoffer(phone.sdp())
    await phone.send_inband_digits("42")
    await call.expect_digits("42")


async def test_tones_of_a_caller_with_telephone_event_are_no_digits(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone)
    await phone.send_inband_digits("12")
    await phone.send_digits("3")
    await call.expect_digits("3")


async def test_an_invite_without_an_offer(studio: Studio) -> None:
    phone = await studio.phone("PCMA")
    call = studio.call()
    offer = await call.media.offer()
    assert media_lines(offer)[0].endswith("RTP/AVP 0 8 9 101")
    phone.send_to(offer)
    await call.media.accept(phone.sdp())
    await call.media.play(studio.sound(700, 0.5))
    await phone.hear_tone(700)
    await phone.send_digits("5")
    await call.expect_digits("5")
    again = await call.media.offer()
    assert rtp_port(again) == rtp_port(offer)
    await call.media.accept(phone.sdp())
    await call.media.play(studio.sound(1000, 0.5))
    await phone.hear_tone(1000)


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
async def test_hold_silences_and_resume_goes_on_with_the_sound(studio: Studio, direction: str) -> None:
    phone = await studio.phone()
    call = studio.call()
    answer = await call.media.answer(phone.sdp())
    phone.send_to(answer)
    await call.media.play(studio.sound(700, 20))
    await phone.hear_tone(700)
    held = await call.media.reoffer(phone.sdp(direction))
    assert {"sendonly": "a=recvonly", "inactive": "a=inactive"}[direction] in held
    assert rtp_port(held) == rtp_port(answer)
    await phone.hear_silence(for_s=0.5)
    await phone.send_digits("1")
    await call.expect_digits("1")
    resumed = await call.media.reoffer(phone.sdp())
    phone.forget()
    await phone.hear_tone(700)
    assert rtp_port(resumed) == rtp_port(answer)
    assert "a=sendrecv" in resumed
    await phone.send_digits("2")
    await call.expect_digits("2")


async def test_hold_in_the_old_manner_lasts(studio: Studio) -> None:
    """After three seconds RTPengine learns addresses from packets. A held caller's packets must not end the hold."""
    phone = await studio.phone()
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 20))
    await phone.hear_tone(700)
    held = await call.media.reoffer(phone.sdp(connection="0.0.0.0"))
    assert "c=IN IP4 127.11." in held
    await phone.hear_silence(for_s=4)
    phone.forget()
    await call.media.reoffer(phone.sdp())
    await phone.hear_tone(700)


async def test_a_new_address_gets_the_sound_that_plays(studio: Studio) -> None:
    first, second = await studio.phone(), await studio.phone()
    call = await studio.answered(first)
    await call.media.play(studio.sound(700, 20))
    await first.hear_tone(700)
    first.quiet = True
    second.send_to(await call.media.reoffer(second.sdp()))
    await second.hear_tone(700)
    await first.hear_silence()
    await second.send_digits("9")
    await call.expect_digits("9")


async def test_a_codec_that_is_still_offered_stays(studio: Studio) -> None:
    phone = await studio.phone("PCMA")
    call = await studio.answered(phone)
    answer = await call.media.reoffer(phone.sdp(codecs=["PCMU", "PCMA"]))
    assert media_lines(answer)[0].endswith("RTP/AVP 8 101")


async def test_a_change_of_codec_starts_the_sound_again(studio: Studio) -> None:
    phone = await studio.phone("PCMU")
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 2))
    ended_at = call.media.sound_ends_at
    await phone.hear_tone(700, for_s=0.5)
    phone.use_codec("PCMA")
    await call.media.reoffer(phone.sdp())
    phone.forget()
    await phone.hear_tone(700, for_s=1.9)
    assert {packet.payload_type for packet in phone.packets[5:]} == {8}
    assert ended_at is not None
    assert call.media.sound_ends_at is not None
    assert call.media.sound_ends_at > ended_at + 0.4


async def test_the_same_codec_under_another_number_is_a_change_too(studio: Studio) -> None:
    phone = await studio.phone("opus")
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 5))
    await phone.hear_tone(700)
    phone.quiet = True
    await call.media.reoffer(phone.sdp().replace("111", "120"))
    await phone.wait_until(lambda: any(each.payload_type == 120 for each in phone.packets), PATIENT_S, "the new number")
    phone.forget()
    await phone.wait_until(lambda: len(phone.packets) > 10, PATIENT_S, "packets")
    assert {packet.payload_type for packet in phone.packets} == {120}


async def test_a_caller_behind_nat_is_heard_and_hears(studio: Studio) -> None:
    phone = await studio.phone()
    call = await studio.answered(phone, phone.sdp(connection="192.0.2.7"))
    await phone.send_digits("4")
    await call.expect_digits("4")
    await call.media.play(studio.sound(700, 0.5))
    await phone.hear_tone(700)


async def test_the_version_counts_up_with_changes_only(studio: Studio) -> None:
    phone = await studio.phone()
    call = studio.call()
    first = await call.media.answer(phone.sdp())
    assert await call.media.reoffer(phone.sdp()) == first
    held = await call.media.reoffer(phone.sdp("sendonly"))
    versions = [int(re.findall(r"^o=- \d+ (\d+)", sdp, re.M)[0]) for sdp in (first, held)]
    assert versions[1] == versions[0] + 1


@pytest.mark.parametrize("more", ["", "|2^31", "|1048576"])
async def test_srtp_with_keys_in_the_sdp(studio: Studio, more: str) -> None:
    """A second RTPengine call acts as the SRTP phone: it translates between a plain phone and SRTP."""
    phone = await studio.phone()
    gateway = {"from-tag": "phone", "ICE": "remove"}
    fields = {**gateway, "sdp": phone.sdp(), "transport-protocol": "RTP/SAVP", "flags": ["SDES-no-NULL_HMAC_SHA1_32"]}
    offer = (await studio.ng.command("offer", "gateway", fields))["sdp"]
    assert "RTP/SAVP" in offer
    call = studio.call()
    answer = await call.media.answer(re.sub(r"(a=crypto:.*?)(?=\r)", rf"\1{more}", offer))
    assert "RTP/SAVP" in answer
    assert answer.count("a=crypto") == 1
    reply = await studio.ng.command("answer", "gateway", {**gateway, "to-tag": "ivr", "sdp": answer})
    phone.send_to(reply["sdp"])
    await call.media.play(studio.sound(700, 1))
    await phone.hear_tone(700, for_s=0.5)
    await phone.send_digits("81")
    await call.expect_digits("81")


async def test_no_codec_and_nonsense_change_nothing(studio: Studio) -> None:
    phone = await studio.phone()
    call = studio.call()
    with pytest.raises(NoCommonCodec) as refused:
        await call.media.answer(phone.sdp().replace("AVP 0 101", "AVP 4"))
    assert refused.value.sip_code == 488
    with pytest.raises(MalformedSdp):
        await call.media.answer("v=0\r\nbananas")
    assert await studio.calls() == 0
    phone.send_to(await call.media.answer(phone.sdp()))
    await call.media.play(studio.sound(700, 5))
    with pytest.raises(NoCommonCodec):
        await call.media.reoffer(phone.sdp().replace("AVP 0 101", "AVP 4"))
    await phone.hear_tone(700)


async def test_delete_is_for_ever_and_never_raises(studio: Studio) -> None:
    call = await studio.answered(await studio.phone())
    await call.media.delete()
    await call.media.delete()
    with pytest.raises(MediaLost):
        await call.media.play(studio.sound(700, 1))
    await studio.call().media.delete()
    assert await studio.calls() == 0


async def test_delete_overtakes_what_waits(studio: Studio) -> None:
    phone: RtpEndpoint = await studio.phone()
    call = await studio.answered(phone)
    answering = asyncio.create_task(call.media.reoffer(phone.sdp()))
    await asyncio.sleep(0)
    await call.media.delete()
    with pytest.raises(MediaLost):
        await answering
    assert await studio.calls() == 0


@pytest.mark.parametrize("apart", [0, 1], ids=["at once", "20 ms apart"])
async def test_a_press_whose_timestamps_move_counts_once(studio: Studio, apart: int) -> None:
    """Some phones give each packet of an event a timestamp of its own (RFC 4733 2.1 wants one for all)."""
    phone = await studio.phone()
    call = await studio.answered(phone)
    for _ in range(3):
        await phone.send_moving_digit("7", ends_apart=apart)
    await phone.send_digits("77", duration_s=0.04, gap_s=0.04)
    await phone.send_digits("8")
    await call.expect_digits("777778")


async def test_presses_whose_ends_are_mixed_count_once(studio: Studio) -> None:
    """RTPengine knows only the last event's timestamp (RFC 4733 2.5.1.4), and tells each of these end packets."""
    phone = await studio.phone()
    call = await studio.answered(phone)
    await phone.send_mixed_digits("78")
    await phone.send_digits("9787", duration_s=0.04, gap_s=0.04)
    await call.expect_digits("789787")
