"""Session descriptions: the good, the old, the hostile."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callinteractive.sdp import MAX_SDP
from sidecar.media import sdp
from sidecar.media.errors import MalformedSdp, MediaError, NoCommonCodec

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
PLAIN = HEAD + "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"


def audio_of(text: str) -> sdp.Audio:
    return sdp.find_audio(sdp.parse(text))


def outcome(read: Callable[[str], sdp.Audio], text: str) -> object:
    try:
        return read(text)
    except MediaError as error:
        return type(error), str(error)


_PIECES = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "o=", "s=-", "c=IN IP4 192.0.2.7", "t=0 0", "m=audio 4000 RTP/AVP 0 8")
_PIECES += ("m=audio 4002 RTP/AVP 8", "m=audio 0 RTP/AVP 0", "m=audio 70000 RTP/AVP 0", "m=video 5 RTP/AVP 31")
_PIECES += ("m=audio 04 RTP/AVP 0", "m=audio 4/2 RTP/AVP 0", "m=audio 4006", "m=audio  6 RTP/AVP 8", "a=sendonly", "\0")
_PIECES += ("a=rtpmap:0 PCMA/8000", "m=audio \u0664 RTP/AVP 0", "m=audio 6 RTP/SAVP 0", "a=fmtp:0 m=1", "x", " ", "")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(_PIECES), st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r", " ")))))
@example([(line, "\r\n") for line in PLAIN.split("\r\n")])
def test_what_is_remembered_changes_nothing(pieces: list[tuple[str, str]]) -> None:
    """Descriptions that differ in their origin or port, in turn, beside others."""
    text = "".join(line + end for line, end in pieces)
    for begun in (text, PLAIN + text):
        for port in ("4000", "65536", "1", "0", "", "-1", "4 "):
            other = begun.replace("4000", port)
            assert outcome(sdp.read_audio, other) == outcome(audio_of, other)
        for origin in ("- 2 9", "", "\x01", "a\n", "a\rm=audio 1 RTP/AVP 8\r", "\u00e9", "a "):
            other = begun.replace("- 1 1", origin)
            assert outcome(sdp.read_audio, other) == outcome(audio_of, other)


def test_another_description_of_the_same_phone_is_another() -> None:
    for more in ("", "a=sendonly\r\n", "a=rtcp-mux\r\n", "a=rtpmap:0 PCMA/8000\r\n"):
        for text in (
            PLAIN + more,
            PLAIN.replace("0 8 101", "8 0 101") + more,
            PLAIN.replace("192.0.2.1", "192.0.2.9") + more,
        ):
            assert sdp.read_audio(text) == audio_of(text) == sdp.read_audio(text)


def test_a_phone_that_calls_again_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sdp.read_audio(PLAIN)
    monkeypatch.setattr(sdp, "parse", None)
    again = sdp.read_audio(PLAIN.replace("- 1 1", "- 7 8").replace("4000", "4711"))
    assert (again.line.port, again.line.address, again.codec) == (4711, "192.0.2.1", sdp.PCMU)


@pytest.mark.parametrize("line", ["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0", "a=ice-pwd:secret", "a=ssrc:1"])
def test_secrets_and_what_never_comes_again_are_not_remembered(line: str) -> None:
    before = len(sdp._remembered_audio)
    sdp.read_audio(f"{PLAIN}{line}\r\n")
    assert len(sdp._remembered_audio) == before


def test_how_much_is_remembered() -> None:
    for number in range(1000):
        sdp.read_audio(f"{PLAIN}a=x:{number}\r\n")
    assert len(sdp._remembered_audio) <= 512
    before = len(sdp._remembered_audio)
    sdp.read_audio(f"{PLAIN}a=x:{'y' * 1024}\r\n")
    assert len(sdp._remembered_audio) == before


def test_a_plain_offer() -> None:
    audio = audio_of(PLAIN)
    assert audio.codec == sdp.Format(0, "PCMU", 8000)
    assert audio.events == sdp.Format(101, "telephone-event", 8000, parameters="0-16")
    assert (audio.line.address, audio.line.port, audio.line.direction) == ("192.0.2.1", 4000, "sendrecv")
    assert audio.line.hears


@pytest.mark.parametrize(
    "written",
    [
        PLAIN.replace("\r\n", "\n"),
        PLAIN.replace("\r\n", "\r"),
        PLAIN.replace("\r\nm=", "\nm="),
        PLAIN.replace("\r\n", "\r\n\r\n"),
        "\r\n" + PLAIN + "\r\n \r\n",
        PLAIN.replace("\r\n", " \r\n"),
        PLAIN.replace("\r\n", "\t \r\n"),
        PLAIN.replace(" ", "\t"),
        PLAIN.replace(" ", "  "),
        PLAIN.replace("m=audio", "m= audio").replace("v=0", "v= 0"),
        PLAIN + "\0",
        PLAIN.replace("s=-", "s=\0"),
        PLAIN.replace("\r\n", "\0\r\n"),
        PLAIN.replace("s=-\r\n", "").replace("t=0 0\r\n", "").replace("o=- 1 1 IN IP4 192.0.2.1\r\n", ""),
        PLAIN.replace("s=-", "s=J\N{REPLACEMENT CHARACTER}r\u00e9 [[[" + "[" * 3000),
        PLAIN.replace("RTP/AVP", "rtp/avp").replace("audio", "AUDIO"),
        PLAIN.replace("IN IP4", "in ip4"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1/127"),
        PLAIN.replace("4000", "4000/1"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 phone.example.com").replace(
            "101\r\n", "101\r\nc=IN IP4 192.0.2.1\r\n", 1
        ),
        PLAIN.replace("a=rtpmap:101 telephone-event/8000", "a=rtpmap: 101 telephone-event /8000/1"),
        PLAIN.replace("telephone-event/8000", "telephone-event"),
        PLAIN + "a=\r\na=rtpmap:\r\na=fmtp:101\r\na=rtpmap:x\r\n",
    ],
)
def test_as_phones_write_it(written: str) -> None:
    understood, plain = audio_of(written), audio_of(PLAIN)
    assert (understood.codec, understood.events) == (plain.codec, plain.events)
    assert (understood.line.address, understood.line.port, understood.line.protocol) == ("192.0.2.1", 4000, "RTP/AVP")
    assert sdp.describe_party(understood) == sdp.describe_party(plain)


@pytest.mark.parametrize("hold", ["a=sendonly ", "a=sendonly\t", "a=SendOnly", "a=sendonly\0"])
def test_on_hold_as_phones_write_it(hold: str) -> None:
    assert audio_of(f"{PLAIN}{hold}\r\n").line.direction == "sendonly"


def test_a_line_of_another_kind_may_be_broken() -> None:
    """Only the audio that we take must be right: the rest is rejected in its place (RFC 3264 6)."""
    video = "m=video 4000 RTP/AVP 96\r\nc=IN IP4 tv.example.com\r\na=crypto:nonsense\r\n"
    broken = "m=audio 4002 RTP/AVP 0\r\nc=IN IP4 224.0.0.1\r\n"
    audio = audio_of(PLAIN.replace("m=audio", f"{video}{broken}m=audio"))
    assert (audio.position, audio.line.port) == (2, 4000)


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ("4 8 0", "PCMA/8000"),
        ("96 0\r\na=rtpmap:96 opus/48000/2", "opus/48000/2"),
        ("96 0\r\na=rtpmap:96 OPUS/16000", "PCMU/8000"),
        ("9", "G722/8000"),
        ("18", "G729/8000"),
        ("3", "GSM/8000"),
        ("3 0", "PCMU/8000"),
        ("9\r\na=rtpmap:9 G722/16000", "G722/8000"),
        ("97\r\na=rtpmap:97 g722/16000/1", "g722/8000"),
        ("97\r\na=rtpmap:97 speex/16000", "speex/16000"),
        ("97 98\r\na=rtpmap:97 speex/16000\r\na=rtpmap:98 PCMA", "PCMA/8000"),
        ("127\r\na=rtpmap:127 GSM/8000", "GSM/8000"),
        ("97 98\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:98 pcmu/8000", "pcmu/8000"),
        ("0 8\r\na=rtpmap:0 L16/8000", "PCMA/8000"),
    ],
)
def test_the_callers_first_codec_of_ours(formats: str, expected: str) -> None:
    assert str(audio_of(f"{HEAD}m=audio 4000 RTP/AVP {formats}\r\n").codec) == expected


@pytest.mark.parametrize(
    "media",
    [
        "",
        "m=audio 4000 RTP/AVP 4 15\r\n",
        "m=audio 0 RTP/AVP 0\r\n",
        "m=video 4000 RTP/AVP 0\r\n",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n",
        "m=audio 4000 RTP/SAVP 0\r\n",
        "m=audio 4000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        "m=audio 4000 TCP/MSRP *\r\n",
    ],
)
def test_no_audio_for_us(media: str) -> None:
    with pytest.raises(NoCommonCodec):
        audio_of(HEAD + media)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bananas",
        "v=1\r\n",
        "v=0\r\nm\r\n",
        "v=0\r\nX=1\r\n",
        PLAIN.replace("c=IN IP4 192.0.2.1\r\n", ""),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 phone.example.com"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 224.0.0.1"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 2001:db8::1"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.999"),
        PLAIN.replace("4000", "70000"),
        PLAIN.replace("RTP/AVP 0", "RTP/AVP zero"),
        PLAIN.replace("4000", "-1"),
        PLAIN.replace("4000", "99999"),
        PLAIN.replace("s=-", "s=\x01"),
        PLAIN.replace("v=0", "v=1"),
        PLAIN + "[" * 3000 + "\r\n",
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 255.255.255.255"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP6 ::ffff:224.0.0.1"),
        PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP6 ff02::1"),
        f"{HEAD}m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n",
        PLAIN + "a=x" * 20_000,
        HEAD + "m=audio 4000 RTP/AVP 0\r\n" * 17,
        HEAD + "m=audio 4000 RTP/AVP " + "0 " * 65 + "\r\n",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(MalformedSdp) as malformed:
        audio_of(text)
    assert malformed.value.sip_code == 488


def test_the_media_lines_own_address_and_direction_win() -> None:
    line = audio_of(
        "v=0\r\nc=IN IP4 192.0.2.1\r\na=inactive\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=sendonly"
    ).line
    assert (line.address, line.direction, line.answer_direction) == ("2001:db8::1", "sendonly", "recvonly")


@pytest.mark.parametrize(
    ("direction", "address", "hears"),
    [
        ("sendrecv", "192.0.2.1", True),
        ("recvonly", "192.0.2.1", True),
        ("sendonly", "192.0.2.1", False),
        ("inactive", "192.0.2.1", False),
        ("sendrecv", "0.0.0.0", False),
    ],
)
def test_who_does_not_want_to_hear_is_described_as_nowhere(direction: str, address: str, hears: bool) -> None:
    audio = audio_of(PLAIN.replace("c=IN IP4 192.0.2.1", f"c=IN IP4 {address}") + f"a={direction}\r\n")
    assert audio.line.hears is hears
    assert ("c=IN IP4 192.0.2.1" in sdp.describe_party(audio)) is hears
    assert ("c=IN IP4 0.0.0.0" in sdp.describe_party(audio)) is not hears
    assert sdp.parse(sdp.describe_party(audio))[0].direction == "sendrecv"
    assert "sendrecv" not in sdp.describe_party(audio), "RTPengine would keep it, and it means the same"


def test_events_match_the_codecs_clock_and_fall_back_to_8000() -> None:
    both = "111 0 101 110\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
    both += "a=rtpmap:110 TELEPHONE-EVENT/48000\r\n"
    matching = audio_of(f"{HEAD}m=audio 4000 RTP/AVP {both}").events
    assert matching is not None
    assert matching.payload_type == 110
    fallback = audio_of(f"{HEAD}m=audio 4000 RTP/AVP {both.replace('/48000' + chr(13), '/96000' + chr(13))}").events
    assert fallback is not None
    assert fallback.payload_type == 101


def test_a_codec_once_agreed_is_kept_under_its_new_number() -> None:
    before = audio_of(f"{HEAD}m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n")
    later = audio_of(f"{HEAD}m=audio 4000 RTP/AVP 0 97\r\na=rtpmap:97 OPUS/48000/2\r\n")
    assert later.codec.name == "PCMU"
    assert later.keeping(before).codec.payload_type == 97
    assert audio_of(PLAIN).keeping(before).codec.name == "PCMU"
    assert audio_of(PLAIN).keeping(None) == audio_of(PLAIN)
    assert before.answer_formats[0].parameters == ""


def test_an_rtpengine_of_ours_is_at_its_own_address() -> None:
    audio = audio_of(PLAIN)
    assert audio.at({}) is audio
    moved = audio.at({audio.line.address: "10.0.2.1"})
    assert moved.line == audio.line._replace(address="10.0.2.1")
    assert (moved.codec, moved.position) == (audio.codec, audio.position)


def test_who_has_begun_with_srtp_keeps_it() -> None:
    key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
    encrypted = audio_of(f"{HEAD}m=audio 4000 RTP/SAVP 0\r\n{key}")
    with pytest.raises(NoCommonCodec):
        audio_of(PLAIN).keeping(encrypted)
    assert encrypted.keeping(audio_of(PLAIN)) == encrypted
    assert encrypted.keeping(encrypted) == encrypted


def test_srtp_keys_are_handed_on_and_odd_ones_are_not() -> None:
    key = "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
    keys = f"a=crypto:{key}|2^20|1:32\r\na=crypto:2 X inline:%%%\r\n"
    audio = audio_of(f"{HEAD}m=audio 4000 RTP/SAVP 0\r\n{keys}a=rtcp-mux\r\n")
    described = sdp.describe_party(audio)
    assert f"a=crypto:{key}|1:32\r\n" in described
    assert described.count("a=crypto") == 1
    assert "m=audio 4000 RTP/SAVP 0\r\n" in described
    assert "a=rtcp-mux\r\n" in described


# Pieces that make a parser's branches meet in odd orders.
PIECES = st.sampled_from(
    [
        *("v=0", "m=audio 4000 RTP/AVP 0 8", "m=audio 1 RTP/SAVP 96 0", "m=video 9 RTP/AVP 31", "m=audio"),
        *("c=IN IP4 192.0.2.1", "c=IN IP6 ::", "c=IN IP4", "a=sendonly", "a=rtpmap:96 opus/48000/2", "a=rtpmap:"),
        *("a=rtpmap:999 PCMU/8000", "a=fmtp:0 x", "a=crypto:1 A inline:b", "a=rtcp-mux", "a=", "=", "", "\x00", "é=é"),
    ]
)
ODD_TEXT = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=string.printable, max_size=200).map(lambda text: PLAIN + text),
    st.lists(PIECES, max_size=30).map(lambda lines: "v=0\r\n" + "\r\n".join(lines)),
)


@given(ODD_TEXT)
@example("v=0\nm=audio 4000 RTP/AVP ²\nc=IN IP4 192.0.2.1")
@example("v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0\na=rtpmap:٠ PCMU/8000")
def test_anything_is_understood_or_refused_and_what_is_handed_on_is_clean(text: str) -> None:
    try:
        audio = audio_of(text)
    except MediaError:
        return
    described = sdp.describe_party(audio)
    assert described.isascii()
    assert described.isprintable() or set(described) - set(string.printable[:95]) == {"\r", "\n"}
    again = audio_of(described)
    assert (again.codec, again.events) == (audio.codec, audio.events)
    assert len(described) < 10 * MAX_SDP
