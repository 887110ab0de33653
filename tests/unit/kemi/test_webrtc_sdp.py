"""What RTPengine gets of a browser's description, and what it does not."""

from __future__ import annotations

import pytest

from kemi.sdp import screen
from kemi.webrtc_sdp import MOST_CANDIDATES, browser_attributes

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
CHROME = f"""v=0
o=- 5 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS 1
m=audio 40000 UDP/TLS/RTP/SAVPF 111 0 126
c=IN IP4 192.0.2.7
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1 1 udp 2122 192.0.2.7 40000 typ host generation 0 network-id 1
a=candidate:2 1 tcp 1518 192.0.2.7 9 typ host tcptype active
a=candidate:3 1 udp 1686 203.0.113.7 40000 typ srflx raddr 192.0.2.7 rport 40000
a=candidate:4 1 udp 2122 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 40000 typ host
a=candidate:5 1 udp 2122 2001:db8::7 40001 typ host
a=candidate:6 1 udp 2122 239.1.1.1 40000 typ host
a=candidate:7 1 udp 2122 192.0.2.7 70000 typ host
a=ice-ufrag:EuGx
a=ice-pwd:2B+aHRZw1L1Z8zUV3LdSJ7tN
a=ice-options:trickle
{FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendrecv
a=msid:1 2
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:0 PCMU/8000
a=rtpmap:126 telephone-event/8000
a=ssrc:1 cname:x
"""
TAKEN = [
    "a=candidate:1 1 UDP 2122 192.0.2.7 40000 typ host",
    "a=candidate:3 1 UDP 1686 203.0.113.7 40000 typ srflx raddr 0.0.0.0 rport 9",
    "a=candidate:5 1 UDP 2122 2001:db8::7 40001 typ host",
    "a=ice-ufrag:EuGx",
    "a=ice-pwd:2B+aHRZw1L1Z8zUV3LdSJ7tN",
    FINGERPRINT,
    "a=setup:actpass",
    "a=mid:0",
    "a=sendrecv",
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:126 telephone-event/8000",
]


def test_chromium() -> None:
    screened = screen(CHROME, is_browser=True)
    assert screened is not None
    assert [line for line in screened.text.splitlines() if line.startswith("a=")] == TAKEN
    assert "m=audio 40000 UDP/TLS/RTP/SAVPF 111 0 126" in screened.text


@pytest.mark.parametrize(
    ("port", "written", "read"),
    [
        (9, "IP4 0.0.0.0", "IP4 127.0.0.1"),
        (9, "IP6 ::", "IP6 ::1"),
        (9, "IP4 192.0.2.7", "IP4 192.0.2.7"),
        (4000, "IP4 0.0.0.0", "IP4 0.0.0.0"),
    ],
)
def test_a_browser_without_a_candidate_yet_is_not_on_hold(port: int, written: str, read: str) -> None:
    screened = screen(
        f"v=0\r\ns=-\r\nt=0 0\r\nm=audio {port} UDP/TLS/RTP/SAVPF 0\r\nc=IN {written}\r\n", is_browser=True
    )
    assert screened is not None
    assert f"m=audio {port} UDP/TLS/RTP/SAVPF 0\r\nc=IN {read}\r\n" in screened.text


def test_who_is_no_browser_has_no_ice() -> None:
    screened = screen(CHROME)
    assert screened is not None
    assert "ice-" not in screened.text
    assert "candidate" not in screened.text


def test_candidates_are_few() -> None:
    lines = [f"a=candidate:{number} 1 udp 1 192.0.2.7 40000 typ host" for number in range(100)]
    assert len(browser_attributes(lines)) == MOST_CANDIDATES


@pytest.mark.parametrize(
    "line",
    [
        "a=ice-ufrag:abc",
        "a=ice-ufrag:abcd efgh",
        "a=ice-pwd:short",
        "a=fingerprint:sha-256 AB:CD",
        "a=fingerprint:sha-256 " + "AB" * 32,
        "a=setup:maybe",
        "a=candidate:1 3 udp 1 192.0.2.7 40000 typ host",
        "a=candidate:1 1 udp 1 192.0.2.7 0 typ host",
        "a=candidate:1 1 udp 1 127.1 40000 typ host",
        "a=candidate:1 1 udp 1 192.0.2.7 40000 typ other",
        "a=mid:a b",
        "a=x",
    ],
)
def test_what_is_left_out(line: str) -> None:
    assert browser_attributes([line]) == []
