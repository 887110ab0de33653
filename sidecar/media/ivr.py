"""The IVR as a party in RTPengine: with it the caller can have an answer before there is a callee."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sidecar.media import sdp

IVR_TAG = "ivr"

IVR_ADDRESS = {"IP4": "127.0.0.1", "IP6": "::1"}
IVR_PORT = 9  # discard: RTPengine may send there what the caller says; nobody listens

# Keys with the padding of RFC 4568 6.1: without it baresip reads another key. And no offer to encrypt nothing.
_KEYS = ("pad", "no-NULL_HMAC_SHA1_80", "no-NULL_HMAC_SHA1_32")
AROUND_SDP: dict[str, Any] = {"ICE": "remove", "SDES": _KEYS}
"""Keys of every command that has a description."""
# A party's port stays where it is, whoever is at the other end.
PORT_STAYS = ("port-latching",)
# Packets are dropped that come from elsewhere than we said or, where we told it to learn, than the first one came from.
STRICT = ("strict-source",)
IVR_IS_THERE = {"endpoint-learning": ("off",), "flags": (*PORT_STAYS, *STRICT)}  # nobody may speak in its place
# Nobody sends to the IVR, so RTPengine needs no port for its RTCP. The caller gets one: it has not offered to mix them.
_ONE_PORT = ("demux",)


@lru_cache(64)
def ivr_described(formats: tuple[sdp.Format, ...], family: str) -> str:
    """Its description, which takes these formats. family: IP4 or IP6."""
    return sdp.describe(formats, IVR_ADDRESS[family], IVR_PORT, rtcp_mux=True)


def ivr_offers(formats: tuple[sdp.Format, ...], family: str) -> dict[str, Any]:
    """The keys of an offer that it makes to a caller of whom nothing is known yet."""
    return {
        "from-tag": IVR_TAG,
        "sdp": ivr_described(formats, family),
        "address family": family,
        "rtcp-mux": _ONE_PORT,
        **IVR_IS_THERE,
        **AROUND_SDP,
    }
