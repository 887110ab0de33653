"""The calls whose media Kamailio anchors, written down: who must be told if RTPengine loses it (`kemi.lost_media`).

No sidecar is in such a call, and Kamailio keeps no dialogs. So each has a file from its answer to its BYE, named as its
media. The file outlives Kamailio too.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from kemi import ksr
from kemi.contacts import split_contacts
from kemi.nat import with_alias
from kemi.record_route import LONGEST_S

FOLDER = "anchored"
_BLANKS = re.compile(r"[\x00-\x20\x7f]")
_OURS = ";ci="
"""In our Record-Route, and in no other."""
LAST_CSEQ = 2**31 - 2**16
"""Higher than any that a side has used, and a valid one (RFC 3261 8.1.1.5) also after `kemi.cseq` has added to it. The
dialog is over then. So nobody need count."""


class Side(NamedTuple):
    """Of a dialog: its URI in From or To, its tag there, and where requests to it go (its remote target)."""

    uri: str
    tag: str
    target: str


class AnchoredCall(NamedTuple):
    """A dialog. `routes`: the Record-Route of its 2xx, the URIs from the callee's end to the caller's."""

    call_id: str
    caller: Side
    callee: Side
    routes: tuple[str, ...]

    def to_text(self) -> str:
        return json.dumps(self)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises ValueError and TypeError."""
        call_id, caller, callee, routes = json.loads(text)
        return cls(call_id, Side(*caller), Side(*callee), tuple(routes))

    def bye(self, via: str, reason: str, *, to_caller: bool) -> bytes:
        """What the other side would send us to end the dialog (RFC 3261 12.2.1.1, 15.1.1). `via`: the value of Via.

        The proxies between that side and us have no part in it: its route begins with ours.
        """
        sender, receiver = (self.callee, self.caller) if to_caller else (self.caller, self.callee)
        routes = self.routes if to_caller else self.routes[::-1]
        first = next((at for at, route in enumerate(routes) if _OURS in route), len(routes))
        lines = (
            f"BYE {receiver.target} SIP/2.0",
            f"Via: {via}",
            "Max-Forwards: 70",
            f"Route: {','.join(f'<{route}>' for route in routes[first:])}",
            f"From: <{sender.uri}>;tag={sender.tag}",
            f"To: <{receiver.uri}>;tag={receiver.tag}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {LAST_CSEQ} BYE",
            f"Reason: {reason}",
            "Content-Length: 0",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("utf-8", "surrogateescape")


class AnchoredCalls:
    """The files. `run_dir`: where their folder is. Without a disk, calls go on."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER
        self._path = f"{self._folder}/"

    def keep(self, media: str, call: AnchoredCall) -> None:
        """It is answered."""
        with suppress(OSError):
            try:
                self._write(media, call)
            except FileNotFoundError:  # the first
                self._folder.mkdir(mode=0o700, exist_ok=True)
                self._write(media, call)

    def _write(self, media: str, call: AnchoredCall) -> None:
        file = os.open(f"{self._path}{media}", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600)
        try:
            os.write(file, call.to_text().encode("utf-8", "surrogateescape"))
        finally:
            os.close(file)

    def forget(self, media: str) -> None:
        with suppress(OSError):
            os.unlink(f"{self._path}{media}")

    def read(self, media: str) -> AnchoredCall | None:
        try:
            with open(f"{self._path}{media}", encoding="utf-8", errors="surrogateescape") as file:
                return AnchoredCall.from_text(file.read())
        except (OSError, ValueError, TypeError):  # also of another release, or half written
            return None

    def names(self, prefix: str) -> Iterator[str]:
        """Of the media that begin so. Those that are too old to go on are forgotten."""
        oldest = time.time() - LONGEST_S
        with suppress(OSError), os.scandir(self._folder) as found:
            for file in found:
                if not file.name.startswith(prefix):
                    continue
                with suppress(OSError):  # a call that ends now has no file any more; the others have
                    if file.stat().st_mtime >= oldest:
                        yield file.name
                    else:
                        self.forget(file.name)

    def forget_old(self) -> None:
        """Calls that no BYE has ended here: they ended by another edge, or both sides have gone."""
        for _ in self.names(""):
            pass


def target_of(contact: str, source: str) -> str:
    """Where the other side's requests lead: the URI of a Contact, marked with `source` if there is one (`kemi.nat`)."""
    uri = _unfolded(split_contacts([contact])[0])
    return with_alias(uri, source) if source and uri else uri or source


def call_of_answer(routes: str, caller_target: str, marked_with: str) -> AnchoredCall:
    """Reply route of a 2xx. `routes`: its Record-Route as the caller gets it. `marked_with`: as in `target_of`."""
    caller = Side(ksr.from_address().uri, ksr.from_tag(), caller_target)
    target = target_of(ksr.header("Contact"), marked_with) or ksr.source_uri()
    callee = Side(ksr.to_uri(), ksr.to_tag(), target)
    return AnchoredCall(ksr.call_id(), caller, callee, tuple(map(_unfolded, split_contacts([routes]))))


def _unfolded(uri: str) -> str:
    """Parties write them, and may fold a header anywhere (RFC 3261 7.3.1)."""
    return _BLANKS.sub("", uri)
