"""What one line of a part's output is: a record of our own logger, a message of Kamailio's, or text.

Strangers' octets are in these lines: Kamailio and RTPengine log messages that they cannot read. So a line is data. Only
a sidecar's own encoder makes records, and only what stands before a stranger's octets tells a level.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import orjson

from sidecar import console
from sidecar.linewriter import printable, shown

OF_SIDECARS = "sidecar-"
"""How their names begin."""
_OWN = (OF_SIDECARS, "api")
"""The parts that log with `sidecar.log`: JSON objects."""
KAMAILIO, RTPENGINE, APPLICATION = "kamailio", "rtpengine", "app"

_KAMAILIO = re.compile(
    r'\{ (?:"time": "[0-9T:.Z-]+", )?"idx": \d+, "pid": \d+, "level": "([A-Z]+)", "module": "([^"]*)", '
    r'"file": "([^"]*)", "line": (\d+), "function": "([^"]*)", (.*)',
    re.DOTALL,
)
"""How `--log-engine=json` begins a line: with Kamailio's own words, since 6.0 the time first. What follows may be
anybody's."""
_PREFIX, _MESSAGE, _END = '"logprefix": "', '"message": "', '" }'
_ADDRESS = re.compile(r"\{([0-9a-fA-F:.\[\]]{2,45}) ")
"""`log_prefix` of kamailio.cfg begins with the address that the message came from."""
_RTPENGINE = re.compile(r"(?:\[\d+\.\d+\] )?(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG): (.*)", re.DOTALL)
"""How RTPengine begins a line on stderr."""
_SYSLOG = {"EMERG": "critical", "ALERT": "critical", "CRIT": "critical", "ERR": "error"}
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
"""Frameworks colour what they print, also where nobody sees it (ECMA-48 8.3.117)."""
_TRACEBACK = "Traceback (most recent call last):"
_UNREADABLE = re.compile(r"core parsing of SIP message failed \(([0-9a-fA-F:.\[\]]{2,45}):\d+/\d+\)")

_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True)  # not frozen: thousands a second are made, and freezing triples what that costs
class PartLine:
    """One line.

    Attributes:
        text: what it says, at most about `TEXT_CHARACTERS` long. Printable, but for the line breaks of a message.
        level: in lower case, where the part's logger vouches for it.
        cause: whom or what a flood of such lines is to be counted against: an address, a place in the code, or nothing.
        record: the JSON object that it is, where a sidecar's logger made it.
    """

    text: str
    level: str | None = None
    cause: str = ""
    record: str | None = None

    def as_json(self, part: str, stamp: str) -> str:
        """An object on one line. Nothing in the line can replace its part. `stamp` is the present time."""
        if self.record is not None:
            return f'{{"part": "{part}", {self.record[1:]}'
        entry = {"part": part, "level": self.level or "info", "event": self.text, "timestamp": stamp}
        return json.dumps(entry, ensure_ascii=False)

    def as_lines(self, stamp: str, *, colours: bool = False) -> list[str]:
        """For a person: one line, and those of a traceback. `stamp` is the present time."""
        if self.record is not None:
            return console.lines(_decode(self.record)[0], colours=colours)
        first, *more = self.as_text()
        entry = {"level": self.level or "info", "event": first, "timestamp": stamp}
        return [*console.lines(entry, colours=colours), *more]

    def as_text(self) -> list[str]:
        """What it says, without time and level."""
        return self.text.replace("\n", "\n    ").split("\n") if _TRACEBACK in self.text else [printable(self.text)]


def read(part: str, line: str) -> PartLine:
    """Of a part's name and a line of it, undecodable octets as lone surrogates (PEP 383). Raises nothing."""
    if part.startswith(_OWN) and (record := _record(line)):
        return PartLine(record, record=record)
    if part == KAMAILIO and (found := _KAMAILIO.match(line)):
        return _kamailio(*found.groups())
    if part.startswith(RTPENGINE) and (found := _RTPENGINE.match(line)):
        return PartLine(shown(found[2]), _SYSLOG.get(found[1], found[1].lower()))
    return PartLine(shown(_COLOUR.sub("", line) if part == APPLICATION else line))


def _record(line: str) -> str | None:
    """The line, if it is a whole JSON object without a part of its own, made safe to be printed."""
    if not (line.startswith('{"') and line.endswith("}")):
        return None
    try:
        try:
            entry = orjson.loads(line)  # a busy sidecar writes thousands of lines a second
        except orjson.JSONDecodeError:  # it takes no lone surrogates
            entry, end = _decode(line)
            if end != len(line):
                return None
        if "part" in entry:
            return None
        # The first two spare most lines the third, which takes long: JSON has no control characters but this one.
        is_safe = (line.isascii() and "\x7f" not in line) or line.isprintable()
        return line if is_safe else json.dumps(_decode(line)[0])
    except (ValueError, RecursionError):
        return None


def _kamailio(level: str, module: str, file: str, number: str, function: str, rest: str) -> PartLine:
    # The prefix has a Call-ID in it, which Kamailio does not escape. The message is escaped, and so is the last.
    before, _, message = rest.rpartition(_MESSAGE)
    prefix = before.removeprefix(_PREFIX).rpartition('"')[0]
    text = _unescaped(message.removesuffix(_END)).rstrip()
    source = _ADDRESS.match(prefix) or (_UNREADABLE.match(text) if function == "receive_msg" else None)
    if function == "receive_fd" and text.startswith("EOF on "):
        level = "INFO"  # its processes notice one another's end; where one should not have ended, it says that too
    where = f"{module}: " if module != "core" else ""
    return PartLine(shown(f"{prefix}{where}{text}"), level.lower(), source[1] if source else f"{file}:{number}")


def _unescaped(message: str) -> str:
    try:
        return str(json.loads(f'"{message}"', strict=False))
    except ValueError:  # cut, or two workers wrote at once
        return message
