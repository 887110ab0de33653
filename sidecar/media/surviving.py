"""What a call's media does when its RTPengine may have lost it: see `sidecar.media.moving`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from callinteractive.fleet import family_of
from sidecar.media.engines import Engines
from sidecar.media.errors import MediaError, MediaFull, MediaLost, MediaUnavailable
from sidecar.media.exchange import TRANSCODED, Exchanges, described, port_of
from sidecar.media.moving import CUT_OFF_S, WAIT_S, survives

_RETRY_S = 0.1


class SurvivingMedia(Exchanges):
    """A `moving.Movable`."""

    def __init__(self, engines: Engines, media_id: str, caller_from: str = "") -> None:
        super().__init__(engines, media_id, caller_from)
        self.when_moved: Callable[[bool], None] | None = None
        """Told when the call has begun anew (True), or its RTPengine has and knows it (False): no sound plays."""
        self.when_lost: Callable[[MediaError], None] | None = None
        """Told when it could not begin anew: it has no sound any more."""
        self.moves = 0
        self._engines = engines
        self._ng.owner = self

    def go_on(self) -> None:
        """Whether RTPengine still has it is asked soon."""
        self._ng.owner = self
        self._engines.mover.look_after(self, was_restarted=False)

    def forget(self) -> None:
        """Another process has the call."""
        super().forget()
        self.when_moved = self.when_lost = None
        self._ng.is_lost = True
        self._ng.forget()

    @property
    def can_move(self) -> bool:
        """Whether the call can be made anew: the caller has said where it is."""
        return not self._over and self._caller.audio is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether its RTPengine may have lost it: nothing is heard, and no digit comes."""
        engine = self._ng.engine
        return engine is not None and engine.lost_at is not None

    @survives
    async def introduce(self) -> None:
        """See `moving.Movable`. It is done anyway before anything else is asked of RTPengine."""
        if self._ng.is_untold:
            async with self._turn:
                await self._commands()

    def begin_elsewhere(self) -> bool:
        """See `moving.Movable`."""
        engine = self._ng.engine
        if self._over or self._caller.described or engine is None or engine.is_alive:
            return False
        self._ng.begin_again(())
        return True

    def moved(self, b_tag: str | None = None) -> str | None:
        """What to offer a party whose stream is elsewhere now and who was not told; None if there is nothing to tell.

        b_tag: None is the caller.
        """
        party = self._caller if b_tag is None else self._legs.get(b_tag)
        if party is None or not party.is_moved or not party.described or party.audio is None:
            return None
        return party.describe(party.audio.line.answer_direction)

    def is_moved(self, b_tag: str) -> bool:
        """Whether this leg sends to where its stream is no longer."""
        return b_tag in self._legs and self._legs[b_tag].is_moved

    async def recover(self, moves: int, *, was_restarted: bool) -> None:
        """See `moving.Movable`."""
        if not self.can_move:
            return
        await self._engines.mover.turn()
        async with self._turn:
            if not self.can_move or moves != self.moves:
                return
            self._caller_takes_all = False  # it may be read back from Redis, or another call of the same name
            try:
                is_moved = await self._begin_again()
                if was_restarted and not is_moved:
                    await self._connect_again()
            except MediaError as error:
                self._engines.mover.lost += 1
                if self.when_lost is not None:
                    self.when_lost(error)
                raise
            if is_moved or was_restarted:
                self._sound = self._sound_ends_at = None
                if self.when_moved is not None:
                    self.when_moved(is_moved)

    async def _begin_again(self) -> bool:
        """Returns whether the call had to be made anew."""
        loop, engine = asyncio.get_running_loop(), self._ng.engine
        since = engine.lost_at if engine is not None and engine.lost_at is not None else loop.time()
        families = frozenset(
            family_of(party.audio.line.address) for party in (self._caller, *self._legs.values()) if party.audio
        )
        while True:
            try:
                if engine is not None and engine.is_alive and await self._is_known():
                    return False
                if self._engines.mover.is_any_alive(families):
                    await self._make_anew(families)
                    return True
                failure: MediaError = MediaUnavailable("no RTPengine lives")
            except (MediaLost, MediaUnavailable) as error:
                failure, engine = error, None
            wait_s = CUT_OFF_S if self._engines.is_cut_off() else WAIT_S
            if self._over or isinstance(failure, MediaFull) or loop.time() > since + wait_s:
                raise failure
            await asyncio.sleep(_RETRY_S)

    async def _is_known(self) -> bool:
        """An offer may have begun a call of the same name since it was lost. But that one is on another port."""
        try:
            reply = await self._command("query", {"from-tag": self._caller.tag})
        except MediaLost:
            return False
        return port_of(reply.get("tags"), self._caller.tag) in (None, self._caller.our_port)

    async def _connect_again(self) -> None:
        """It has read the call back from Redis, to which 10.5 writes offers and answers only, no `unblock media`."""
        is_ringing = any(leg is not self._peer for leg in self._legs.values())
        await self._command("block media" if is_ringing else "unblock media")

    async def _make_anew(self, families: frozenset[str]) -> None:
        """The call as it is now, at an RTPengine that knows nothing of it. Early media is not heard again."""
        self._ng.begin_again(families)
        caller, peer = self._caller, self._peer
        if peer is not None and peer.is_early:
            peer.audio, peer.is_early, self._peer = None, False, None
        self.detects_inband = False
        caller.move()
        caller.learn(await self._exchange_with_ivr(caller.agreed))
        self.moves += 1
        self._engines.mover.moved += 1
        await self._detect_inband()
        if any(leg is not self._peer for leg in self._legs.values()):
            await self._command("block media")
        for leg in self._legs.values():
            leg.move()
            leg.our_address = caller.our_address
            leg.learn(await self._offer(caller, leg.tag, caller.agreed, TRANSCODED))
            if leg.audio is not None:
                await self._answer(caller.tag, leg.tag, described(leg, leg.audio))
