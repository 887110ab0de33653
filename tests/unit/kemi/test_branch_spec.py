"""Which branches have their media taken through RTPengine, and what it converts for them."""

from __future__ import annotations

import pytest

from callinteractive.model import Extension, Media
from kemi.anchor import Anchoring
from kemi.branch_spec import BranchSpec, converting
from kemi.conversion import Kind

RTP, SRTP, WEBRTC = Kind
PHONE, BROWSER = "sip:306@192.0.2.1", "sip:306@x.invalid;alias=192.0.2.1~5~{}"


@pytest.mark.parametrize(
    ("uri", "media", "anchors", "anchoring", "offered", "expected"),
    [
        (PHONE, Media(), False, Anchoring.NEVER, RTP, (False, "", "ps")),
        (PHONE, Media(), True, Anchoring.NEVER, RTP, (False, "", "ps")),
        (PHONE, Media(), True, Anchoring.TARGETS, RTP, (True, "", "ps")),
        (PHONE, Media(), False, Anchoring.TARGETS, SRTP, (False, "", "sp")),
        (PHONE, Media(), False, Anchoring.ALL, SRTP, (True, "", "sp")),
        # One side would not understand the other: also where nobody anchors.
        (PHONE, Media("required"), False, Anchoring.NEVER, RTP, (True, "ps", "")),
        (PHONE, Media("no"), False, Anchoring.TARGETS, SRTP, (True, "sp", "")),
        (PHONE, Media(webrtc=True), False, Anchoring.NEVER, RTP, (True, "pw", "")),
        (BROWSER.format(5), Media(), False, Anchoring.NEVER, RTP, (True, "pw", "")),
        (BROWSER.format(6), Media(), False, Anchoring.NEVER, RTP, (True, "pw", "")),
        (BROWSER.format(3), Media(), False, Anchoring.NEVER, RTP, (False, "", "ps")),  # a phone that uses TLS
        # Two browsers understand each other.
        (BROWSER.format(5), Media(), False, Anchoring.NEVER, WEBRTC, (False, "", "")),
        (BROWSER.format(5), Media(), False, Anchoring.ALL, WEBRTC, (True, "ww", "")),
    ],
)
def test_what_is_converted(
    uri: str, media: Media, anchors: bool, anchoring: Anchoring, offered: Kind, expected: tuple[bool, str, str]
) -> None:
    party = Extension("000*306", 1, anchors_media=anchors, media=media)
    spec = converting(BranchSpec(uri), party, anchoring, offered)
    assert (spec.is_anchored, spec.sides, spec.otherwise) == expected
