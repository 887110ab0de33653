"""The SIP messages of a call as a person may see them: beside `sidecar.live_stories`, from what the transport has seen.

Nothing is prepared while calls run: the transport keeps the last messages as they are. They are looked through, masked
and cut when somebody asks for those of a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from callinteractive.headers import CallHeader
from callinteractive.record import stamp
from sidecar.sip.transport import Sighting

MOST_MESSAGES = 200
"""Of one call, the last ones."""
MOST_DIALOGS = 40
"""Of one call, the first ones: those of its caller and of whom it calls, one after the other."""
MOST_TEXT = 8192
"""Octets of one message that are shown."""
HIDDEN = "***"
_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*+:[ \t]*+([^\s]++)", re.IGNORECASE | re.MULTILINE)
_FACTS = re.compile(rb"^" + CallHeader.NAME.encode() + rb"[ \t]*+:([^\r\n]*+)", re.IGNORECASE | re.MULTILINE)
_PRIVATE = re.compile(r"(?:x-ci-[^\s:]*+|(?:proxy-)?authorization|authentication-info)(?=[ \t]*+:)", re.IGNORECASE)
"""Ours, and those from which a password could be guessed (RFC 8760). Header names, at the start of a line."""
_KEYS = re.compile(r"^(a=(?:crypto:|ice-pwd:|key-mgmt:)|k=)[^\r\n]*+", re.IGNORECASE | re.MULTILINE)
"""What opens the sound of a call: SDES (RFC 4568), ICE (RFC 8839) and older keys."""
_USER = re.compile(r"(sips?:)[^@<>\s]++(?=@)", re.IGNORECASE)
_TEL = re.compile(r"(tel:)[^>;\s]++", re.IGNORECASE)
_INFO = re.compile(r"^cseq[ \t]*+:[ \t]*+\d++[ \t]++info\b", re.IGNORECASE | re.MULTILINE)
_HEAD = re.compile(rb"\r?\n\r?\n")


@dataclass(slots=True)
class _Dialog:
    """A SIP Call-ID of the call. `leg`: 0 is the caller's; then those that we have called, in their order."""

    call_id: bytes
    leg: int


def messages_of(seen: Iterable[Sighting], call_id: str, *, is_ours: bool, hides_digits: bool) -> list[dict[str, Any]]:
    """Those of the call with this CallID that are still known, in their order; empty where there are none.

    is_ours: we have made the call. hides_digits: what the caller dials is shown nowhere (E3).
    """
    known = list(seen)
    found: list[tuple[int, int]] = []
    for dialog in islice(_dialogs(known, call_id.encode(), is_ours=is_ours), MOST_DIALOGS):
        name = dialog.call_id
        near = [at for at, sighting in enumerate(known) if name in sighting[2]]  # few: only they are looked into
        found += [(at, dialog.leg) for at in near if _sip_call_id(known[at][2]) == name]
    last = sorted(found)[-MOST_MESSAGES:]
    return [_shown(known[at], leg, hides_digits=hides_digits) for at, leg in last]


def _dialogs(seen: Iterable[Sighting], call_id: bytes, *, is_ours: bool) -> Iterator[_Dialog]:
    """By the INVITEs, which have the facts of the call with them."""
    known: set[bytes] = set()
    called = 0 if is_ours else 1
    for _, is_sent, data, _ in seen:
        if not data.startswith(b"INVITE ") or call_id not in data:
            continue
        head = _HEAD.split(data, 1)[0]
        facts, name = _FACTS.search(head), _sip_call_id(data)
        if facts is None or call_id not in facts[1] or not name or name in known:
            continue
        known.add(name)
        yield _Dialog(name, called if is_sent else 0)
        called += is_sent


def _sip_call_id(data: bytes) -> bytes:
    found = _CALL_ID.search(data)
    return found[1] if found else b""


def _shown(sighting: Sighting, leg: int, *, hides_digits: bool) -> dict[str, Any]:
    at, is_sent, data, peer = sighting
    text = masked(data[:MOST_TEXT], hides_digits=hides_digits)
    return {
        "at": stamp(at),
        "leg": leg,
        "sent": is_sent,
        "peer": str(peer),
        "title": _title(text),
        "text": text if len(data) <= MOST_TEXT else f"{text}\n… and more",
    }


def _title(text: str) -> str:
    """The method and where to, or the status."""
    line = text.partition("\n")[0].rstrip("\r")
    return line.removeprefix("SIP/2.0 ") if line.startswith("SIP/2.0 ") else line.removesuffix(" SIP/2.0")


def masked(data: bytes, *, hides_digits: bool) -> str:
    """A message without passwords, keys and our private headers. Digits in INFO are the events' to tell."""
    end = _HEAD.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data, b"")
    lines: list[str] = []
    is_hidden = False
    for line in head.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if line[:1] in " \t" and lines:  # a header that goes on (RFC 3261 7.3.1)
            if not is_hidden:
                lines.append(line)
            continue
        private = _PRIVATE.match(line)
        is_hidden = private is not None
        lines.append(f"{private[0]}: {HIDDEN}" if private else line)
    shown = "\n".join(lines)
    text = body.decode("utf-8", "replace")
    text = HIDDEN if body and _INFO.search(shown) else _KEYS.sub(rf"\1{HIDDEN}", text).replace("\r\n", "\n")
    if hides_digits:  # a number that is called may be what was dialled
        shown = _TEL.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}", shown))
    return f"{shown}\n\n{text}" if text else shown
