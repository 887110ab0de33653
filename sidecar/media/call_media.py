"""The sound of one call in RTPengine: what its caller hears, and the bridge to a callee.

RTPengine knows parties by tags. One is the caller. Another one, the IVR, is made up by us: with it the caller can have
an answer before there is a callee. Sounds are played in the first codec of the IVR's description. A bridge puts a
callee in the place of the IVR, and later the IVR back. The caller's port stays, so the caller gets no re-INVITE. While
bridged, an offer of either party is answered here; RTPengine transcodes if their codecs differ then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from callinteractive.fleet import family_of
from sidecar.media import sdp
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.errors import MediaFull, MediaLost, MediaRefused, UnusableSdp
from sidecar.media.exchange import TRANSCODED, described, written
from sidecar.media.ivr import IVR_ADDRESS, IVR_IS_THERE, IVR_PORT, IVR_TAG
from sidecar.media.moving import survives
from sidecar.media.ng_failures import NgFailure
from sidecar.media.party import Party
from sidecar.media.sounds import Sound
from sidecar.media.surviving import SurvivingMedia

_log = logging.getLogger(__name__)

_OFFERED = (sdp.PCMU, sdp.PCMA, sdp.G722, sdp.EVENTS)  # to a caller whose INVITE has no offer


class CallMedia(SurvivingMedia):
    """One call's media. SDP goes in and out as text, for the SIP side.

    Methods may be called concurrently. Each one is carried out as a whole, in the order of the calls; only `delete`
    does not wait for its turn. All but `delete` raise MediaUnavailable (RTPengine does not answer or is full),
    MediaLost (it has forgotten the call) and MediaRefused (it refused the command). Those that take a description
    raise UnusableSdp, before they have changed anything.

    A call that its RTPengine has lost is made anew, from what its parties have said last (`sidecar.media.moving`); only
    if that fails, errors are raised. Then `when_moved` is told, and each party is somewhere else: see `moved`.
    """

    # -- the caller

    @survives
    async def answer(self, offer: str) -> str:
        """Answer the caller's first offer; from now on sounds can be played and digits arrive."""
        audio = self._audio_in(offer)
        async with self._turn:
            return await self._answer_caller(audio)

    @survives
    async def offer(self) -> str:
        """What to offer a caller whose INVITE has no offer, or who asks again by a re-INVITE without one."""
        async with self._turn:
            if not self._caller.described:
                family = family_of(self._caller.signalled_from)  # nothing else tells yet
                self._caller.check_family(family, self._ng.has)
                ours = sdp.describe(_OFFERED, IVR_ADDRESS[family], IVR_PORT)
                fields = {"from-tag": IVR_TAG, "sdp": ours, "address family": family, **IVR_IS_THERE}
                reply = await self._command("offer", fields)
                self._caller.learn(written(reply))
            return self._caller.describe()

    @survives
    async def accept(self, answer: str, *, signalled_from: str = "") -> None:
        """Take the caller's answer to our `offer`. signalled_from: as of `bridge`, where it is known only now."""
        self._caller.signalled_from = signalled_from or self._caller.signalled_from
        audio = self._answer_in(answer, self._caller)
        async with self._turn:
            if self._caller.audio is not None:
                await self._answer_caller(audio)
                return
            await self._command(*self._caller_answers(audio))
            self._caller.audio = audio
            await self._detect_inband()

    async def reoffer(self, offer: str) -> str:
        """Answer a later offer of the caller (re-INVITE, UPDATE): hold and resume, a new address, another codec.

        On hold nothing is sent to the caller, while its sound runs on unheard. The codec stays if the offer still
        has it; if not, a sound that plays starts again, in the new one.
        """
        return await self.answer(offer)

    @survives
    async def play(self, sound: Sound, repeat: int = 1) -> None:
        """Start a sound instead of the one that plays; returns when it has started, see `sound_ends_at`."""
        async with self._turn:
            await self._settle_caller()
            await self._play(sound, repeat)

    @property
    def sound_ends_at(self) -> float | None:
        """When the sound is at its end, by the event loop's clock; None when none was started or it was stopped.

        `reoffer` may move it to a later time.
        """
        return self._sound_ends_at

    @survives
    async def stop(self) -> None:
        """Stop the sound; does nothing when there is none."""
        async with self._turn:
            await self._stop()

    async def delete(self) -> None:
        """Free the call's ports. Never raises. Does nothing the second time, or if RTPengine was told nothing."""
        if self._over:
            return
        self._over = True
        self.when_moved = self.when_lost = None
        try:
            # Before that it has sent nothing.
            tag = self._caller.tag if self._caller.audio is not None and not self._ng.is_untold else ""
            self._last = await self._ng.delete(tag, takes_all=self._caller_takes_all)
        except NgFailure as failure:
            _log.warning("%s: call not deleted in RTPengine: %s", self.media_id, failure)

    # -- the bridge

    @survives
    async def offer_leg(self, b_tag: str, *, to_several: bool = False) -> str:
        """What to offer a callee. Nothing of what it sends is heard before `early` or `bridge`.

        b_tag: a new name for each attempt, shared by all forks of its INVITE. to_several: whether it is known to fork.
        """
        async with self._turn:
            if self._caller.is_to_be_learned:
                await self._ask_sources()
            leg = Party(b_tag, self._caller.our_address)
            leg.is_one_of_forks = to_several
            offer = self._offering(self._caller, b_tag, self._caller.agreed, TRANSCODED)
            try:
                # Of all parties: RTPengine 12 knows no tag of a callee before its answer. Sounds still play; no
                # digits come while a callee rings. It also tells whether the call is known (see `_exchange`).
                _, reply = await self._commands(("block media", {}), offer)
                leg.learn(written(reply))
            except (MediaRefused, MediaFull):
                await self._command("unblock media")  # tones of the caller would not be digits
                raise
            self._legs[b_tag] = leg
            return leg.describe()

    async def early(self, b_tag: str, answer: str) -> None:
        """Let the caller hear the callee before it has answered (A12). A sound stops. Call it again for each fork."""
        await self.bridge(b_tag, answer)
        self._leg(b_tag).is_early = True

    @survives
    async def bridge(self, b_tag: str, answer: str, *, signalled_from: str = "") -> None:
        """Connect caller and callee in both directions; a sound stops.

        answer: the callee's answer to `offer_leg`, of the fork that is to be heard. signalled_from: the IP address that
        its SIP comes from; empty where it is not known.
        """
        audio = self._answer_in(answer, self._leg(b_tag))
        async with self._turn:
            leg = self._leg(b_tag)
            if audio.line.hears:
                leg.check_family(family_of(audio.line.address), self._ng.has)
            leg.signalled_from = signalled_from
            commands: list[tuple[str, dict[str, Any]]] = []
            if leg.audio is None:
                commands.append(self._answering(self._caller.tag, b_tag, described(leg, audio)))
            elif audio != leg.audio:  # another fork: RTPengine takes a new codec only from an offer
                leg.is_one_of_forks = True
                await self._exchange(leg, audio)
            if self._sound is not None:
                commands.append(self._stopping())
            if self._peer is not leg:
                commands.append(("unblock media", {}))
            replies = await self._commands(*commands) if commands else []
            if leg.audio is None and self._caller.is_elsewhere_in(written(replies[0])):
                raise MediaLost(f"{b_tag} was connected with a new call of the same name")
            leg.audio, leg.is_early = audio, False
            self._peer = leg

    @survives
    async def unbridge(self, b_tag: str) -> None:
        """Take the callee away, answered or not: the caller is with the IVR again, and sounds and digits work."""
        async with self._turn:
            leg = self._legs.pop(b_tag, None)
            if leg is None:
                return
            was_heard = leg is self._peer
            if was_heard:
                self._peer = None
            # The order matters: if the callee were deleted first, the caller would lose its player and its digits.
            await self._exchange(self._caller, self._caller.agreed)
            # By the branch where it has not answered: it has no tag then.
            fields = {"from-tag": self._caller.tag, "to-tag": b_tag, "via-branch": b_tag, "delete-delay": 0}
            is_first = b_tag == CALLER_TAG  # if a call's first party is deleted, 12.5 stops the sound of the others
            commands = [] if is_first else [("delete", fields)]
            if not was_heard:
                commands.append(("unblock media", {}))
            if commands:
                await self._commands(*commands)
            if is_first:
                await self._command("block media", {"from-tag": b_tag, "flags": ("directional",)})

    async def promote(self, b_tag: str) -> str:
        """The answered callee takes the caller's place, and the caller a leg's. Returns the caller's tag.

        What sounds are played to and whom `offer_leg` offers is the new caller.
        """
        async with self._turn:
            leg, before = self._leg(b_tag), self._caller
            del self._legs[b_tag]
            self._caller_takes_all = False  # the IVR, and who was offered before, belong to the one before it
            self._caller, self._peer, self._legs[before.tag] = leg, before, before
            return before.tag

    @survives
    async def reoffer_leg(self, b_tag: str, offer: str | None) -> str:
        """Answer a later offer of the callee (UPDATE, re-INVITE), as `reoffer` does the caller's.

        None, a re-INVITE without an offer: offer again what was agreed; the answer to it goes to `accept_leg`.
        """
        if offer is None:
            return self._leg(b_tag).describe()
        audio = self._audio_in(offer)
        async with self._turn:
            leg = self._leg(b_tag)
            if audio.line.hears:
                leg.check_family(family_of(audio.line.address), self._ng.has)
            await self._exchange(leg, audio := audio.keeping(leg.audio))
            leg.audio = audio
            return leg.describe(audio.line.answer_direction)

    async def accept_leg(self, b_tag: str, answer: str) -> None:
        """Take the callee's answer to our later offer."""
        self._answer_in(answer, self._leg(b_tag))
        await self.reoffer_leg(b_tag, answer)

    def _leg(self, b_tag: str) -> Party:
        if b_tag not in self._legs:
            raise MediaRefused(f"no leg {b_tag}")
        return self._legs[b_tag]

    # -- descriptions

    def _audio_in(self, description: str) -> sdp.Audio:
        """What a party says. If Kamailio has anchored it, it is at an RTPengine of ours (`kemi.anchor`)."""
        return sdp.read_audio(description).at(self._inner)

    def _answer_in(self, answer: str, party: Party) -> sdp.Audio:
        """What a party answers to our offer, by the transport of the offer (RFC 3264 section 6): if only one of the two
        encrypts, neither hears the other. Raises UnusableSdp."""
        audio, before = self._audio_in(answer), party.audio
        if bool(audio.line.cryptos) != bool(before is not None and before.line.cryptos):
            raise UnusableSdp(f"{party.tag} answers by {audio.line.protocol}, which it was not offered")
        return audio

    async def _answer_caller(self, audio: sdp.Audio) -> str:
        caller = self._caller
        if audio.line.hears:
            caller.check_family(family_of(audio.line.address), self._ng.has)
        audio, before = audio.keeping(caller.audio), caller.audio
        if before is None and self._takes_ready(audio):
            caller.audio = audio
            return caller.describe(audio.line.answer_direction)
        await self._exchange(caller, audio)
        caller.audio = audio
        await self._detect_inband()
        if before and not before.codec.same_packets(audio.codec):
            await self._restart_sound()
        return caller.describe(audio.line.answer_direction)

    # -- sounds and digits

    async def _play(self, sound: Sound, repeat: int) -> None:
        fields: dict[str, Any] = {"from-tag": self._caller.tag, "file": str(sound.path)}
        if repeat > 1:
            fields["repeat-times"] = repeat
        self._sound = self._sound_ends_at = None  # even a play that fails stops the sound before it
        await self._command("play media", fields)
        self._sound = sound, repeat
        self._sound_ends_at = asyncio.get_running_loop().time() + sound.duration_ms * repeat / 1000

    async def _stop(self) -> None:
        if self._sound is not None:
            await self._command(*self._stopping())

    def _stopping(self) -> tuple[str, dict[str, Any]]:
        self._sound = self._sound_ends_at = None
        return "stop media", {"from-tag": self._caller.tag}

    async def _restart_sound(self) -> None:
        """RTPengine's player does not change the codec that it has started with."""
        if self._sound and self._sound_ends_at and asyncio.get_running_loop().time() < self._sound_ends_at:
            try:
                await self._play(*self._sound)
            except MediaRefused as error:  # its file is gone, say: the new codec counts all the same
                _log.warning("%s: the sound does not go on: %s", self.media_id, error)
