"""Session descriptions with only some codecs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.sdp_codecs import keep_codecs

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
OFFER = (
    HEAD + "m=audio 41000 RTP/AVP 111 9 8 0 18 101 13\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=fmtp:18 annexb=no\r\na=ptime:20\r\n"
)


@pytest.mark.parametrize(
    ("codecs", "payloads"),
    [
        (("pcma", "pcmu"), "8 0 101 13"),
        (("opus",), "111 101 13"),
        (("g722", "g729"), "9 18 101 13"),
        (("gsm",), None),
    ],
)
def test_other_codecs_are_taken_out(codecs: tuple[str, ...], payloads: str | None) -> None:
    kept = keep_codecs(OFFER, codecs)
    if payloads is None:
        assert kept is None
        return
    assert kept
    assert f"m=audio 41000 RTP/AVP {payloads}\r\n" in kept
    assert ("a=rtpmap:111" in kept, "a=fmtp:111" in kept) == ("opus" in codecs,) * 2
    assert ("a=fmtp:18 " in kept) == ("g729" in codecs)
    assert "a=fmtp:101 0-16\r\n" in kept
    assert kept.startswith(HEAD)
    assert kept.endswith("a=ptime:20\r\n")


def test_a_payload_is_what_its_rtpmap_says() -> None:
    sdp = HEAD + "m=audio 4 RTP/SAVPF 96 8\r\na=rtpmap:96 PCMU/8000\r\na=rtcp-fb:8 nack\r\na=rtpmap:8 PCMA/8000\r\n"
    assert keep_codecs(sdp, ("pcmu",)) == HEAD + "m=audio 4 RTP/SAVPF 96\r\na=rtpmap:96 PCMU/8000\r\n"


def test_what_is_no_audio_stays() -> None:
    video = "m=video 5 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"
    assert keep_codecs(HEAD + video, ("pcma",)) == HEAD + video
    assert keep_codecs("", ("pcma",)) == ""


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    keep_codecs(text, ("pcma",))
    keep_codecs(OFFER + text, ("pcma",))


def test_no_description_is_longer_than_rtpengine_takes() -> None:
    """It would be read once for each branch of a call."""
    assert keep_codecs("v=0\r\n" + "a=x\r\n" * 4000, ("pcma",)) is None
