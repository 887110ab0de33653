"""Who calls, and whom the callee sees calling (A5): kept by the dialog's Route, readable by us alone.

The caller's own From must not be learned by the callee, and Kamailio may be started anew at any moment. So both Froms
travel in our Record-Route, encrypted, for one dialog. The nonce is made from what is encrypted and from the dialog (as
in RFC 5297), and so proves both. All of it is keyed BLAKE2: Python's library has no cipher, and a worker loads no
other.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from kemi.ksr import From

_NONCE = 16
_BLOCK = 64
_STEP = 16
"""The length is one of few: it must not tell who calls."""
_MOST = 512
"""Octets of both Froms. A longer one of the caller's own is not kept."""


class Views(NamedTuple):
    """`own`: the caller's From, with an empty URI where it was too long. `shown`: the one that the callee sees."""

    own: From
    shown: From


class Seal:
    """`key`: 16 octets or more."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, dialog: str, views: Views) -> str:
        """Letters, digits, ``-`` and ``_``. `dialog`: its Call-ID and the caller's tag."""
        return self._close(dialog, _pack(views))

    def open(self, dialog: str, text: str) -> Views | None:
        """None if it is not ours, or of another dialog."""
        plain = self._open(dialog, text)
        return None if plain is None else _unpack(plain)

    def close_text(self, dialog: str, text: str) -> str:
        """As `close`, of a text that does not end with a line's end."""
        return self._close(dialog, _padded(_octets(text)))

    def open_text(self, dialog: str, text: str) -> str | None:
        plain = self._open(dialog, text)
        return None if plain is None else plain.decode("utf-8", "surrogateescape").rstrip("\n")

    def _close(self, dialog: str, plain: bytes) -> str:
        nonce = self._nonce(dialog, plain)
        return urlsafe_b64encode(nonce + self._crypt(nonce, plain)).rstrip(b"=").decode()

    def _open(self, dialog: str, text: str) -> bytes | None:
        try:
            octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        nonce, plain = octets[:_NONCE], self._crypt(octets[:_NONCE], octets[_NONCE:])
        return plain if hmac.compare_digest(nonce, self._nonce(dialog, plain)) else None

    def _nonce(self, dialog: str, plain: bytes) -> bytes:
        said = _octets(dialog)
        length = len(said).to_bytes(4, "big")
        return hashlib.blake2b(length + said + plain, key=self._key, digest_size=_NONCE, person=b"nonce").digest()

    def _crypt(self, nonce: bytes, text: bytes) -> bytes:
        """Both ways."""
        blocks = range(-(-len(text) // _BLOCK))
        stream = b"".join([self._block(nonce, number) for number in blocks])[: len(text)]
        return (int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(text), "big")

    def _block(self, nonce: bytes, number: int) -> bytes:
        text = nonce + number.to_bytes(4, "big")
        return hashlib.blake2b(text, key=self._key, digest_size=_BLOCK, person=b"stream").digest()


def _pack(views: Views) -> bytes:
    own, shown = views
    smaller = (own, From("", own.uri), From("", ""))
    packed = (_octets("\n".join(map(_unfolded, itertools.chain(kept, shown)))) for kept in smaller)
    plain = next((octets for octets in packed if len(octets) <= _MOST), b"")
    return _padded(plain)


def _padded(plain: bytes) -> bytes:
    return plain + b"\n" * (_STEP - len(plain) % _STEP)


def _unpack(plain: bytes) -> Views:
    name, uri, shown_name, shown_uri, *_ = [*plain.decode("utf-8", "surrogateescape").split("\n"), *[""] * 4]
    return Views(From(name, uri), From(shown_name, shown_uri))


def _unfolded(text: str) -> str:
    """A caller may fold its display name (RFC 3261 7.3.1): that must not look like the next field."""
    return text.replace("\r\n", "").replace("\n", "")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
