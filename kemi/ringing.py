"""Where an INVITE rings, written down: Kamailio may be started anew, and its caller may give up then (RFC 3261 16.10).

A phone knows the CANCEL of its INVITE by the branch in Via (17.2.3). tm makes that of the INVITE's own fields and of
the branch's number, so a CANCEL that is sent to the same targets in the same order has the same. But where they are it
keeps in its memory, which ends with Kamailio. So each INVITE that rings has a file, with a line a branch.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kemi import ksr, nat
from kemi.ksr import From, Route
from kemi.transaction import transaction

FOLDER = "ringing"
OLD_S = 7200
"""No INVITE rings longer (kamailio.cfg, max_inv_lifetime)."""
_MOST_OCTETS = 65_536


class _Branch(NamedTuple):
    uri: str
    via: str
    shown: From | None


class Ringing:
    """`run_dir`: where the files are, in a folder of theirs."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER
        self._path = f"{self._folder}/"
        self._cancelled: list[_Branch] = []
        """By index, while `cancel` relays: tm runs the branch routes meanwhile."""

    def tidy(self) -> None:
        """At the start: forget what rang too long ago."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for file in self._folder.iterdir():
                if file.stat().st_mtime < time.time() - OLD_S:
                    file.unlink()

    def on_branch(self, index: int, uri: str, via: str, shown: From | None) -> None:
        """Branch route: it is about to be sent. `via`, `shown`: as in `BranchPlan`. Without a disk, calls go on."""
        name = transaction.ringing_file = transaction.ringing_file or _name()
        line = json.dumps((index, uri, via, shown)) + "\n"
        with suppress(OSError):
            file = os.open(f"{self._path}{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
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
        self._forget(name)
        return is_sent

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
            with (self._folder / name).open(encoding="utf-8") as file:
                lines = [json.loads(line) for line in file.read(_MOST_OCTETS).splitlines()]
            return {index: _Branch(uri, via, From(*shown) if shown else None) for index, uri, via, shown in lines}
        except (OSError, ValueError, TypeError):  # also of another release
            return {}

    def _forget(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(f"{self._path}{name}")  # a Path would cost more than the call


def _name() -> str:
    """Of the INVITE at hand, or of the one that the CANCEL at hand is for: they have these in common (9.1)."""
    number = ksr.header("CSeq").split(" ", 1)[0]
    said = "\n".join((ksr.call_id(), ksr.from_tag(), number, ksr.via_branch()))
    return hashlib.blake2s(said.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
