"""The secrets of requests to the web application, keys and headers, read where they are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from callinteractive.asking import Credentials, credentials_of
from callinteractive.model import IvrFile
from callinteractive.remember import keep
from callinteractive.secret import Secret, SecretError
from callinteractive.web import Web

_MOST = 1024
_MOST_OCTETS = 20_000
"""Of a file: more than the longest secret has, so that a longer one is refused and not cut."""


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
        return keep(self._known, _MOST, web, credentials_of(web, self._read)) if known is None else known

    def learn(self, ivr_file: IvrFile) -> list[str]:
        """Read those of all IVRs anew. Returns what is wrong: of such an IVR no request can be sent."""
        known: dict[Web, Credentials] = {}
        problems = []
        for ivr in ivr_file.ivrs:
            try:
                known[ivr.web] = known.get(ivr.web) or credentials_of(ivr.web, self._read)
            except SecretError as error:
                problems.append(f"IVR {ivr.number}: web: {error}")
        if not problems:
            self._known = known
        return problems
