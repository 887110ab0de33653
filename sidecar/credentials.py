"""The secrets of requests to the web application, keys and headers, read where they are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from callinteractive.model import IvrFile
from callinteractive.secret import Secret, SecretError
from callinteractive.web import Web
from callinteractive.web_file import header_problem
from callinteractive.webhook_signature import key_of

_ALWAYS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # 64 KiB of compressed answer can unpack to gigabytes
}
_MOST = 1024
_MOST_OCTETS = 4096
"""Of a file: more is no secret anyway."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`keys` sign a request. `headers` are those of every request, the configured ones among them."""

    keys: tuple[bytes, ...] = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def reader(folder: Path) -> Callable[[Secret], str]:
    """Reads secrets of this process's environment, or of files. folder: where their names start from."""

    def read(name: str) -> str:
        # A pipe that nobody writes to must not hold up all calls.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MOST_OCTETS).decode()
        finally:
            os.close(descriptor)

    return lambda secret: secret.read(os.environ, read)


class CredentialStore:
    """They are read once, and again with each configuration: what is in a file or in the environment can change."""

    def __init__(self, read: Callable[[Secret], str]) -> None:
        """`read` raises SecretError."""
        self._read = read
        self._known: dict[Web, Credentials] = {}

    def of(self, web: Web) -> Credentials:
        """Raises SecretError."""
        known = self._known.get(web)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[web] = self._make(web)
        return known

    def learn(self, ivr_file: IvrFile) -> list[str]:
        """Read those of all IVRs anew. Returns what is wrong: of such an IVR no request can be sent."""
        known: dict[Web, Credentials] = {}
        problems = []
        for ivr in ivr_file.ivrs:
            try:
                known[ivr.web] = known.get(ivr.web) or self._make(ivr.web)
            except SecretError as error:
                problems.append(f"IVR {ivr.number}: web: {error}")
        if not problems:
            self._known = known
        return problems

    def _make(self, web: Web) -> Credentials:
        own = {name: self._header(secret) for name, secret in web.headers}
        overridden = {name.lower() for name in own}
        always = {name: value for name, value in _ALWAYS.items() if name.lower() not in overridden}
        return Credentials(tuple([self._key(secret) for secret in web.secrets]), {**always, **own})

    def _key(self, secret: Secret) -> bytes:
        text = self._read(secret)
        try:
            return key_of(text)
        except ValueError as error:
            raise SecretError(f"the secret {_where(secret)}{error}") from None

    def _header(self, secret: Secret) -> str:
        text = self._read(secret)
        if problem := header_problem(text):
            raise SecretError(f"the header {_where(secret)}can't be sent: {problem}")
        return text


def _where(secret: Secret) -> str:
    place = secret.file or secret.variable
    return f"of {place} " if place else ""
