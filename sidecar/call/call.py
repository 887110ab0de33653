"""One call, from its INVITE until nothing of it is left.

It begins as a `Dip`, which has nothing but its script. It becomes an `AnsweredCall` on entry, or when a command
needs media (C6). Both run in the one task of the call; the caller's hang-up cancels that task wherever it is (A15).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from callinteractive.commands import Command
from callinteractive.errors import HeaderError, ScriptStateError
from callinteractive.events import Led, transfer_failed
from callinteractive.facts import CallFacts
from callinteractive.headers import EntryHeader, ResultHeader, StateHeader
from callinteractive.model import Ivr
from callinteractive.report import Report
from callinteractive.script import CallScript, Note
from sidecar import sip
from sidecar.call.answered import ENDED_NORMALLY
from sidecar.call.caller import Caller
from sidecar.call.dip import DECLINE, Dip
from sidecar.call.services import Services
from sidecar.call.steered import SteeredCall
from sidecar.call.telling import Telling
from sidecar.eager import EagerTask
from sidecar.log import write
from sidecar.media.errors import MediaError
from sidecar.reports import tell_leg


class NotNowError(Exception):
    """The call can't do what somebody from outside wants. The text says why."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A script that another sidecar has begun: it comes from a transfer that nobody answered (A13), `result`, or by a
    Jump into a context of this sidecar's pool."""

    state: StateHeader
    result: ResultHeader | None


class Call:
    """A caller and its script. `start` runs it."""

    _services: Services
    _caller: Caller
    _script: CallScript
    _answered: SteeredCall | None
    _is_forgotten = False
    _end_of_cancel: tuple[int, str] = 503, "system"
    """The code and who ends the call when its task is cancelled: by default the sidecar, which stops."""
    key: str
    """Its name in RTPengine and in the store."""

    def start(self) -> EagerTask:
        """Run the call in a task of its own, which is done when nothing of the call is left.

        Cancel it to end the call from outside, as when the sidecar stops.
        """
        task = self._made()
        task.start_soon()
        return task

    def _made(self) -> EagerTask:
        self._caller.listen(_nobody)
        task = self._task = EagerTask(self._run(), f"call {self._caller.facts.call_id}")
        return task

    def forget(self) -> None:
        """Another sidecar has the call now: drop it at once, without a word to anybody."""
        self._is_forgotten = True
        self._caller.log.warning("call given up", reason="another sidecar has taken it over")
        if self._answered is not None:
            self._answered.forget()
        else:
            self._caller.forget()
        self._task.cancel()

    @property
    def facts(self) -> CallFacts:
        return self._caller.facts

    @property
    def state(self) -> str:
        """`unanswered`, or as of `SteeredCall`."""
        return "unanswered" if self._answered is None else self._answered.state

    def summary(self) -> dict[str, Any]:
        """What is shown of it to those who are no party of it, as data for JSON (docs/api.md)."""
        facts, script, answered = self.facts, self._script, self._answered
        began_at = script.began_at
        return {
            "call_id": facts.call_id,
            "call_api_id": facts.call_api_id,
            "caller_number": script.caller_number,
            "caller_name": script.caller_name,
            "called_number": facts.called_number,
            "direction": "out" if facts.is_outgoing else "in",
            "ivr": facts.called_extension,
            "context": script.context_id,
            "option": script.shown_option,
            "state": self.state,
            "doing": "" if answered is None else answered.doing,
            "began_at": began_at and datetime.fromtimestamp(began_at, UTC).isoformat(timespec="milliseconds"),
        }

    async def counters(self) -> list[dict[str, Any]]:
        """How much sound each party has sent; empty before the answer. Raises MediaError."""
        return [] if self._answered is None else await self._answered.counters()

    def hang_up(self) -> None:
        """End it, because somebody from outside wants so. Does nothing to a call that ends already.

        Raises NotNowError.
        """
        if self._caller.is_over:
            return
        if self._services.keeper.gate.is_shut():  # H2
            raise NotNowError("its sidecar was cut off, and does not know yet whether another one has the call")
        self._caller.log.info("hangup", cause="asked for by the API")
        self._caller.story.cause = "hung up by an operator"
        self._end_of_cancel = (ENDED_NORMALLY if self._caller.leg.answered else DECLINE), "operator"
        # Not at once: a task that is cancelled before it has begun would release nothing.
        asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        """Not a call that has ended meanwhile: its task gives everything back, and must not be stopped in that."""
        if not self._caller.is_over:
            self._task.cancel()

    def lead(self, context: str, option: str) -> None:
        """Leave whatever it does, and go on at that option, because somebody from outside wants so.

        Raises LookupError where its ivr.yaml has no such option, and NotNowError.
        """
        known = self._services.ivr_file.contexts
        if context not in known:
            raise LookupError(f"no context {context!r} in the ivr.yaml of this call")
        if option not in known[context].options:
            raise LookupError(f"context {context!r} has no option {option!r}")
        if self._answered is None:
            raise NotNowError("the call is not answered yet")
        if why_not := self._answered.why_not_led:
            raise NotNowError(why_not)
        self._caller.log.info("jump", cause="asked for by the API", context=context, option=option)
        self._answered.lead(Led(context, option))

    async def _run(self) -> None:
        caller, gate = self._caller, self._services.keeper.gate
        try:
            if not caller.is_over:
                caller.listen(self._on_hang_up)
            code = None if caller.is_over else await self._code_of_end()
            if gate.is_shut():
                await gate.passed()  # another sidecar may have the call: then `forget` ends us here
            if code is not None:
                caller.end(code)
        except asyncio.CancelledError:
            caller.end(*self._end_of_cancel)  # does nothing where the caller has hung up
        finally:
            try:
                if self._answered is not None:
                    await self._answered.release()
            finally:  # also where the sidecar stops meanwhile
                caller.listen(_nobody)  # it refers to us
                self._end_story()

    def _end_story(self) -> None:
        caller, stories = self._caller, self._services.stories
        if self._is_forgotten:
            stories.forget(caller.story)
        elif caller.is_left:
            caller.story.leave()
        else:
            caller.log.info("call ended")
            media = None if self._answered is None else self._answered.totals()
            caller.telling.end(caller.ended_by, caller.code, media)

    def _on_hang_up(self) -> None:
        """The caller has hung up. Its callee is told at once: before the caller gets the 200 for its BYE."""
        if self._answered is not None and not self._services.keeper.gate.is_shut():
            self._answered.end_callees()
        self._task.cancel()

    async def _code_of_end(self) -> int | None:
        """Everything until its end. Returns what to hang up with; None where that is done."""
        try:
            await self._carry_out()
        except MediaError as error:
            self._caller.log.error("media", reason=str(error))
            self._caller.story.cause = str(error)
            return error.sip_code
        except Exception as error:
            self._caller.log.exception("a call failed")
            self._caller.story.cause = f"an error of this software: {type(error).__name__}"
            return 500
        return None

    async def _carry_out(self) -> None:
        """Everything until its end. Raises MediaError."""
        raise NotImplementedError


class NewCall(Call):
    """A call whose INVITE has come."""

    def __init__(
        self,
        services: Services,
        leg: sip.UasLeg,
        invite: sip.IncomingInvite,
        facts: CallFacts,
        ivr: Ivr,
        entry: EntryHeader | Resumption,
        attempt: int = 0,
    ) -> None:
        """attempt: `AttemptHeader`. Raises ScriptStateError where `entry` can't be resumed here."""
        self._services = services
        # Not the INVITE itself: a call that lasts an hour would keep all its headers.
        self._offer = invite.sdp
        so_far = entry.state.story if isinstance(entry, Resumption) else ""
        telling = Telling(services.stories.begin(facts, so_far, attempt))
        self._caller = Caller(leg, facts, invite.max_forwards, invite.caller_address, invite.source, telling)
        self._ivr = ivr
        self._entry = entry
        self._answered = None
        self.key = services.media_prefix + facts.call_id
        observe = observer(services, self._caller)
        if isinstance(entry, Resumption):
            try:
                self._script = CallScript.from_json(entry.state.script, services.ivr_file, observe)
            except ScriptStateError as error:
                telling.story.cause = str(error)
                telling.end("system", 500)  # it is refused with that, and nobody else tells its end (E1)
                raise
        else:
            self._script = CallScript(
                services.ivr_file, ivr, facts, context=entry.context, option=entry.option, observe=observe
            )

    def start(self) -> EagerTask:
        """At once: the first command to RTPengine, or the request, goes out before this returns."""
        task = self._made()
        task.start()
        return task

    async def _carry_out(self) -> None:
        caller = self._caller
        if not isinstance(self._entry, Resumption):
            caller.story.tell_fields("call.started", {"ivr": self._ivr.number, **caller.facts.shown()})
        caller.log.info(
            "call",
            caller=caller.facts.caller_number,
            called=caller.facts.called_number,
            sip_call_id=caller.leg.call_id[:200],
        )
        command: Command | None = None
        if self._ivr.answer == "on_media":
            dip = Dip(self._services, caller, self._ivr, self._script)
            command = await dip.run(self._first_command(time.time()))
        if not caller.is_over:
            answered = self._answered = SteeredCall(self._services, caller, self._script)
            offer, self._offer = self._offer, None
            await answered.answer(offer)
            await answered.follow(command or self._first_command(time.time()))

    def _first_command(self, now: float) -> Command:
        """Enter the IVR, or go on where another sidecar has left the script."""
        if not isinstance(self._entry, Resumption):
            return self._script.start(now)
        if self._entry.result is None:
            return self._script.begin_again(now)
        self._tell_legs(self._entry.result.legs)
        self._caller.story.fail_transfer(self._entry.result.code)
        return self._script.handle(transfer_failed(self._entry.result.code), now) or self._script.begin_again(now)

    def _tell_legs(self, report: str) -> None:
        """What became of the transfer that Kamailio has carried out. No call fails for its records."""
        with suppress(HeaderError):
            for leg in Report.from_text(report).legs if report else ():
                tell_leg(self._caller.story.tell_fields, leg)


def _nobody() -> None:
    """Is told that the caller hangs up before the call's task has begun, or when it has ended.

    A task that is cancelled before it has begun would release nothing.
    """


def observer(services: Services, caller: Caller) -> Callable[[Note], None]:
    """What a script's notes go to. A partial: a bound method would make a reference cycle, and the call would stay
    until garbage collection."""
    return partial(_observe, services.observe, caller.telling.note, caller.log)


def _observe(count: Callable[[Note], None], tell: Callable[[Note], dict[str, Any]], log: Any, note: Note) -> None:
    count(note)
    more = tell(note)
    write(log, note.level, note.what, {**note.fields, **more} if more else note.fields)
