"""Digits in SIP INFO: application/dtmf-relay (`Signal=5`, `Duration=160`) and application/dtmf (`5`).

Neither body has an RFC; this is what gateways and phones send.
"""

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


def parse_digit(content_type: str, body: bytes) -> DigitReceived:
    """The digit of an INFO body. Raises MalformedError."""
    lines = body.decode("latin-1").replace("\r", "\n").split("\n")
    if content_type == DTMF:
        lines[0] = f"Signal={lines[0]}"
    values: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        values[name.strip().lower()] = value.strip()
    digit = _DIGITS.get(values.get("signal", ""))
    if digit is None:
        raise MalformedError(f"not a digit: {body[:40]!r}")
    duration = values.get("duration", "")
    return DigitReceived(digit, int(duration) if duration.isascii() and duration.isdigit() else None)


def dtmf_relay(digit: str, duration_ms: int = 160) -> bytes:
    """A digit as an application/dtmf-relay body, for `leg.info(DTMF_RELAY, ...)`."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode("ascii")
