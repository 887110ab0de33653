"""A call that another process has begun, answered and written down, and that goes on here (H1)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from callinteractive import plain
from callinteractive.commands import Command
from callinteractive.facts import CallFacts, known_facts
from callinteractive.model import Address
from callinteractive.script import CallScript
from sidecar.call import saved
from sidecar.call.call import Call, observer
from sidecar.call.caller import Caller
from sidecar.call.resumed import ResumedCall
from sidecar.call.saved import OverCallError, UnreadableCallError
from sidecar.call.services import Services
from sidecar.call.telling import Telling
from sidecar.media.call_media import CallMedia
from sidecar.media.ng_failures import NgFailure

LOG = structlog.get_logger()
_REASON = [("Reason", "SIP ;cause=500")]


class AdoptedCall(Call):
    """Its legs, its media in RTPengine and its script are as they were."""

    def __init__(self, services: Services, key: str, data: Mapping[str, Any]) -> None:
        """key: of the store. Raises UnreadableCallError: then `end_remains`."""
        saved.check_version(data)
        self._services = services
        self.key = key
        try:
            self._read(services, key, data)
        except saved.WRONG as error:
            raise UnreadableCallError(f"{type(error).__name__}: {error}") from error

    def _read(self, services: Services, key: str, data: Mapping[str, Any]) -> None:
        caller = data["caller"]
        if caller["leg"] is None:
            raise OverCallError("its caller has hung up")
        # The facts first: a log line has them.
        facts = CallScript.from_dict(data["script"], services.ivr_file).facts
        story = services.stories.begin(facts)
        story.resume(data.get("story") or {})
        who = facts, caller["max_forwards"], caller["address"], Address(*caller["edge"]), Telling(story)
        media = CallMedia.from_dict(services.engines, key, data["media"])
        try:
            self._caller = Caller(services.agent.adopt(caller["leg"]), *who)
        except saved.WRONG:
            media.forget()  # or it would be made anew in RTPengine, which is told to delete it now
            raise
        self._script = CallScript.from_dict(data["script"], services.ivr_file, observer(services, self._caller))
        resumed = self._answered = ResumedCall(services, self._caller, self._script, media)
        try:
            self._command: Command | None = resumed.resume(data)
        except saved.WRONG:
            resumed.forget()
            raise

    async def _carry_out(self) -> None:
        assert isinstance(self._answered, ResumedCall)
        self._caller.log.info("call taken over", reason="its sidecar has died")
        # At once: were it taken over again from the old record, CSeq numbers would be used twice (RFC 3261 12.2.1.1).
        self._services.keeper.keep(self.key, self._answered.to_dict)
        await self._answered.go_on(self._command)


async def end_remains(services: Services, key: str, data: Mapping[str, Any]) -> None:
    """Hang up on everybody in a call that can't go on, as far as its record can be read, and free its media."""
    for name in ("caller", "callee", "target"):
        with suppress(*saved.WRONG):
            leg = services.agent.adopt(data[name]["leg"], rings_on=False)
            leg.bye(_REASON)
    with suppress(NgFailure, *saved.WRONG):
        await services.engines.adopt(key, data["media"]).delete()
    with suppress(*saved.WRONG):
        _tell_end(services, data)
    services.keeper.forget(key)


def _tell_end(services: Services, data: Mapping[str, Any]) -> None:
    """Its CDR: that of the dead sidecar may not have got away, and twice is better than never (E2).

    Raises `saved.WRONG`.
    """
    story = services.stories.begin(plain.read(CallFacts, known_facts(data["script"]["facts"])))
    story.resume(data.get("story") or {})
    story.tell("call.ended", by="system", code=500, cause="its sidecar has died, and the call could not go on")
