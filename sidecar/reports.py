"""What Kamailio reports of calls that were left to it by 302 becomes their records (E1; `callinteractive.report`)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog

from callinteractive.errors import HeaderError
from callinteractive.headers import CallHeader
from callinteractive.keys import VARIABLE
from callinteractive.record import Name
from callinteractive.report import LegReport, Report, is_genuine, reports_in
from callinteractive.signature import SignatureHeader
from sidecar import sip

LOG = structlog.get_logger()
_MOST_TAKEN = 4096
_MOST_ANSWERED = 20_000


class Teller(Protocol):
    """`sidecar.story.Stories`."""

    def knows(self, call_id: str) -> bool: ...

    def tell_fields(
        self, call_id: str, event: Name, fields: dict[str, Any], at: float | None = None, call_api_id: str = ""
    ) -> None: ...


class Reports:
    """Takes them. `key`: `keys.REPORTS`."""

    def __init__(self, stories: Teller, key: bytes, refusals: sip.RefusalLog) -> None:
        self._stories = stories
        self._key = key
        self._refusals = refusals
        self._taken: OrderedDict[str, None] = OrderedDict()
        """Call-IDs of the last ones: one that is repeated tells nothing new (RFC 3261 17.2.2)."""

        self._answered: OrderedDict[str, str] = OrderedDict()
        """The leg that goes on in each call, by CallID."""

    def take(self, request: sip.Request) -> int:
        """Returns the SIP status that answers it."""
        text, facts = request.body.decode("utf-8", "replace"), request.header(CallHeader.NAME) or ""
        try:
            header = SignatureHeader.parse(request.header(SignatureHeader.NAME) or "")
            if not is_genuine(header, self._key, time.time(), request.call_id, facts, text):
                raise HeaderError(f"{SignatureHeader.NAME} is wrong, or has expired")
        except HeaderError as error:
            change = f"give Kamailio and the sidecars the same {VARIABLE} and the right time"
            self._refusals.note(request, 403, str(error), change)
            return 403
        try:
            reports = reports_in(text, facts)
            for report, its_facts in reports:
                if its_facts and not self._stories.knows(report.call_id):
                    self._begin(report, CallHeader.parse(its_facts))
        except HeaderError as error:
            self._refusals.note(request, 400, str(error), "run the same release on all hosts")
            return 400
        if request.call_id not in self._taken:
            self._taken[request.call_id] = None
            if len(self._taken) > _MOST_TAKEN:
                self._taken.popitem(last=False)
            for report, _ in reports:
                self._tell(report)
        return 200

    def _begin(self, report: Report, call: CallHeader) -> None:
        """No sidecar has had the call, or that one does not answer any more: as much of its story as Kamailio knows."""
        facts = call.facts
        times = [leg.began_ms for leg in report.legs] or [report.end.at_ms if report.end else 0]
        at = min(times) / 1000 or None
        self._stories.tell_fields(report.call_id, "call.started", facts.shown(), at, facts.call_api_id)

    def _tell(self, report: Report) -> None:
        tell = partial(self._stories.tell_fields, report.call_id)
        for leg in report.legs:
            tell_leg(tell, leg)
            if leg.answered_ms:
                tell("call.answered", {}, leg.answered_ms / 1000)
                self._answered[report.call_id] = leg.name
                if len(self._answered) > _MOST_ANSWERED:
                    self._answered.popitem(last=False)
        if end := report.end:
            at = end.at_ms / 1000
            if leg_name := self._answered.pop(report.call_id, ""):
                tell("leg.ended", {"leg": leg_name, "code": 200}, at)
            cause = end.cause or ("hung up" if end.code == 200 else "")
            tell("call.ended", {"by": end.by, "code": end.code, "cause": cause}, at)
            LOG.info("call ended", call_id=report.call_id, by=end.by, code=end.code, cause=cause)


def tell_leg(tell: Callable[..., None], leg: LegReport) -> None:
    """The records of a branch. tell: `Story.tell_fields` of its call."""
    targets = [leg.number] if leg.number else []
    started: dict[str, Any] = {"leg": leg.name, "targets": targets, "target": leg.target}
    if leg.trunk:
        started["trunk"] = leg.trunk
    tell("leg.started", started, leg.began_ms / 1000)
    if leg.rang_ms:
        tell("leg.ringing", {"leg": leg.name, "code": 180}, leg.rang_ms / 1000)
    if leg.answered_ms:
        tell("leg.answered", {"leg": leg.name, "by": leg.number}, leg.answered_ms / 1000)
    elif leg.ended_ms:
        ended = {"leg": leg.name, "code": leg.code, "outcome": leg.outcome}
        tell("leg.ended", ended, leg.ended_ms / 1000)
