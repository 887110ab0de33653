"""What Kamailio reports of a call that a sidecar has left to it by 302 (E1): a small SIP message, and its JSON.

A report has the transfer's branches that are over, or the end of the call, or both. A message has one report, or
several. It is signed as the private headers are, with a key of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

from callinteractive.errors import HeaderError
from callinteractive.headers import CallHeader
from callinteractive.jsontext import to_json
from callinteractive.signature import SIGNED, SignatureHeader

METHOD = "MESSAGE"
"""RFC 3428. In the dialog of nobody."""
By = Literal["caller", "callee", "system"]
MOST_LEGS = 30
MOST_REPORTS = 200
"""In one message."""
_LONGEST = 16_384
_TEXTS = ("name", "number", "target", "trunk", "outcome")
_NUMBERS = ("began_ms", "rang_ms", "answered_ms", "ended_ms", "code")
_FACTS = '"facts"'


class LegReport(NamedTuple):
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


class EndReport(NamedTuple):
    """The call is over: who ended it, and the SIP code that the caller was told. `cause`: the header Reason, if any."""

    by: By
    code: int
    at_ms: int
    cause: str = ""


class Report(NamedTuple):
    """`call_id`: the CallID of the web application's requests."""

    call_id: str
    legs: tuple[LegReport, ...] = ()
    end: EndReport | None = None

    def to_text(self) -> str:
        """Printable ASCII."""
        # What is empty is left out: a leg of a call that failed at once has six values, not ten.
        legs = ",".join([_object(leg) for leg in self.legs])
        end = _object(self.end, keeps_empty=True) if self.end else "null"
        return f'{{"call_id":{to_json(self.call_id)},"legs":[{legs}],"end":{end}}}'

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises HeaderError."""
        return cls.from_data(_loaded(text))

    @classmethod
    def from_data(cls, said: Any) -> Self:
        """The same, of what JSON has given. Raises HeaderError."""
        try:
            legs, end = said["legs"], said["end"]
            if len(legs) > MOST_LEGS:
                raise ValueError(f"more than {MOST_LEGS} legs")
            return cls(_text(said["call_id"]), tuple(map(_leg, legs)), _end(end) if end is not None else None)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise HeaderError(f"a report that can't be read: {error!r}") from None


def _object(report: LegReport | EndReport, *, keeps_empty: bool = False) -> str:
    named = zip(report._fields, report, strict=True)
    texts = [f'"{name}":{to_json(value)}' for name, value in named if value or keeps_empty]
    return f"{{{','.join(texts)}}}"


def joined(reports: Iterable[tuple[str, str]]) -> str:
    """A message's body that has several: of each its text, and the value of X-CI-Call for a sidecar that does not know
    the call, or nothing."""
    return f"[{','.join([f'{text[:-1]},{_FACTS}:{to_json(facts)}}}' for text, facts in reports])}]"


def reports_in(text: str, facts: str) -> list[tuple[Report, str]]:
    """Those of a message, each with its facts as `joined` got them. Raises HeaderError.

    `text`: the body. `facts`: the message's X-CI-Call, which belongs to its only report.
    """
    said = _loaded(text)
    if not isinstance(said, list):
        return [(Report.from_data(said), facts)]
    if len(said) > MOST_REPORTS:
        raise HeaderError(f"more than {MOST_REPORTS} reports")
    try:
        return [(Report.from_data(each), _text(each["facts"])) for each in said]
    except (KeyError, TypeError) as error:
        raise HeaderError(f"reports that can't be read: {error!r}") from None


def _loaded(text: str) -> Any:
    if len(text) > _LONGEST:
        raise HeaderError(f"a report longer than {_LONGEST} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
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
