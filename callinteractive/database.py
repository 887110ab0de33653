"""A database that edges share for registrations, or where an RTPengine keeps its calls: how site.yaml names it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from callinteractive.redis_url import HOST, NUMBER, PASSWORD, PASSWORD_WORDS, PORT, is_port

EXAMPLE = "redis://:password@10.0.0.20:6379/0"
_URL = re.compile(rf"redis://(?::({PASSWORD})@)?({HOST}):({PORT})/({NUMBER})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Database:
    """A Redis server. Only `url` shows the password."""

    host: str
    port: int
    number: int
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"redis://{self.host}:{self.port}/{self.number}"

    @property
    def url(self) -> str:
        """As Kamailio takes it."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{self.host}:{self.port}/{self.number}"


def parse(text: str, others: str = "sqlite, none, or ") -> Database:
    """others: what it may be instead, in words. Raises ValueError, whose text does not show `text`: there may be a
    password in it."""
    if text.lower().startswith(("postgres", "mysql")):
        raise ValueError("is not supported: use redis, or sqlite" if others else "is not supported: use redis")
    match = _URL.fullmatch(text)
    if match is None or not is_port(match[3]):
        raise ValueError(
            f'must be {others}like "{EXAMPLE}": a name or an IPv4 address, the port and the number of the '
            f"database; without a user, and {PASSWORD_WORDS}"
        )
    return Database(match[2], int(match[3]), int(match[4]), match[1] or "")
