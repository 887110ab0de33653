"""The signature that Kamailio puts on the private headers of an INVITE for a sidecar (X-CI-Signature).

Whoever can send a packet to a sidecar could otherwise name any script, URL and number. The signature covers the private
headers that a sidecar reads, the INVITE's Call-ID and the time: it is of no use for another call, nor later.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from callinteractive.errors import HeaderError
from callinteractive.headers import CallHeader, EntryHeader, Named, ResultHeader, StateHeader

WINDOW_S = 60
"""How long a signature is valid, and how far the clocks of two hosts may be apart."""
SIGNED = (CallHeader.NAME, EntryHeader.NAME, StateHeader.NAME, ResultHeader.NAME)
_WRITTEN = re.compile(r"t=([0-9]{1,12});v1=([0-9a-f]{64})", re.ASCII)
_ABSENT = ("",) * len(SIGNED)
_LONGEST = 128


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class SignatureHeader(Named):
    """``t=<seconds since 1970>;v1=<64 hex digits>``.

    That is BLAKE2s (RFC 7693) with the key `callinteractive.keys.SIGNATURES`.
    """

    time_s: Final[int]
    digest: Final[str]

    def __init__(self, time_s: int, digest: str) -> None:
        self.time_s = time_s
        self.digest = digest

    def __str__(self) -> str:
        return f"t={self.time_s};v1={self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a header's value. Raises HeaderError."""
        match = _WRITTEN.fullmatch(text) if len(text) <= _LONGEST else None
        if not match:
            raise HeaderError(f"{cls.NAME}: not t=<seconds>;v1=<hex>")
        return cls(int(match[1]), match[2])

    @classmethod
    def sign(cls, key: bytes, now_s: int, call_id: str, values: Mapping[str, str]) -> Self:
        """Sign an INVITE. `values`: its private headers by `NAME`; those not in `SIGNED` are not covered."""
        return cls(now_s, _digest(key, now_s, call_id, values))

    def is_valid(self, key: bytes, now_s: float, call_id: str, values: Mapping[str, str]) -> bool:
        """Whether Kamailio has signed exactly these values for this Call-ID, and not long ago."""
        is_recent = abs(now_s - self.time_s) <= WINDOW_S
        return hmac.compare_digest(self.digest, _digest(key, self.time_s, call_id, values)) and is_recent


def _digest(key: bytes, time_s: int, call_id: str, values: Mapping[str, str]) -> str:
    # No value of a SIP header has a line's end in it, so no text can be read in two ways.
    # Not HMAC-SHA256: Python computes it by OpenSSL, whose memory Kamailio's TLS module shares among all workers.
    text = "\n".join((str(time_s), call_id, *map(values.get, SIGNED, _ABSENT)))
    digest = _keyed(key).copy()
    digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hashlib.blake2s:
    """To be copied, which costs less than to make another."""
    return hashlib.blake2s(key=key)
