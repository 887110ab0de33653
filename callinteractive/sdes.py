"""SRTP keys in a session description: `a=crypto` (RFC 4568), read leniently and written strictly."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

MAX_KEYS = 16

_SALT = 14  # octets, in AES counter and F8 mode (RFC 3711 8.2, RFC 6188 2)
_GCM_SALT = 12  # RFC 7714 12

_KEY_LENGTHS = {
    "AES_CM_128_HMAC_SHA1_80": 16 + _SALT,
    "AES_CM_128_HMAC_SHA1_32": 16 + _SALT,
    "F8_128_HMAC_SHA1_80": 16 + _SALT,
    "AES_192_CM_HMAC_SHA1_80": 24 + _SALT,
    "AES_192_CM_HMAC_SHA1_32": 24 + _SALT,
    "AES_256_CM_HMAC_SHA1_80": 32 + _SALT,
    "AES_256_CM_HMAC_SHA1_32": 32 + _SALT,
    "AEAD_AES_128_GCM": 16 + _GCM_SALT,
    "AEAD_AES_256_GCM": 32 + _GCM_SALT,
}
"""The suites that RTPengine knows and that encrypt, and how many octets their master key and salt have together."""

_CRYPTO = re.compile(r"([0-9]{1,9}) +([A-Za-z0-9_]{1,40}) +inline: *([!-~]{1,1000})((?: +[!-~]{1,100})*)")
_LIFETIME = re.compile(r"(?:2\^)?[0-9]{1,20}")
_MKI = re.compile(r"([0-9]{1,10}):([0-9]{1,3})")
_LONGEST_MKI = 128  # octets (RFC 4568 9.2)


def read_keys(values: Iterable[str]) -> tuple[str, ...]:
    """The values of `a=crypto` lines that RTPengine can use, rewritten; the others are left out (RFC 4568 6.1).

    A key whose length is not its suite's is left out: RTPengine would answer as if encrypted and send in clear.
    """
    usable = (_rewritten(value.strip()) for _, value in zip(range(MAX_KEYS), values, strict=False))
    return tuple(value for value in usable if value)


def _rewritten(value: str) -> str:
    match = _CRYPTO.fullmatch(value)
    if match is None:
        return ""
    tag, suite, parameters, options = match[1], match[2].upper(), match[3], match[4].split()
    key, *rest = parameters.partition(";")[0].split("|")  # of several keys the first: RTPengine takes one
    identifier = _identifier(rest)
    if not _has_length(key, _KEY_LENGTHS.get(suite, 0)) or identifier is None or not _are_harmless(options):
        return ""
    return f"{tag} {suite} inline:{key.rstrip('=')}{'=' * (-len(key.rstrip('=')) % 4)}{identifier}"


def _has_length(key: str, octets: int) -> bool:
    key = key.rstrip("=")
    try:
        return len(base64.b64decode(key + "=" * (-len(key) % 4), validate=True)) == octets > 0
    except ValueError:
        return False


def _identifier(rest: list[str]) -> str | None:
    """What follows the key: its lifetime, which nobody reaches in a call, and its MKI. None where it is neither."""
    if rest and _LIFETIME.fullmatch(rest[0]):
        rest = rest[1:]
    if not rest:
        return ""
    match = _MKI.fullmatch(rest[0]) if len(rest) == 1 else None
    if match is None or not 1 <= int(match[2]) <= _LONGEST_MKI or int(match[1]) >= 1 << 32:
        return None
    return f"|{match[1]}:{match[2]}"


def _are_harmless(options: list[str]) -> bool:
    """Whether a key can be used without its session parameters (RFC 4568 6.3). UNENCRYPTED_SRTP and the like can't."""
    return all(option.startswith(("-", "WSH=")) or option == "KDR=0" for option in options)
