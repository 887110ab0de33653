"""The calls that a fault finds: each kind is placed, waits for the fault, and tells what its parties noticed.

`place` returns when the call is in its state. `meanwhile` runs during the fault, `conclude` after it: the call must go
on as if nothing had been, and end by a BYE that reaches the other side.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tests.chaos.exchange import Leg
from tests.chaos.faults import WEB
from tests.chaos.voice import longest_gap
from tests.chaos.web import callee_of

if TYPE_CHECKING:
    from tests.chaos.world import Parties

PLACE_S, SETTLE_S = 8.0, 0.6
CONCLUDE_S = 40.0
"""The most that one call may take to end."""
AGAIN_S = 5.0
"""The most that sound may take to come when something new begins after the fault."""
BYE_S = 6.0
SILENT_S = 1.0
"""No sound for so long at the end: it did not come back."""
IVRS = """\
ivrs:
  - {{number: "000*201", id: 201, entry_context: dip, answer: on_media}}
  - {{number: "000*202", id: 202, entry_context: prompt}}
  - {{number: "000*203", id: 203, entry_context: collecting}}
  - {{number: "000*204", id: 204, entry_context: asked}}
  - {{number: "000*205", id: 205, entry_context: plan}}
  - {{number: "000*206", id: 206, entry_context: plan, answer: on_media}}
contexts:
  dip:
    options:
      start: [{{call_interactive: {{url: "{web}/dip", method: POST}}}}, {{play_sound: {{file: tone-660-20000.wav}}}}]
  prompt:
    options:
      start: [{{play_sound: {{file: tone-440-60000.wav}}}}]
  collecting:
    timeout: 60000
    inter_digit_timeout: 60000
    options:
      start:
        - record_digits: {{prompt: tone-660-400.wav, variable: code, max: 9}}
        - call_interactive: {{url: "{web}/collected?code=$code", method: POST}}
        - play_sound: {{file: tone-660-20000.wav}}
  asked:
    options:
      start: [{{call_interactive: {{url: "{web}/slow", method: POST}}}}, {{play_sound: {{file: tone-660-20000.wav}}}}]
  plan:
    options:
      start: [{{call_interactive: {{url: "{web}/plan", method: POST}}}}, {{play_sound: {{file: tone-660-20000.wav}}}}]
"""
SOUNDS = ((440, 60000), (660, 400), (660, 20000), (880, 20000))


@dataclass
class Outcome:
    """What the parties of one call noticed. `silence_s`: None where no sound is due."""

    kind: str
    result: str
    silence_s: float | None = None
    notes: str = ""

    GOES_ON: ClassVar[str] = "goes on"
    FAILS: ClassVar[str] = "fails cleanly"
    LOST: ClassVar[str] = "lost"


class Call(ABC):
    """`is_answered`: the caller has had a 200, so that losing it counts."""

    kind: ClassVar[str]
    number: ClassVar[str]
    is_answered: ClassVar[bool] = True

    def __init__(self, world: Parties, caller: str) -> None:
        self.world, self.name = world, caller
        self.notes: list[str] = []

    async def place(self) -> None:
        self.leg = self.world.call(self.number, self.name)
        if self.is_answered:
            status = await self.leg.has_final(PLACE_S)
            assert status == 200, f"{self.kind}: {status}"
        await self.settle()

    @abstractmethod
    async def settle(self) -> None:
        """Until the call is in its state."""

    async def meanwhile(self) -> None:  # noqa: B027  # most do nothing
        """What its parties do during the fault."""

    async def outcome(self) -> Outcome:
        """`conclude`, bounded, and what it says in one line."""
        silence: float | None = None
        result = Outcome.LOST
        try:
            async with asyncio.timeout(CONCLUDE_S):
                result, silence = await self.conclude()
        except TimeoutError:
            self.notes.append(f"not over after {CONCLUDE_S:g} s")
        if strangers := sum(leg.voice.strangers(*[each.voice for each in self.legs()]) for leg in self.legs()):
            self.notes.append(f"{strangers} packets of a stranger's voice")
            result = Outcome.LOST
        return Outcome(self.kind, result, silence, ", ".join(self.notes))

    @abstractmethod
    async def conclude(self) -> tuple[str, float | None]:
        """The result, and the seconds of silence."""

    def legs(self) -> Sequence[Leg]:
        return [self.leg, *self.world.callees_of(self.name)]

    def silence(self, times: list[float]) -> float:
        """The longest, from shortly before the fault until now, or until the call has ended."""
        end_s = min([self.world.now(), *(leg.ended_s for leg in self.legs() if leg.ended_s)])
        return longest_gap(times, self.world.struck_s - SETTLE_S, end_s)

    async def hang_up(self, first: Leg, *others: Leg) -> bool:
        """`first` hangs up: its BYE is answered, and the others get theirs."""
        status = await first.hang_up()
        if status != 200:
            self.notes.append(f"BYE got {status}")
        told = all(await asyncio.gather(*(leg.is_over(BYE_S) for leg in others)))
        if not told:
            self.notes.append("the other side got no BYE")
        return status == 200 and told

    def ended_early(self, *legs: Leg) -> bool:
        for leg, who in zip(legs, ("caller", "callee"), strict=False):
            if leg.ended.is_set():
                self.notes.append(f"the {who} got BYE after {leg.ended_s - self.world.struck_s:.1f} s")
        return any(leg.ended.is_set() for leg in legs)


class Prompt(Call):
    kind, number = "prompt", "000*202"

    async def settle(self) -> None:
        await self.world.until(lambda: len(self.leg.voice.heard_anything()) > 10, PLACE_S, "a prompt")

    async def conclude(self) -> tuple[str, float | None]:
        if self.ended_early(self.leg):
            return Outcome.LOST, None
        gap = self.silence(self.leg.voice.heard_anything())
        is_heard = self.world.now() - self.leg.voice.heard_anything()[-1] < SILENT_S
        if not is_heard:
            self.notes.append("silent for good")
        return _goes_on(await self.hang_up(self.leg) and is_heard), gap


class Collecting(Call):
    kind, number = "collecting", "000*203"

    async def settle(self) -> None:
        await self.world.until(lambda: len(self.leg.voice.heard_anything()) > 15, PLACE_S, "the question")
        await self.leg.voice.send_digits("1")
        await asyncio.sleep(SETTLE_S)

    async def meanwhile(self) -> None:
        await self.leg.voice.send_digits("2")

    async def conclude(self) -> tuple[str, float | None]:
        if self.ended_early(self.leg):
            return Outcome.LOST, None
        began_s = self.world.now()
        await self.leg.voice.send_digits("34#")
        asked = await self.world.asked(self.name, "/collected", AGAIN_S)
        code = asked[-1]["query"]["code"] if asked else ""
        if code == "134":
            self.notes.append("the digit dialled meanwhile is lost")
        elif not code and self.world.struck_part == WEB:
            self.notes.append("its request failed, as it must")
        elif code != "1234":
            self.notes.append(f"dialled 1234, counted {code or 'nothing'}")
        heard_s = await self.world.heard_since(self.leg, began_s, 3 * AGAIN_S)
        # Without a web application the next rule runs (X3).
        is_counted = code in ("1234", "134") or self.world.struck_part == WEB
        is_counted = is_counted and heard_s is not None
        return _goes_on(await self.hang_up(self.leg) and is_counted), None


class Asked(Call):
    kind, number = "web application asked", "000*204"

    async def settle(self) -> None:
        assert await self.world.asked(self.name, "/slow", PLACE_S), "the web application was not asked"

    async def conclude(self) -> tuple[str, float | None]:
        heard_s = await self.world.heard_since(self.leg, self.world.struck_s, 3 * AGAIN_S)
        asked = await self.world.asked(self.name, "/slow", 0)
        ids = {entry["id"] for entry in asked}
        if len(asked) > 1:
            self.notes.append(f"asked {len(asked)} x with {'one id' if len(ids) == 1 else 'several ids'}")
        if self.ended_early(self.leg):
            return Outcome.LOST, None
        self.notes.append("heard nothing" if heard_s is None else f"its prompt after {heard_s:.1f} s")
        return _goes_on(await self.hang_up(self.leg) and heard_s is not None), None


class Ringing(Call):
    kind, number = "ringing", "000*205"

    async def settle(self) -> None:
        callee = await self.world.called(self.name, PLACE_S)
        assert callee, "the callee does not ring"
        await self.world.until(lambda: len(self.leg.voice.arrivals()) > 10, PLACE_S, "a ringback tone")

    async def conclude(self) -> tuple[str, float | None]:
        if self.ended_early(self.leg):
            return Outcome.LOST, None
        gap = self.silence(self.leg.voice.arrivals())
        ringing = [leg for leg in self.world.callees_of(self.name) if not leg.ended.is_set()]
        rang = len(self.world.callees_of(self.name))
        if rang > 1:
            self.notes.append(f"rang {rang} x")
        if not ringing:
            self.notes.append("nobody rings any more")
            await self.hang_up(self.leg)
            return Outcome.LOST, gap
        ringing[-1].answer()
        joined = await self.world.both_hear(self.leg, ringing[-1], AGAIN_S)
        if not joined:
            self.notes.append("no talk after the answer")
        is_ended = await self.hang_up(ringing[-1], self.leg)
        return _goes_on(joined and is_ended), gap


class Talk(Call):
    """Two legs that hear each other all the time."""

    callee: Leg

    async def settle(self) -> None:
        callee = await self.world.called(self.name, PLACE_S)
        assert callee, (
            f"{self.kind}: the callee does not ring; the caller got {self.leg.status or self.leg.provisional}"
        )
        self.callee = callee
        callee.answer()
        assert await self.leg.has_final(PLACE_S) == 200, f"{self.kind}: {self.leg.status}"
        assert await self.world.both_hear(self.leg, callee, PLACE_S), f"{self.kind}: they don't hear each other"

    async def conclude(self) -> tuple[str, float | None]:
        legs = self.leg, self.callee
        gap = max(self.silence(one.voice.heard(other.voice)) for one, other in (legs, legs[::-1]))
        if self.ended_early(*legs):
            if not all(leg.ended.is_set() for leg in legs):
                self.notes.append("the other side got no BYE")
            return Outcome.LOST, gap
        joined = await self.world.both_hear(*legs, SILENT_S)
        if not joined:
            self.notes.append("silent for good")
        if any(leg.offers for leg in legs):
            self.notes.append("re-INVITE")
        return _goes_on(await self.end() and joined), gap

    async def end(self) -> bool:
        return await self.hang_up(self.callee, self.leg)


class Bridged(Talk):
    kind, number = "bridged", "000*205"


class Redirected(Talk):
    kind, number, is_answered = "bridged by 302", "000*206", False

    async def end(self) -> bool:
        return await self.hang_up(self.leg, self.callee)


class Anchored(Redirected):
    """The caller is of a trunk with `anchor_media`."""

    kind = "bridged by 302, anchored"

    async def place(self) -> None:
        self.leg = self.world.call(self.number, self.name, is_anchored=True)
        await self.settle()


class Held(Talk):
    kind, number = "held", "000*205"

    async def settle(self) -> None:
        await super().settle()
        assert await self.leg.reoffer("sendonly") == 200, "can't hold"
        await asyncio.sleep(SETTLE_S)

    async def conclude(self) -> tuple[str, float | None]:
        if self.ended_early(self.leg, self.callee):
            return Outcome.LOST, None
        status = await self.leg.reoffer("sendrecv")
        joined = status == 200 and await self.world.both_hear(self.leg, self.callee, AGAIN_S)
        if status != 200:
            self.notes.append(f"resume got {status}")
        elif not joined:
            self.notes.append("silent after resume")
        return _goes_on(await self.hang_up(self.leg, self.callee) and joined), None


class Dip(Call):
    kind, number, is_answered = "unanswered dip", "000*201", False

    async def settle(self) -> None:
        self.world.answers_at_once(self.name)
        assert await self.world.asked(self.name, "/dip", PLACE_S), "the web application was not asked"

    async def conclude(self) -> tuple[str, float | None]:
        status = await self.leg.has_final(CONCLUDE_S - 5)
        took_s = self.leg.final_s - self.leg.began_s
        asked = len(await self.world.asked(self.name, "/dip", 0))
        self.notes.append(f"{status or 'nothing'} after {took_s if status else CONCLUDE_S - 5:.1f} s")
        if asked > 1:
            self.notes.append(f"asked {asked} x")
        if status != 200:
            return Outcome.FAILS if status >= 400 else Outcome.LOST, None
        if not (called := self.world.callees_of(self.name)):  # the IVR itself has answered
            heard_s = await self.world.heard_since(self.leg, self.leg.final_s, AGAIN_S)
            return _goes_on(await self.hang_up(self.leg) and heard_s is not None), None
        joined = await self.world.both_hear(self.leg, called[-1], AGAIN_S)
        return _goes_on(await self.hang_up(self.leg, called[-1]) and joined), None


KINDS: tuple[type[Call], ...] = (Dip, Prompt, Collecting, Asked, Ringing, Bridged, Redirected, Anchored, Held)
"""In the order of the table."""
IN_ORDER: tuple[type[Call], ...] = (Bridged, Held, Redirected, Anchored, Ringing, Prompt, Collecting, Dip, Asked)
"""As they are placed: those that wait for nothing but us come first."""


def _goes_on(is_so: bool) -> str:
    return Outcome.GOES_ON if is_so else Outcome.LOST


__all__ = ["IN_ORDER", "IVRS", "KINDS", "SOUNDS", "Call", "Outcome", "callee_of"]
