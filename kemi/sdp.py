"""Session descriptions of strangers, as far as we must check them before RTPengine gets them. Pure."""

from __future__ import annotations

from callinteractive.sdp import MAX_SDP, connection_address


def is_acceptable(sdp: str) -> bool:
    """Whether RTPengine may get it: not too long, and media only at unicast IP addresses (RFC 8866 5.7)."""
    if len(sdp) > MAX_SDP:
        return False
    connections = [line for line in sdp.splitlines() if line.lower().startswith("c=")]
    return bool(connections) and all(connection_address(line[2:]) is not None for line in connections)
