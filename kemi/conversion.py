"""How the sound of each side of a call travels: as RTP, as SRTP or as browsers send it. RTPengine converts. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple, Self

from callinteractive.model import Media
from callinteractive.sdp import MAX_SDP
from kemi.refusal import Refused

_AUDIO = re.compile(
    r"^m=audio[ \t]{1,9}([0-9]{1,5})(?:/[0-9]{1,3})?[ \t]{1,9}([A-Za-z0-9/.+-]{1,40})", re.I | re.M | re.A
)


class Kind(StrEnum):
    """How sound travels. The values are written into names of media (`kemi.anchor`)."""

    RTP = "p"
    """In the clear."""
    SRTP = "s"
    """Encrypted by keys in the SDP (RFC 4568)."""
    WEBRTC = "w"
    """Encrypted by keys that the parties agree upon with DTLS, on the way that ICE finds (RFC 8834, RFC 8827)."""


class Sides(NamedTuple):
    """Of one branch of a call."""

    caller: Kind
    callee: Kind

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(Kind(text[0]), Kind(text[1])) if text else cls(Kind.RTP, Kind.RTP)

    def __str__(self) -> str:
        """Empty where RTPengine passes on what it gets. It ends the ICE of each browser itself."""
        return f"{self.caller}{self.callee}" if self.are_converted or self.caller is Kind.WEBRTC else ""

    @property
    def are_converted(self) -> bool:
        """Whether neither side would understand what the other one sends."""
        return self.caller is not self.callee


def kinds_in(sdp: str) -> list[Kind]:
    """Of each audio stream that a description does not reject."""
    return [_kind(protocol.upper()) for port, protocol in _AUDIO.findall(sdp[:MAX_SDP]) if int(port)]


def _kind(protocol: str) -> Kind:
    if "SAVP" not in protocol:
        return Kind.RTP
    return Kind.WEBRTC if "TLS" in protocol else Kind.SRTP


def check_caller(media: Media, kinds: list[Kind]) -> None:
    """Whether a caller may offer these. Raises Refused."""
    if media.srtp == "required" and Kind.RTP in kinds:
        raise Refused(
            488,
            "SRTP Required",
            advice="its SDP offers sound that is not encrypted, and media.srtp of this caller is required:"
            " turn on SRTP at the caller, or write srtp: optional",
        )
    if media.srtp == "no" and kinds and Kind.RTP not in kinds:
        raise Refused(
            488,
            "SRTP Not Allowed",
            advice="its SDP offers encrypted sound only, and media.srtp of this caller is no:"
            " turn off SRTP at the caller, or write srtp: optional",
        )


def kind_without_offer(media: Media, *, is_browser: bool) -> Kind:
    """What a caller gets offered in the answer to an INVITE that has no offer (RFC 3261 13.2.1)."""
    if media.webrtc or is_browser:
        return Kind.WEBRTC
    return Kind.SRTP if media.srtp == "required" else Kind.RTP


def kind_for_callee(media: Media, offered: Kind, *, is_browser: bool) -> Kind:
    """What a callee gets offered where the caller has offered `offered`."""
    if media.webrtc or is_browser:
        return Kind.WEBRTC
    if media.srtp == "required":
        return Kind.SRTP
    return Kind.RTP if media.srtp == "no" or offered is Kind.WEBRTC else offered


def kind_after_refusal(media: Media, offered: Kind, *, is_browser: bool) -> Kind | None:
    """What a callee gets offered that has refused `kind_for_callee` with 488; None where nothing else is allowed.

    Whether an optional callee knows SRTP, or RTP, nobody tells us before.
    """
    if media.webrtc or is_browser or media.srtp != "optional":
        return None
    return Kind.RTP if offered is Kind.SRTP else Kind.SRTP


_KEYS = "SDES-pad SDES-no-NULL_HMAC_SHA1_80 SDES-no-NULL_HMAC_SHA1_32"
"""No offer to encrypt nothing, and keys with the padding of RFC 4568 6.1: without it baresip reads another key."""


def offer_flags(sender: Kind, receiver: Kind) -> str:
    """RTPengine's flags for an offer that it converts."""
    if receiver is Kind.WEBRTC:
        return "UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer"
    keys = f" {_KEYS}" if receiver is Kind.SRTP else ""
    if sender is receiver:
        return f"ICE=remove{keys}"
    return f"RTP/{'SAVP' if receiver is Kind.SRTP else 'AVP'} ICE=remove rtcp-mux-demux{keys}"


def answer_flags(receiver: Kind) -> str:
    """The same for its answer. RTPengine remembers what `receiver` has offered."""
    return "" if receiver is Kind.WEBRTC else f"ICE=remove {_KEYS}" if receiver is Kind.SRTP else "ICE=remove"
