"""The number by which Kamailio's rtpengine module knows each RTPengine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from callinteractive.model import RtpEngine


def set_of(engine: RtpEngine) -> int:
    """The number of the set that holds this RTPengine alone; 24 bits.

    It comes from its address. So it stays the same when others join or leave the site, and calls find theirs again.
    """
    return int.from_bytes(hashlib.blake2s(str(engine.ng).encode(), digest_size=3).digest())


def module_parameters(engines: Sequence[RtpEngine]) -> str:
    """What kamailio.cfg includes: the sets with their control addresses."""
    lines = [f'"rtpengine_sock", "{set_of(engine)} == {_url(engine)}"' for engine in engines]
    # It complains of a missing set 0 otherwise. We always say which set we mean.
    lines.append(f'"setid_default", {set_of(engines[0])}')
    return "".join(f'modparam("rtpengine", {line})\n' for line in lines)


def _url(engine: RtpEngine) -> str:
    return f"{'udp6' if ':' in engine.ng.host else 'udp'}:{engine.ng}"
