"""Gateways that have not answered an INVITE rest for a while. All workers know: it is in shared memory."""

from __future__ import annotations

from kemi import ksr

REST_S = 30
_TABLE = "resting"
"""In kamailio.cfg."""


def rest(uri: str, now_s: float) -> None:
    """The gateway of this URI has said nothing."""
    ksr.set_count(_TABLE, _gateway_of(uri), int(now_s) + REST_S)


def is_resting(uri: str, now_s: float) -> bool:
    return ksr.count_of(_TABLE, _gateway_of(uri)) > now_s


def _gateway_of(uri: str) -> str:
    """The URI without its user."""
    return uri.partition(":")[2].rpartition("@")[2]
