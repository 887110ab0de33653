"""What Kamailio reports of a call that a sidecar has left to it by 302 (E1): a small SIP message, and its JSON.

A report has the transfer's branches that are over, or the end of the call, or both. It is signed as the private headers
are, with a key of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from callinteractive.errors import HeaderError
from callinteractive.headers import CallHeader
from callinteractive.signature import SIGNED, SignatureHeader

METHOD = "MESSAGE"
"""RFC 3428. In the dialog of nobody."""
By = Literal["caller", "callee", "system"]
MOST_LEGS = 30
_LONGEST = 16_384
_TEXTS = ("name", "number", "target", "trunk", "outcome")
_NUMBERS = ("began_ms", "rang_ms", "answered_ms", "ended_ms", "code")


@dataclass(frozen=True, slots=True)
class LegReport:
    """A branch. `name` tells it from the others of the call. `number`: what was called; `target`: the URI it led to.

    Times are milliseconds since 1970, 0 for never. `code`: the SIP status that it ended with, 200 where it answered, 0
    where it sent none. `outcome`: `answered`, `stopped` (another one answered, or the caller gave up), `busy`,
    `no_answer`, `rejected` or `failed`.
    """

    name: str
    number: str = ""
    target: str = ""
    trunk: str = ""
    began_ms: int = 0
    rang_ms: int = 0
    answered_ms: int = 0
    ended_ms: int = 0
    code: int = 0
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class EndReport:
    """The call is over: who ended it, and the SIP code that the caller was told. `cause`: the header Reason, if any."""

    by: By
    code: int
    at_ms: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """`call_id`: the CallID of the web application's requests."""

    call_id: str
    legs: tuple[LegReport, ...] = ()
    end: EndReport | None = None

    def to_text(self) -> str:
        """Printable ASCII."""
        # What is empty is left out: a leg of a call that failed at once has six values, not ten.
        legs = [{name: value for name in (*_TEXTS, *_NUMBERS) if (value := getattr(leg, name))} for leg in self.legs]
        end = self.end
        said = {"by": end.by, "code": end.code, "at_ms": end.at_ms, "cause": end.cause} if end else None
        return json.dumps({"call_id": self.call_id, "legs": legs, "end": said}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises HeaderError."""
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"longer than {_LONGEST} characters")
            said = json.loads(text)
            legs, end = said["legs"], said["end"]
            if len(legs) > MOST_LEGS:
                raise ValueError(f"more than {MOST_LEGS} legs")
            return cls(_text(said["call_id"]), tuple(map(_leg, legs)), _end(end) if end is not None else None)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise HeaderError(f"a report that can't be read: {error!r}") from None


def sign(key: bytes, now_s: int, call_id: str, facts: str, text: str) -> SignatureHeader:
    """Of a message with that SIP Call-ID. `facts`: the value of X-CI-Call in it, or empty. `text`: the report."""
    return SignatureHeader.sign(key, now_s, call_id, _signed(facts, text))


def is_genuine(header: SignatureHeader, key: bytes, now_s: float, call_id: str, facts: str, text: str) -> bool:
    return header.is_valid(key, now_s, call_id, _signed(facts, text))


def _signed(facts: str, text: str) -> dict[str, str]:
    assert SIGNED[0] == CallHeader.NAME
    return {SIGNED[0]: facts, SIGNED[1]: text}


def _leg(said: Mapping[str, Any]) -> LegReport:
    texts = {name: _text(said.get(name, "")) for name in _TEXTS}
    numbers = {name: _number(said.get(name, 0)) for name in _NUMBERS}
    return LegReport(**texts, **numbers)  # type: ignore[arg-type]


def _end(said: Mapping[str, Any]) -> EndReport:
    by = said["by"]
    if by not in get_args(By):
        raise ValueError(f"ended by {by!r}")
    return EndReport(by, _number(said["code"]), _number(said["at_ms"]), _text(said["cause"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 10**15:
        raise ValueError(f"{value!r} is no number of ours")
    return value
