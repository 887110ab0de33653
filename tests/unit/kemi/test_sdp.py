"""What RTPengine is not even given."""

from __future__ import annotations

import pytest

from kemi.sdp import MAX_SDP, is_acceptable

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


@pytest.mark.parametrize(
    "connection", ["IN IP4 192.0.2.1", "IN IP4 0.0.0.0", "IN IP6 2001:db8::1", "IN IP4  192.0.2.1 "]
)
def test_address(connection: str) -> None:
    assert is_acceptable(f"{HEAD}c={connection}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n")
    assert is_acceptable(f"{HEAD}t=0 0\nm=audio 9 RTP/AVP 0\nc={connection}\n")


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
    assert not is_acceptable(f"{HEAD}c={connection}\r\n")
    assert not is_acceptable(f"{HEAD}c=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\nc={connection}\r\n")
    assert not is_acceptable(f"{HEAD}C={connection}\r\n")


def test_nowhere_and_too_long() -> None:
    fine = f"{HEAD}c=IN IP4 192.0.2.1\r\n"
    assert not is_acceptable(HEAD)
    assert not is_acceptable("")
    assert is_acceptable(fine.ljust(MAX_SDP))
    assert not is_acceptable(fine.ljust(MAX_SDP + 1))
