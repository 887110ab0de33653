"""The Redis server in which edges share their registrations: is it there, and does it have what Kamailio asks for?

Kamailio ends without a useful word where it is not. So the server is asked beforehand, in its own protocol (RESP 2).
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from callinteractive.database import Database
from cli import versions
from cli.process import StackError
from cli.registrations import TABLE_VERSION

VARIABLE = "CALLINTERACTIVE_DATABASE"
"""In Kamailio's environment: the URL, with its password (kamailio.cfg)."""
PACKAGE = "kamailio-redis-modules"
ANSWER_S = 3.0
"""For all answers together."""
_VERSION_KEY = "version:entry::location"
_LONGEST = 1024
_MODULES = re.compile(r"paths? to modules: (\S+)")


def make_ready(database: Database) -> Mapping[str, str]:
    """Before each start of Kamailio: see that it can use the database. Returns what its environment must say.

    Raises StackError, whose text is for the operator and has no password.
    """
    if not _has_module():
        raise StackError(f"registrations.database: Kamailio has no module for Redis: apt-get install {PACKAGE}")
    try:
        found = _prepare(database)
    except OSError as error:
        raise StackError(
            f"registrations.database: {database} can't be used: {error.strerror or error}. Kamailio does not start "
            "without it: start Redis there, or correct the address"
        ) from None
    if found != str(TABLE_VERSION):
        raise StackError(
            f"registrations.database: {database} holds registrations of another version of Kamailio ({found}, not "
            f"{TABLE_VERSION}): choose another number at the end of the URL"
        )
    return {VARIABLE: database.url}


def _has_module() -> bool:
    """True also where Kamailio does not say where its modules are."""
    found = _MODULES.search(versions.ask(versions.PROGRAMS["kamailio"]) or "")
    return found is None or any((Path(folder) / "db_redis.so").exists() for folder in found[1].split(":"))


def _prepare(database: Database) -> str:
    """Write which version of the table Kamailio finds, if nothing is written yet; returns what is.

    Raises OSError, and StackError where the server refuses.
    """
    deadline = time.monotonic() + ANSWER_S
    with socket.create_connection((database.host, database.port), ANSWER_S) as server:
        connection = _Connection(server, database, deadline)
        if database.password:
            connection.ask("AUTH", database.password)
        connection.ask("SELECT", str(database.number))
        connection.ask("HSETNX", _VERSION_KEY, "table_name", "location")
        connection.ask("HSETNX", _VERSION_KEY, "table_version", str(TABLE_VERSION))
        return connection.ask("HGET", _VERSION_KEY, "table_version")


class _Connection:
    """Asks one command after the other, all of them until `deadline` (as `time.monotonic`)."""

    def __init__(self, server: socket.socket, database: Database, deadline: float) -> None:
        self._server = server
        self._database = database
        self._deadline = deadline
        self._rest = b""

    def ask(self, *words: str) -> str:
        """The answer to a command. Raises OSError, and StackError where it is an error."""
        parts = (f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        self._server.settimeout(self._left())
        self._server.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        line = self._line()
        kind, answer = line[:1], line[1:]
        if kind == "-":
            raise StackError(f"registrations.database: {self._database} refuses {words[0]}: {_printable(answer)}")
        if kind == "$" and answer.isdecimal():
            return self._line()
        if kind not in ("+", ":"):
            raise StackError(f"registrations.database: what listens at {self._database} is not Redis")
        return answer

    def _line(self) -> str:
        while b"\r\n" not in self._rest:
            self._server.settimeout(self._left())
            more = self._server.recv(_LONGEST)
            if not more or len(self._rest) > _LONGEST:
                raise ConnectionError("it closed the connection" if not more else "its answer is too long")
            self._rest += more
        line, self._rest = self._rest.split(b"\r\n", 1)
        return line.decode("ascii", "replace")

    def _left(self) -> float:
        """Seconds. Raises TimeoutError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it does not answer")
        return left


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
