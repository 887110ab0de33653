"""Where an INVITE rings, written down: Kamailio may be started anew, and its caller may give up then (RFC 3261 16.10).

A phone knows the CANCEL of its INVITE by the branch in Via (17.2.3). tm makes that of the INVITE's own fields and of
the branch's number, so a CANCEL that is sent to the same targets in the same order has the same. But where they are it
keeps in its memory, which ends with Kamailio. So each INVITE that rings has a text in a file (`kemi.slots`), a line for
each branch. What has no room there, as that of an INVITE with many branches, gets a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from callinteractive.jsontext import to_json
from callinteractive.model import Address
from kemi import ksr, nat
from kemi.ksr import From, Route
from kemi.slots import NAME, Slots
from kemi.transaction import transaction

FILE, FOLDER = "ringing.calls", "ringing"
OLD_S = 7200
"""No INVITE rings longer (kamailio.cfg, max_inv_lifetime)."""
_MOST_OCTETS = 65_536
_LOST = (
    "SIP/2.0 480 Connection Lost\r\nVia: SIP/2.0/UDP {edge};branch={branch}\r\nFrom: <sip:{edge}>;tag=lost\r\n"
    "To: <sip:{edge}>;tag=lost\r\nCall-ID: {call_id}\r\nCSeq: {number} INVITE\r\nContent-Length: 0\r\n\r\n"
)
"""The caller gets nothing of it: it has given up, and so gets 487 (`kemi.redirect`)."""
_EARLY = "early"
"""Of kamailio.cfg: CANCELs that nobody knew."""
_SPILLED = "+"
"""Behind the name in `transaction.ringing_file`: it has a file of its own, too."""


class _Branch(NamedTuple):
    uri: str
    via: str
    shown: From | None


class Ringing:
    """`run_dir`: where the file is, and a folder for those that did not fit."""

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / FILE
        self._slots: Slots | None = None
        self._folder = run_dir / FOLDER
        self._path = f"{self._folder}/"
        self._cancelled: list[_Branch] = []
        """By index, while `cancel` relays: tm runs the branch routes meanwhile."""

    def tidy(self) -> None:
        """At the start, before the workers are there: forget what rang too long ago."""
        with suppress(OSError):
            self._slots = Slots(self._file, OLD_S)
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for file in self._folder.iterdir():
                if file.stat().st_mtime < time.time() - OLD_S:
                    file.unlink()

    def on_branch(self, index: int, uri: str, via: str, shown: From | None) -> None:
        """Branch route: it is about to be sent. `via`, `shown`: as in `BranchPlan`. Without a disk, calls go on."""
        name = transaction.ringing_file
        if not name:
            name = transaction.ringing_file = _name()
        self._add(name, (index, uri, via, shown))

    def on_provisional(self, index: int) -> None:
        """Reply route of its 1xx, before it counts as ringing: by which connection of ours it has the INVITE."""
        connection = ksr.connection()
        if not connection or index in transaction.ringing or not (name := transaction.ringing_file):
            return
        known = self._lines(name.removesuffix(_SPILLED), 3)
        if not any(of == index for of, _, _ in known):  # once: a peer may say 100 without end
            self._add(name, (index, connection, ksr.via_branch()))

    def _add(self, name: str, said: tuple[object, ...]) -> None:
        line = f"{to_json(said)}\n".encode()
        if self._slots is None or not self._slots.add(_key(name), line, time.time()):
            self._spill(name.removesuffix(_SPILLED), line)

    def _spill(self, name: str, line: bytes) -> None:
        transaction.ringing_file = name + _SPILLED
        with suppress(OSError):
            file = os.open(f"{self._path}{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def on_end(self) -> None:
        """The INVITE has its final reply."""
        if name := transaction.ringing_file:
            self._forget(name)

    def cancel(self) -> bool:
        """Pass on the CANCEL at hand, whose INVITE tm does not know. False where it rings nobody of ours."""
        name = _name()
        known = self._read(name)
        if not known:
            return False
        # A number without a target, such as a sidecar's: whoever gets that has no such INVITE, and says so.
        first = next(iter(known.values()))
        self._cancelled = [known.get(index, first) for index in range(max(known) + 1)]
        ksr.set_request_uri(self._cancelled[0].uri)
        for branch in self._cancelled[1:]:
            ksr.append_branch(branch.uri)
        ksr.arm_branch(Route.TO_CANCELLED)
        is_sent = ksr.relay()
        self._forget(name + _SPILLED)
        return is_sent

    def answer_for_lost(self, edge: Address) -> None:
        """The CANCEL at hand was passed on. Whose connection has gone can't be reached: we answer in its place.

        Else tm would wait for that until the end of the transfer, and so would the caller for its 487 (RFC 3261 9.2).
        tm takes a reply by its branch, from wherever it comes. `edge`: where we take SIP.
        """
        for _, connection, branch in self._lines(_name(), 3):
            if not ksr.is_connected(connection):
                _send(edge, _LOST.format(edge=edge, branch=branch, call_id=ksr.call_id(), number=_number()))

    def is_answer_to_ringing(self) -> bool:
        """Whether the reply at hand, which tm does not know, is to an INVITE that rings."""
        return ksr.method() == "INVITE" and bool(self._read(_name(via=2)))

    def on_cancel_branch(self) -> None:
        """Branch route of that CANCEL: as the INVITE was sent, and showing no other caller."""
        branch = self._cancelled[ksr.branch_index()]
        if branch.shown:
            ksr.replace_from(branch.shown)
        if branch.via:
            ksr.set_destination(branch.via)
        else:
            nat.follow_alias()

    def _read(self, name: str) -> dict[int, _Branch]:
        try:
            lines = self._lines(name, 4)
            return {index: _Branch(uri, via, From(*shown) if shown else None) for index, uri, via, shown in lines}
        except TypeError:  # of another release
            return {}

    def _lines(self, name: str, fields: int) -> list[list[Any]]:
        """What is written down of it in so many fields: a branch in four, its connection in three."""
        text = self._slots.get(_key(name)) if self._slots else b""
        with suppress(OSError), (self._folder / name).open("rb") as file:
            text += file.read(_MOST_OCTETS)
        try:
            lines = [json.loads(line) for line in text.decode().splitlines()]
            return [line for line in lines if len(line) == fields]
        except (ValueError, TypeError):  # also of another release
            return []

    def _forget(self, name: str) -> None:
        """`name`: as in `transaction.ringing_file`."""
        if self._slots is not None:
            self._slots.remove(_key(name))
        if name.endswith(_SPILLED):
            with suppress(OSError):
                os.unlink(f"{self._path}{name.removesuffix(_SPILLED)}")  # a Path would cost more than the call


def may_be_early() -> bool:
    """Whether the INVITE of the CANCEL at hand, which nobody knows, may come yet. The CANCEL must have no answer then.

    Some do not wait for a 1xx, as they must (RFC 3261 9.1): the CANCEL may overtake its INVITE on the network, or in
    another worker of ours. After 481 the INVITE would ring on. Without an answer the CANCEL comes again after 0.5 s
    (17.1.2.2). Over TCP it does not, but nothing overtakes there.
    """
    return ksr.is_over_udp() and ksr.count_up(_EARLY, _name()) == 1


def is_for_lost() -> bool:
    """Whether the reply at hand may be of `answer_for_lost`. A forged one ends only what the caller has ended."""
    return ksr.status() == 480 and ksr.is_cancelled()


def _key(name: str) -> bytes:
    return bytes.fromhex(name[: 2 * NAME])


def _name(via: int = 1) -> str:
    """Of the INVITE at hand, or of the one that the CANCEL at hand is for: they have these in common (9.1).

    So has its reply, where Via is its second one.
    """
    said = "\n".join((ksr.call_id(), ksr.from_tag(), _number(), ksr.via_branch(via)))
    return hashlib.blake2s(said.encode("utf-8", "surrogateescape"), digest_size=NAME).hexdigest()


def _number() -> str:
    """Of its CSeq."""
    return ksr.header("CSeq").split(" ", 1)[0]


def _send(edge: Address, text: str) -> None:
    """From the edge's own address, which is no stranger's (`kemi.flood`)."""
    family = socket.AF_INET6 if ":" in edge.host else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.bind((edge.host, 0))
        sending.sendto(text.encode("utf-8", "surrogateescape"), edge)
