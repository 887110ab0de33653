"""The SDP that a party gets: RTPengine's stream inside our own session lines."""

from __future__ import annotations

import pytest

from sidecar.media import sdp
from sidecar.media.errors import MediaRefused
from sidecar.media.party import Party

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
THEIRS = HEAD + "m=video 9 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 0\r\nm=image 9 udptl t38\r\n"
WRITTEN = "v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nc=IN IP4 {}\r\nt=0 0\r\n"
WRITTEN += "m=audio 30000 RTP/AVP 0\r\na=sendrecv\r\na=rtcp:30001\r\n"


def lines_but_origin(text: str) -> list[str]:
    return [line for line in text.split("\r\n") if not line.startswith("o=")]


def test_our_stream_takes_the_place_of_theirs_and_the_rest_is_rejected() -> None:
    party = Party("caller")
    party.audio = sdp.find_audio(sdp.parse(THEIRS))
    party.learn(WRITTEN.format("198.51.100.7"))
    assert lines_but_origin(party.describe("recvonly")) == [
        *("v=0", "s=-", "c=IN IP4 198.51.100.7", "t=0 0", "m=video 0 RTP/AVP 96"),
        *("m=audio 30000 RTP/AVP 0", "a=rtcp:30001", "a=recvonly", "m=image 0 udptl t38", ""),
    ]


def test_the_version_counts_changes() -> None:
    party = Party("caller")
    party.learn(WRITTEN.format("198.51.100.7"))
    first = party.describe()
    assert party.describe() == first
    session_id, version = first.split("o=- ")[1].split(" ")[:2]
    assert (
        party.describe("inactive").split("o=- ")[1].startswith(f"{session_id} {int(version) + 1} IN IP4 198.51.100.7\r")
    )


def test_a_mirrored_hold_is_not_our_address() -> None:
    party = Party("caller")
    for address in ("2001:db8::7", "::"):
        party.learn(WRITTEN.format(address).replace("IP4", "IP6"))
        assert "c=IN IP6 2001:db8::7\r\n" in party.describe()
    callee = Party("b1", party.our_address)
    callee.learn(WRITTEN.format("0.0.0.0"))
    assert "c=IN IP6 2001:db8::7\r\n" in callee.describe()


@pytest.mark.parametrize("written", ["", "None", WRITTEN.format("192.0.2.1").replace("30000", "0"), HEAD])
def test_no_stream_from_rtpengine(written: str) -> None:
    party = Party("caller")
    with pytest.raises(MediaRefused):
        party.learn(written)
    with pytest.raises(MediaRefused):
        party.describe()
    with pytest.raises(MediaRefused):
        _ = party.agreed
    assert not party.described


@pytest.mark.parametrize(
    ("theirs", "ours", "possible"),
    [
        ("192.0.2.7", "192.0.2.1", True),  # both are reserved addresses (RFC 5737), as in a laboratory
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "10.0.0.1", True),
        ("10.0.0.7", "10.0.0.1", True),
        ("127.0.0.7", "127.0.0.1", True),
        ("10.0.0.7", "9.9.9.9", False),
        ("100.64.3.4", "9.9.9.9", False),  # a carrier's NAT (RFC 6598)
        ("192.168.1.2", "9.9.9.9", False),
        ("fe80::1", "2620:fe::fe", False),
        ("2001:4860:4860::8888", "2620:fe::fe", True),
    ],
)
def test_a_private_address_is_not_where_packets_to_a_public_one_come_from(
    theirs: str, ours: str, possible: bool
) -> None:
    assert Party("b1", ours).can_be_at(theirs) is possible
