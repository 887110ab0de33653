"""Session descriptions that RTPengine must not get, and how others are cleaned."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.sdp import MAX_SDP, screen

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


@pytest.mark.parametrize(
    "connection", ["IN IP4 192.0.2.1", "IN IP4 0.0.0.0", "IN IP6 2001:db8::1", "IN IP4  192.0.2.1 "]
)
def test_address(connection: str) -> None:
    assert screen(f"{HEAD}c={connection}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n") is not None
    assert screen(f"{HEAD}t=0 0\nm=audio 9 RTP/AVP 0\nc={connection}\n") is not None


@pytest.mark.parametrize(
    "connection",
    [
        "IN IP4 host.example",
        "IN IP4 192.0.2.1.example",
        "IN IP4 2001:db8::1",
        "IN IP6 192.0.2.1",
        "IN IP4 224.2.36.42/127",
        "IN IP4",
        "IN IP4 192.0.2.1 more",
        "IN IPX 192.0.2.1",
        "ATM NSAP 47",
        "IN IP4 127.1",
        "IN IP4 0x7f000001",
        "",
    ],
)
def test_anything_else(connection: str) -> None:
    assert screen(f"{HEAD}c={connection}\r\n") is None
    assert screen(f"{HEAD}c=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\nc={connection}\r\n") is None
    assert screen(f"{HEAD}C={connection}\r\n") is None


def test_nowhere_and_too_long() -> None:
    fine = f"{HEAD}c=IN IP4 192.0.2.1\r\n"
    assert screen(HEAD) is None
    assert screen("") is None
    assert screen(fine.ljust(MAX_SDP)) is not None
    assert screen(fine.ljust(MAX_SDP + 1)) is None


AUDIO = f"{HEAD}c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("m=audio 4000 RTP/AVP 0", "m=audio 4000 RTP/AVP 0"),
        ("m=audio\t4000  rtp/avp 0 ", "m=audio 4000 RTP/AVP 0"),
        ("m=audio 4000/2 RTP/AVP 0", "m=audio 4000/2 RTP/AVP 0"),
        ("m=audio 0 RTP/AVP 0", "m=audio 0 RTP/AVP 0"),
        ("m=image 4000 udptl t38", "m=image 4000 udptl t38"),
        ("m=audio 65535 RTP/AVP 0", "m=audio 65535 RTP/AVP 0"),
        ("m=audio 65536 RTP/AVP 0", None),
        ("m=audio 99999 RTP/AVP 0", None),
        ("m=audio -1 RTP/AVP 0", None),
        ("m=audio x RTP/AVP 0", None),
        ("m=audio 4000", None),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 239.1.2.3", None),
        ("m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", None),
    ],
)
def test_media_line(written: str, read: str | None) -> None:
    screened = screen(f"{HEAD}c=IN IP4 192.0.2.1\r\n{written}\r\n")
    assert (screened is None) == (read is None)
    assert screened is None or f"t=0 0\r\n{read}\r\n" in screened.text


@pytest.mark.parametrize(
    "line",
    [
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendonly",
        "a=rtcp-mux",
        "a=fingerprint:sha-256 AA:BB:CC",
        "a=rtcp:4001",
        "b=AS:64",
        "a=x-unknown:1.2.3",
    ],
)
def test_what_passes(line: str) -> None:
    screened = screen(f"{AUDIO}{line}\r\n")
    assert screened is not None
    assert f"{line}\r\n" in screened.text


@pytest.mark.parametrize(
    "line",
    [
        "a=candidate:1 1 UDP 1 10.0.0.1 5000 typ host",
        "a=remote-candidates:1 10.0.0.1 5000",
        "a=ice-ufrag:abcd",
        "a=rtcp:99999",
        "a=rtcp:0",
        "a=rtcp:4001 IN IP4 224.0.0.1",
        "a=alt:1 1 : a b 10.0.0.1 5000",
        "a=source-filter: incl IN IP6 * 2001:db8::1",
        "a=x:fe80::1",
        "u=http://10.0.0.1/",
        "e=me@10.0.0.1",
        "i=10.0.0.1",
        "k=clear:x",
        "a=x:\u00e9",
        "a=",
        "b=10.0.0.1",
        "t=10.0.0.1 0",
    ],
)
def test_what_is_left_out(line: str) -> None:
    screened = screen(f"{AUDIO}{line}\r\n".replace("o=- ", "o=me@10.0.0.1 ").replace("s=-", "s=10.0.0.1"))
    assert screened is not None
    assert screened.text == AUDIO.replace("IN IP4 192.0.2.1\r\ns", "IN IP4 192.0.2.1\r\ns")


@pytest.mark.parametrize(
    ("address", "sip_source", "flags"),
    [
        ("192.0.2.1", "192.0.2.1", "strict-source endpoint-learning-off"),
        ("8.8.8.8", "192.0.2.1", "strict-source endpoint-learning-off"),
        ("10.0.0.1", "192.0.2.1", "strict-source endpoint-learning-immediate"),
        ("0.0.0.0", "0.0.0.0", "endpoint-learning-off"),
    ],
)
def test_whose_packets_count(address: str, sip_source: str, flags: str) -> None:
    screened = screen(AUDIO.replace("192.0.2.1", address))
    assert screened is not None
    assert screened.source_flags(sip_source) == flags


def test_a_description_that_rejects_all() -> None:
    screened = screen(AUDIO.replace("4000", "0"))
    assert screened is not None
    assert screened.is_dead
    assert screen("v=1\r\n" + "[" * 3000 + "\r\n") is None


@given(st.text(max_size=200), st.text(alphabet="acmort=: IN46P.\r\n0129-", max_size=200))
def test_text_of_any_kind_comes_out_clean(text: str, more: str) -> None:
    for sdp in (text, AUDIO + text, AUDIO + more, HEAD + more):
        screened = screen(sdp)
        if screened is not None:
            assert screened.text.isascii()
            assert screen(screened.text) == screened


@pytest.mark.parametrize(
    "piece", [" ", "\r\n", "a=rtcp:1 IN IP4 ", "a=x:1.1.1.", "a=x:::", "\r\nm=audio 1 RTP/AVP 0", "["]
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    def screening_s(octets: int) -> float:
        sdp = AUDIO + piece * (octets // len(piece))
        began = time.process_time()
        for _ in range(20):
            screen(sdp)
        return time.process_time() - began

    costs = [min(screening_s(octets) for _ in range(5)) for octets in (1000, 4000, 16000)]
    assert all(more < 12 * less + 0.001 for less, more in pairwise(costs))


def test_an_rtpengine_of_ours_is_at_its_own_address() -> None:
    screened = screen(AUDIO + "c=IN IP4 192.0.2.1\r\n", inner={"192.0.2.1": "10.0.2.1", "192.0.2.2": "10.0.2.2"})
    assert screened is not None
    assert screened.addresses == {"10.0.2.1"}
    assert "192.0.2.1" not in screened.text
