"""Which kind of sound each side of a call gets, and what RTPengine is told to convert."""

from __future__ import annotations

import pytest

from callinteractive.model import Media
from kemi.conversion import (
    Kind,
    Sides,
    answer_flags,
    check_caller,
    kind_for_callee,
    kind_without_offer,
    kinds_in,
    offer_flags,
)
from kemi.refusal import Refused

RTP, SRTP, WEBRTC = Kind


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        ("m=audio 9 RTP/AVP 0", [RTP]),
        ("m=audio 9 rtp/avpf 0", [RTP]),
        ("m=audio 9 RTP/SAVP 0", [SRTP]),
        ("m=audio 9/2  RTP/SAVPF 0", [SRTP]),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0", [WEBRTC]),
        ("m=audio 9 UDP/TLS/RTP/SAVP 0", [WEBRTC]),
        ("m=audio 0 RTP/AVP 0", []),
        ("m=video 9 RTP/SAVP 0", []),
        ("a=m=audio 9 RTP/AVP 0", []),
        ("m=audio 0 RTP/SAVP 0\nm=audio 9 RTP/AVP 0", [RTP]),
        ("m=audio 9 RTP/SAVP 0\nm=audio 9 RTP/AVP 0", [SRTP, RTP]),
    ],
)
def test_kinds(lines: str, kinds: list[Kind]) -> None:
    assert kinds_in(f"v=0\r\nc=IN IP4 192.0.2.1\r\n{lines}\r\n") == kinds


@pytest.mark.parametrize(
    ("media", "kinds", "is_fine"),
    [
        (Media("required"), [SRTP], True),
        (Media("required"), [WEBRTC], True),
        (Media("required"), [RTP], False),
        (Media("required"), [SRTP, RTP], False),
        (Media("required"), [], True),
        (Media("optional"), [RTP], True),
        (Media("optional"), [SRTP], True),
        (Media("no"), [RTP], True),
        (Media("no"), [SRTP, RTP], True),
        (Media("no"), [SRTP], False),
        (Media("no"), [WEBRTC], False),
        (Media("no"), [], True),
    ],
)
def test_what_a_caller_may_offer(media: Media, kinds: list[Kind], is_fine: bool) -> None:
    if is_fine:
        check_caller(media, kinds)
        return
    with pytest.raises(Refused) as refusal:
        check_caller(media, kinds)
    assert refusal.value.code == 488
    assert "media.srtp" in refusal.value.advice


@pytest.mark.parametrize(
    ("media", "is_browser", "given"),
    [
        (Media(), False, {RTP: RTP, SRTP: SRTP, WEBRTC: RTP}),
        (Media("required"), False, {RTP: SRTP, SRTP: SRTP, WEBRTC: SRTP}),
        (Media("no"), False, {RTP: RTP, SRTP: RTP, WEBRTC: RTP}),
        (Media(webrtc=True), False, {RTP: WEBRTC, SRTP: WEBRTC, WEBRTC: WEBRTC}),
        (Media("no"), True, {RTP: WEBRTC, SRTP: WEBRTC, WEBRTC: WEBRTC}),
    ],
)
def test_what_a_callee_gets(media: Media, is_browser: bool, given: dict[Kind, Kind]) -> None:
    assert {offered: kind_for_callee(media, offered, is_browser=is_browser) for offered in Kind} == given


def test_what_a_caller_gets_that_offers_nothing() -> None:
    assert kind_without_offer(Media(), is_browser=False) is RTP
    assert kind_without_offer(Media("required"), is_browser=False) is SRTP
    assert kind_without_offer(Media("required"), is_browser=True) is WEBRTC
    assert kind_without_offer(Media(webrtc=True), is_browser=False) is WEBRTC


@pytest.mark.parametrize("caller", Kind)
@pytest.mark.parametrize("callee", Kind)
def test_sides_as_text(caller: Kind, callee: Kind) -> None:
    sides = Sides(caller, callee)
    assert sides.are_converted is (caller is not callee)
    if str(sides):
        assert Sides.parse(str(sides)) == sides
    else:
        assert caller is callee is not WEBRTC
        assert Sides.parse("") == Sides(RTP, RTP)


def test_flags() -> None:
    keys = ["SDES-pad", "SDES-no-NULL_HMAC_SHA1_80", "SDES-no-NULL_HMAC_SHA1_32"]
    assert offer_flags(RTP, RTP) == "ICE=remove"
    assert offer_flags(SRTP, SRTP).split() == ["ICE=remove", *keys]
    assert offer_flags(RTP, SRTP).split() == ["RTP/SAVP", "ICE=remove", "rtcp-mux-demux", *keys]
    assert offer_flags(WEBRTC, RTP).split() == ["RTP/AVP", "ICE=remove", "rtcp-mux-demux"]
    assert {offer_flags(kind, WEBRTC) for kind in Kind} == {"UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer"}
    assert (answer_flags(RTP), answer_flags(WEBRTC)) == ("ICE=remove", "")
    assert answer_flags(SRTP).split() == ["ICE=remove", *keys]
