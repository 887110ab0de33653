"""Digest authentication of SIP (RFC 3261 22, RFC 7616, RFC 8760): a challenge read, and its answer written. Pure.

We know MD5 and SHA-256, each also as ``-sess``, with ``qop=auth`` or none (RFC 2069). Of several challenges the first
that we know counts: the server puts what it likes best first (RFC 8760 2.4).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, cast


def _hash(name: str, *modules: str) -> Callable[[bytes], Any]:
    """Python's own. Not OpenSSL's: Kamailio's TLS module shares that library with Python, and 5.6 does not bear it."""
    for module in modules:
        with suppress(ImportError, AttributeError):
            return cast(Callable[[bytes], Any], getattr(import_module(module), name))
    return cast(Callable[[bytes], Any], getattr(hashlib, name))


MOST_CHALLENGES = 8
_LONGEST = 2048
_SCHEME = re.compile(r"\s*digest\s+", re.IGNORECASE)
_PARAMETER = re.compile(
    r'([A-Za-z0-9!%*_+`\'~.-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s",]*+))\s*(?:,\s*|$)', re.DOTALL
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ALGORITHMS = {"md5": _hash("md5", "_md5"), "sha-256": _hash("sha256", "_sha2", "_sha256")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to a server. `realm`: the only one that may ask; None for any."""

    username: str
    password: str = field(repr=False)
    realm: str | None = None


class Challenge(NamedTuple):
    """A WWW-Authenticate or Proxy-Authenticate value (RFC 3261 20.44).

    `realm`, `nonce` and `opaque` are as written between the quotes. `algorithm` is as written, empty for MD5.
    `has_qop`: ``auth`` is offered. `is_stale`: the credentials were right, but their nonce is too old.
    """

    realm: str
    nonce: str
    algorithm: str = ""
    opaque: str | None = None
    has_qop: bool = False
    is_stale: bool = False


def read_challenge(value: str) -> Challenge | None:
    """The challenge; None if it is not digest, can't be read, or needs what we don't have."""
    scheme = _SCHEME.match(value[:_LONGEST])
    if not scheme or len(value) > _LONGEST:
        return None
    found = _parameters(value[scheme.end() :])
    if found is None or "realm" not in found or "nonce" not in found:
        return None
    qop = [token.strip().lower() for token in found.get("qop", "").split(",")]
    if any(qop) and "auth" not in qop:
        return None  # auth-int covers the body, which may change after us
    challenge = Challenge(
        realm=found["realm"],
        nonce=found["nonce"],
        algorithm=found.get("algorithm", ""),
        opaque=found.get("opaque"),
        has_qop="auth" in qop,
        is_stale=found.get("stale", "").lower() == "true",
    )
    return challenge if _hash_of(challenge) else None


def choose(values: Iterable[str], realm: str | None) -> Challenge | None:
    """The challenge to answer, of these header values; of that realm only, if one is given."""
    for value, _ in zip(values, range(MOST_CHALLENGES), strict=False):
        challenge = read_challenge(value)
        if challenge and realm in (None, _unquoted(challenge.realm)):
            return challenge
    return None


def answer(challenge: Challenge, credentials: Credentials, method: str, uri: str, cnonce: str) -> str:
    """The value of Authorization or Proxy-Authorization. `uri` is the Request-URI; `cnonce` is ours, random hex."""
    make = _hash_of(challenge)
    assert make is not None, "read_challenge returns no other"
    user, realm = credentials.username, _unquoted(challenge.realm)
    secret = make(f"{user}:{realm}:{credentials.password}")
    if challenge.algorithm.lower().endswith("-sess"):
        secret = make(f"{secret}:{challenge.nonce}:{cnonce}")
    what = make(f"{method}:{uri}")
    middle = f"{challenge.nonce}:00000001:{cnonce}:auth" if challenge.has_qop else challenge.nonce
    said = [
        f'username="{_quoted(user)}"',
        f'realm="{challenge.realm}"',
        f'nonce="{challenge.nonce}"',
        f'uri="{uri}"',
        f'response="{make(f"{secret}:{middle}:{what}")}"',
    ]
    if challenge.algorithm:
        said.append(f"algorithm={challenge.algorithm}")
    if challenge.has_qop:
        said.append(f'cnonce="{cnonce}", qop=auth, nc=00000001')
    elif challenge.algorithm.lower().endswith("-sess"):
        said.append(f'cnonce="{cnonce}"')
    if challenge.opaque is not None:
        said.append(f'opaque="{challenge.opaque}"')
    return "Digest " + ", ".join(said)


def _parameters(text: str) -> dict[str, str] | None:
    """Of a challenge, by lower-case name; the first of each. None if there is anything else in it."""
    found: dict[str, str] = {}
    at, text = 0, text.strip()
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if not match:
            return None
        value = match[3] if match[2] is None else match[2]
        if _CONTROL.search(value):
            return None
        found.setdefault(match[1].lower(), value)
        at = match.end()
    return found


def _hash_of(challenge: Challenge) -> Callable[[str], str] | None:
    make = _ALGORITHMS.get((challenge.algorithm or "md5").lower().removesuffix("-sess"))
    if make is None:
        return None
    return lambda text: str(make(text.encode("utf-8", "surrogateescape")).hexdigest())


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
