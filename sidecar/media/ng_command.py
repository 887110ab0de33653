"""A command of RTPengine's NG protocol, from when it is given to the client until its reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.eager import Waiter
from sidecar.media import bencode
from sidecar.media.ng_failures import NgError, NgFailure

Fields = Mapping[str, Any]
Reply = dict[str, Any]
Command = tuple[str, Fields]  # its name and its further keys
Outcome = Reply | NgFailure

LARGEST_DATAGRAM = 65507


@dataclass(frozen=True, slots=True)
class NgTimeouts:
    """Bounds of one command's wait, in seconds, counted from its first sending."""

    retransmit_s: float = 0.25  # until the first retransmission; each further one waits twice as long
    total_s: float = 3.0  # until NgTimeout; far below the 30 s for which RTPengine remembers a cookie
    tick_s: float = 0.05  # how exactly the two above are kept
    gather_s: float = 0.03  # how long those who wait for company are gathered


@dataclass(slots=True)
class NgCounters:
    """What has happened since the start."""

    commands: int = 0
    retransmissions: int = 0
    errors: int = 0
    timeouts: int = 0
    refusals: int = 0  # times the operating system said that nobody listens


# No dataclasses: each command makes one, and what a dataclass generates stays Python in a compiled module.
class Group:
    """Commands of one call that go out at the same time, and who waits for all of them."""

    def __init__(self, waiter: Waiter[list[Outcome]], may_move: bool, count: int) -> None:
        self.waiter = waiter
        self.may_move = may_move
        self.outcomes: list[Outcome | None] = [None] * count
        self.left = count


class Pending:
    """One command, from `NgClient.together` to its reply. is_quiet: its reply need not wake us."""

    def __init__(
        self,
        command: str,
        call_id: str | None,
        cookie: bytes,
        datagram: bytes,
        group: Group,
        place: int,
        is_quiet: bool,
    ) -> None:
        self.command = command
        self.call_id = call_id
        self.cookie = cookie
        self.datagram = datagram
        self.group = group
        self.place = place
        self.is_quiet = is_quiet
        self.is_sent = False
        self.began_at = self.interval_s = self.resend_at = 0.0


def datagram(cookie: bytes, command: str, call_id: str | None, fields: Fields) -> bytes:
    body: dict[str, Any] = {"command": command}
    if call_id is not None:
        body["call-id"] = call_id
    body.update(fields)
    written = b"%b %b" % (cookie, bencode.encode(body))
    if len(written) > LARGEST_DATAGRAM:
        raise NgError(command, "command too large for a datagram")
    return written
