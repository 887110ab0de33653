"""The names in an X.509 certificate (RFC 5280), for a peer that TLS has verified already. Pure, linear, bounded.

Python's `ssl` could read them, but must not be used inside Kamailio; and Kamailio itself shows only the first name.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_LONGEST = 16_384
"""Characters of PEM."""
_MOST_NAMES = 100
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _OCTETS, _OID, _EXTENSIONS = 0x30, 0x04, 0x06, 0xA3
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
_DNS_NAME, _URI = 0x82, 0x86


class _Element(NamedTuple):
    """One element of DER (X.690 8.1)."""

    tag: int
    content: bytes


@lru_cache(maxsize=256)
def names_of(pem: str) -> frozenset[str]:
    """The SIP hosts that a certificate is for (RFC 5922 7.1): its DNS names and the hosts of its SIP URIs.

    In lower case. Empty where the certificate can't be read, or has no names of these kinds.
    """
    try:
        return frozenset(_names(_der_of(pem)))
    except ValueError:
        return frozenset()


def is_for(host: str, names: frozenset[str]) -> bool:
    """Whether a certificate with these names is for `host`, which is in lower case.

    A name with * stands for one more label at its left (RFC 9525 6.3). SIP does not want that (RFC 5922 7.2), but large
    carriers have no other certificates.
    """
    return not names.isdisjoint((host, f"*.{host.partition('.')[2]}"))


def _der_of(pem: str) -> bytes:
    if len(pem) > _LONGEST:
        raise ValueError("too long")
    text = pem.partition(_BEGIN)[2].partition(_END)[0]
    return binascii.a2b_base64("".join(text.split()), strict_mode=True)


def _names(certificate: bytes) -> Iterator[str]:
    [outer] = _elements(certificate)
    [to_be_signed, *_] = _elements(outer.content)
    for part in _elements(to_be_signed.content):
        if part.tag == _EXTENSIONS:
            [extensions] = _elements(part.content)
            for extension in _elements(extensions.content):
                yield from _alternative_names(list(_elements(extension.content)))


def _alternative_names(extension: list[_Element]) -> Iterator[str]:
    """Of an extension: its OID, perhaps whether it is critical, and its value."""
    if not extension or extension[0] != (_OID, _SUBJECT_ALT_NAME) or extension[-1].tag != _OCTETS:
        return
    [names] = _elements(extension[-1].content)
    for kind, content in list(_elements(names.content))[:_MOST_NAMES]:
        if kind == _DNS_NAME:
            yield content.decode("ascii").lower()
        elif kind == _URI:
            scheme, _, rest = content.decode("ascii").lower().partition(":")
            if scheme in ("sip", "sips") and "@" not in rest:  # with a user it is a person's (RFC 5922 7.1)
                yield rest


def _elements(data: bytes) -> Iterator[_Element]:
    """Those that follow each other in `data`. Raises ValueError."""
    at = 0
    while at < len(data):
        if len(data) - at < 2:
            raise ValueError("ends within an element")
        tag, length, start = data[at], data[at + 1], at + 2
        if length >= 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 3:
                raise ValueError("a length that no certificate has")
            length, start = int.from_bytes(data[start : start + octets]), start + octets
        at = start + length
        if at > len(data):
            raise ValueError("ends within an element")
        yield _Element(tag, data[start:at])
