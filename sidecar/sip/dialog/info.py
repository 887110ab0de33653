"""Digits in SIP INFO: application/dtmf-relay (`Signal=5`, `Duration=160`) and application/dtmf (`5`).

Neither body has an RFC. Gateways and phones mix the two up, so the body alone tells which it is.
"""

import re

from callinteractive.events import DIGITS
from sidecar.sip.dialog.events import DigitReceived
from sidecar.sip.errors import MalformedError

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"

_DIGITS = {
    **{digit: digit for digit in DIGITS},
    **{digit.lower(): digit for digit in DIGITS},
    **{str(code): digit for code, digit in enumerate(DIGITS)},  # RFC 4733 3.2
}
_READ = 512  # octets of a body
_BLANKS = ' \t\0"'
_LINE = re.compile(r"[\r\n]++")
_SEPARATOR = re.compile(r"[=:]")
_LONGEST_MS = 99_999


def parse_digit(body: bytes) -> DigitReceived:
    """The digit of an INFO body. Raises MalformedError."""
    values: dict[str, str] = {}
    for line in _LINE.split(body[:_READ].decode("latin-1")):
        name, *value = _SEPARATOR.split(line, maxsplit=1)
        if value:
            values.setdefault(name.strip(_BLANKS).lower(), value[0].strip(_BLANKS))
        elif name.strip(_BLANKS):
            values.setdefault("signal", name.strip(_BLANKS))
    digit = _DIGITS.get(values.get("signal", ""))
    if digit is None:
        raise MalformedError("Not A Digit")
    return DigitReceived(digit, _duration_ms(values.get("duration", "")))


def _duration_ms(text: str) -> int | None:
    """Some send none, or nonsense."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(_LONGEST_MS))
    return int(text) if is_number else None


def dtmf_relay(digit: str, duration_ms: int = 160) -> bytes:
    """A digit as an application/dtmf-relay body, for `leg.info(DTMF_RELAY, ...)`."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode("ascii")
