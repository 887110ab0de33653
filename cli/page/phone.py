"""A call from the keypad of the page: the real script and the real web application, with no SIP and no RTPengine.

The browser plays the sounds and waits; it says when a sound or a pause is over, or that it does not want to wait for
it. Time that it leaves out counts as gone, so the call sees the times that a real one sees.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from callinteractive.commands import Collect, Command, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.events import (
    DIGITS,
    Dialled,
    Event,
    HungUp,
    Played,
    PlayFailed,
    TransferAnswered,
    TransferFailed,
    Waited,
    transfer_failed,
)
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr, IvrFile
from callinteractive.script import CallScript
from cli.page.telling import Telling
from sidecar.call.digits import MASKED
from sidecar.media.sounds import Sound
from sidecar.webhook import Webhook

MOST_CALLS = 20
"""At once; one more hangs up the oldest."""
OUTCOMES: dict[str, TransferFailed | TransferAnswered] = {
    "answered": TransferAnswered(),
    **{failed.status: failed for failed in map(transfer_failed, (486, 408, 603, 404))},
}
"""How a transfer may end, as the person at the keypad chooses."""


class Sounds(Protocol):
    """Where a call finds its sounds."""

    async def get(self, name: str) -> Sound | None: ...

    def why_not(self, name: str) -> str: ...


@dataclass(frozen=True, slots=True)
class World:
    """What a call needs beside its IVR. `ringing_s` is the system timeout of a transfer (A11)."""

    webhook: Webhook
    sounds: Sounds
    ringing_s: float
    clock: Callable[[], float] = time.time


class WrongError(Exception):
    """What the browser asked for does not fit the call as it is; the text says why."""


class PhoneCall:
    """One call. `act` takes what the person does; `state` is what the browser shows and waits for."""

    def __init__(self, world: World, ivr_file: IvrFile, ivr: Ivr, facts: CallFacts) -> None:
        self.id = facts.call_id
        self._world = world
        self._began = world.clock()
        self._left_out_s = 0.0
        self.telling = Telling(facts, ivr, ivr_file, lambda: self._now)
        self._script = CallScript(ivr_file, ivr, facts, observe=self.telling.note)
        self._command: Command | None = None
        self._command_since = 0.0
        self._duration_s = 0.0
        self._step = 0
        self._legs = 0
        self._going_on: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run until the first thing that takes its time."""
        self.telling.tell("call.answered")
        await self._go(lambda: self._until_waits(self._script.start(self._now)))

    async def act(self, step: int, what: str, value: str = "") -> None:
        """Take an event: `digit`, `done` (sound or time is over), `transfer` (it ended like `value`), `hangup`.

        `step` is that of the state which the person saw: where the call has gone on since, only a digit and a hang-up
        still count. Raises WrongError.
        """
        if what == "hangup":
            return self._hang_up()
        if self._is_over or self._going_on is not None:
            return None
        event = self._event(step, what, value)
        if event is None:
            return None
        return await self._go(lambda: self._handle(event))

    def state(self, after: int = 0) -> dict[str, Any]:
        """The call as JSON: what it waits for, and its records that come after number `after`."""
        return {
            "id": self.id,
            "step": self._step,
            "over": self._is_over,
            "waits": None if self._is_over else self._shown(),
            "elapsed_s": round(self._now - self._began, 1),
            "records": self.telling.after(after),
        }

    @property
    def _now(self) -> float:
        return self._world.clock() + self._left_out_s

    @property
    def _is_over(self) -> bool:
        return self._script.is_over

    @property
    def _leg(self) -> str:
        """The name of the transfer's leg in the records."""
        return f"b{self._legs}"

    def _seen(self, digits: str) -> str:
        """Digits as a page may show them (E3)."""
        return MASKED * len(digits) if self._script.masks_digits else digits

    def _hang_up(self) -> None:
        if self._going_on is not None:
            self._going_on.cancel()
        if not self._is_over:
            self._script.handle(HungUp(), self._now)
            self._finish("the caller hung up", by="caller")

    def _event(self, step: int, what: str, value: str) -> Event | None:
        if what == "digit":
            if value not in DIGITS:
                raise WrongError(f"{value[:10]!r} is no key of a phone")
            self.telling.tell("call.digit", digit=self._seen(value))
            return Dialled(value)
        if step != self._step:
            return None  # the call has gone on meanwhile
        if what == "transfer" and isinstance(self._command, Transfer):
            if value not in OUTCOMES:
                raise WrongError(f"a transfer ends with one of {', '.join(OUTCOMES)}")
            return self._rung(self._command, value)
        if what != "done" or isinstance(self._command, Transfer):
            raise WrongError(f"{what[:20]!r} is nothing that the call waits for")
        self._leave_out(self._duration_s)
        return Played() if isinstance(self._command, Play) else Waited()

    def _rung(self, transfer: Transfer, outcome: str) -> Event:
        event = OUTCOMES[outcome]
        if outcome == "no_answer":
            self._leave_out(self._duration_s)
        if isinstance(event, TransferFailed):
            self.telling.tell("leg.ended", leg=self._leg, code=event.code, outcome=outcome)
        else:
            self.telling.tell("leg.answered", leg=self._leg, by=transfer.numbers[0])
        return event

    def _leave_out(self, duration_s: float) -> None:
        """What is left of the time that the command takes is over at once."""
        self._left_out_s += max(0.0, self._command_since + duration_s - self._now)

    async def _go(self, on: Callable[[], Awaitable[None]]) -> None:
        """Let the call go on. A hang-up cancels it, also while the web application thinks."""
        self._going_on = asyncio.ensure_future(on())
        try:
            await asyncio.wait([self._going_on])
            if not self._going_on.cancelled():
                self._going_on.result()
        finally:
            self._going_on.cancel()
            self._going_on = None

    async def _handle(self, event: Event) -> None:
        command = self._script.handle(event, self._now)
        if isinstance(event, TransferAnswered):
            self._finish("the callee answered: the rest is their talk", by="callee")
        elif command is not None:
            await self._until_waits(command)

    async def _until_waits(self, command: Command) -> None:
        """Carry out what takes no time of the person's, up to a command that does."""
        while (event := await self._carry_out(command)) is not None:
            command = self._script.handle(event, self._now) or command

    async def _carry_out(self, command: Command) -> Event | None:
        """The event that answers it; None where the person must wait or do something, and at the end."""
        self._command, self._command_since, self._step = command, self._now, self._step + 1
        match command:
            case Fetch(request=request):
                event = await self._world.webhook.fetch(request)
                self.telling.request(request, event, self._now - self._command_since)
                return event
            case Play(sound=name):
                sound = await self._world.sounds.get(name)
                if sound is None:
                    reason = self._world.sounds.why_not(name)
                    self.telling.tell("call.note", level="error", reason=reason)
                    return PlayFailed(reason)
                self._duration_s = sound.duration_ms / 1000
            case Collect(timeout_ms=milliseconds) | Wait(pause_ms=milliseconds):
                self._duration_s = milliseconds / 1000
            case Transfer(numbers=numbers, timeout_s=timeout_s):
                self._duration_s = self._world.ringing_s if timeout_s is None else timeout_s
                self._legs += 1
                self.telling.tell("leg.started", leg=self._leg, targets=list(numbers), timeout_s=timeout_s)
            case Hangup(cause=cause, code=code):
                self._finish(cause, by="ivr", **({"code": code} if code else {}))
        return None

    def _finish(self, cause: str, **fields: Any) -> None:
        self._step += 1
        self.telling.tell("call.ended", cause=cause, **fields)

    def _shown(self) -> dict[str, Any]:
        """What the call waits for, in the browser's words."""
        match self._command:
            case Play(sound=sound, barge_in=barge_in):
                what = {"kind": "sound", "sound": sound, "stops": barge_in}
            case Collect():
                what = {"kind": "digits", "dialled": self._seen(self._script.dialled)}
            case Wait():
                what = {"kind": "pause"}
            case Transfer(numbers=numbers, caller_name=name, caller_number=number):
                what = {"kind": "transfer", "numbers": list(numbers), "caller": f"{name} <{number}>".strip()}
            case _:
                return {"kind": "request", "left_s": 0}
        return what | {"left_s": round(max(0.0, self._command_since + self._duration_s - self._now), 2)}


class PhoneCalls:
    """The calls of all browsers, the newest last."""

    def __init__(self) -> None:
        self._calls: dict[str, PhoneCall] = {}

    async def begin(self, call: PhoneCall) -> str:
        """Keep it under a name that nobody can guess, and start it."""
        name = secrets.token_urlsafe(16)
        while len(self._calls) >= MOST_CALLS:
            await self._calls.pop(next(iter(self._calls))).act(0, "hangup")
        self._calls[name] = call
        await call.start()
        return name

    def find(self, name: str) -> PhoneCall | None:
        return self._calls.get(name)
