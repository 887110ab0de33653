"""The SDP that a party gets: RTPengine's stream inside our own session lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_our_stream_is_the_first_that_is_not_rejected_and_ends_where_the_next_line_begins() -> None:
    party = Party("caller")
    written = WRITTEN.replace("m=audio", "m=audio 0 RTP/AVP 8\r\na=inactive\r\nm=audio")
    written = written.replace("a=sendrecv\r\n", "a=sendrecv\r\n" * 2) + "m=video 0 RTP/AVP 96\r\n"
    party.learn(written.format("198.51.100.7"))
    assert party.our_port == 30000
    assert party.describe().endswith("t=0 0\r\nm=audio 30000 RTP/AVP 0\r\na=rtcp:30001\r\na=sendrecv\r\n")
    assert not party.is_elsewhere_in(written)
    assert party.is_elsewhere_in(written.replace("30000", "30002"))


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


NAMES = st.sampled_from(["PCMU", "PCMA", "G722", "opus", "telephone-event", "x"])
FORMATS = st.builds(sdp.Format, st.integers(0, 127), NAMES, st.integers(1, 96000), st.integers(1, 2), st.text())
LINES = st.builds(
    sdp.MediaLine,
    st.sampled_from(["audio", "video"]), st.integers(0, 65535), st.just("RTP/SAVP"), st.text(), st.text(),
    st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"]), st.tuples(FORMATS, FORMATS) | st.just(()),
    st.tuples(st.text()) | st.just(()), st.booleans(), st.text(),
)  # fmt: skip


@given(st.lists(LINES, min_size=1, max_size=3), FORMATS, st.none() | FORMATS, st.data())
def test_h1_what_a_party_said_is_read_back(
    lines: list[sdp.MediaLine], codec: sdp.Format, events: sdp.Format | None, data: st.DataObject
) -> None:
    audio = sdp.Audio(tuple(lines), data.draw(st.integers(0, len(lines) - 1)), codec, events)
    assert sdp.Audio.from_dict(json.loads(json.dumps(audio.to_dict()))) == audio


def test_h1_a_party_that_is_read_back_goes_on_where_it_was() -> None:
    party = Party("b1", "198.51.100.1", "192.0.2.9")
    party.audio = sdp.find_audio(sdp.parse(THEIRS))
    party.learn(WRITTEN.format("198.51.100.7"))
    party.learned_from("192.0.2.9", 4002)
    before = party.describe()
    again = Party.from_dict(json.loads(json.dumps(party.to_dict())))
    assert again.to_dict() == party.to_dict()
    assert again.describe() == before, "not even the version has changed (RFC 3264 8)"
    assert again.source_of(again.agreed.line) == party.source_of(party.agreed.line)


@pytest.mark.parametrize(
    ("ours", "said", "is_known"),
    [
        ("127.0.0.1", "192.0.2.9", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("::1", "2001:db8::1", False),
        ("198.51.100.1", "192.0.2.9", True),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_phone_on_this_machine_may_send_from_another_of_its_addresses(
    ours: str, said: str, is_known: bool, before: bool
) -> None:
    """Its SIP and its description have the machine's own address; its kernel sends them from loopback."""
    party = Party("caller", None if before else ours, said, is_near=before and ours != "198.51.100.1")
    assert party.is_where_it_says(said) is is_known


def test_what_a_phone_on_this_machine_sends_from_is_learned() -> None:
    party = Party("b1", "127.0.0.1", "192.0.2.9")
    party.audio = sdp.find_audio(sdp.parse(THEIRS))
    party.learned_from("127.0.0.1", 4002)
    assert party.source_of(party.agreed.line)[:2] == ("127.0.0.1", 4002)


@pytest.mark.parametrize(
    "wrong", [{}, {"lines": []}, {"lines": [["audio"]], "position": 0, "codec": [], "events": None}]
)
def test_what_is_no_description_is_not_read(wrong: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, IndexError)):
        sdp.Audio.from_dict({"position": 0, "codec": [0, "PCMU", 8000], "events": None} | wrong)
