"""The sound of one call in RTPengine: what its caller hears, and the bridge to a callee.

RTPengine knows parties by tags. One is the caller. Another one, the IVR, is made up by us: with it the caller can have
an answer before there is a callee. Sounds are played in the first codec of the IVR's description. A bridge puts a
callee in the place of the IVR, and later the IVR back. The caller's port stays, so the caller gets no re-INVITE. While
bridged, an offer of either party is answered here; RTPengine transcodes if their codecs differ then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from callinteractive.fleet import family_of
from sidecar.media import sdp
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.errors import MediaLost, MediaRefused, MediaUnavailable
from sidecar.media.media_state import MediaState
from sidecar.media.party import Party
from sidecar.media.rtpengine import NgError, NgFailure, NgOverloaded, NgUnknownCall, Reply
from sidecar.media.sounds import Sound

IVR_TAG = "ivr"

_log = logging.getLogger(__name__)

_IVR_ADDRESS = {"IP4": "127.0.0.1", "IP6": "::1"}
_IVR_PORT = 9  # discard: RTPengine may send there what the caller says; nobody listens
_OFFERED = (sdp.PCMU, sdp.PCMA, sdp.G722, sdp.EVENTS)  # to a caller whose INVITE has no offer
_TRANSCODED = ("PCMU", "PCMA")  # offered to every callee besides the caller's own codec: each phone has one

# Keys with the padding of RFC 4568 6.1: without it baresip reads another key. And no offer to encrypt nothing.
_KEYS = ("pad", "no-NULL_HMAC_SHA1_80", "no-NULL_HMAC_SHA1_32")
# A party's port stays where it is, whoever is at the other end.
_PORT_STAYS = ("port-latching",)
# Packets are dropped that come from elsewhere than we said or, where we told it to learn, than the first one came from.
_STRICT = ("strict-source",)
_IVR_IS_THERE = {"endpoint-learning": ("off",), "flags": (*_PORT_STAYS, *_STRICT)}  # nobody may speak in its place


class CallMedia(MediaState):
    """One call's media. SDP goes in and out as text, for the SIP side.

    Methods may be called concurrently. Each one is carried out as a whole, in the order of the calls; only `delete`
    does not wait for its turn. All but `delete` raise MediaUnavailable (RTPengine does not answer or is full),
    MediaLost (it has forgotten the call) and MediaRefused (it refused the command). Those that take a description
    raise UnusableSdp, before they have changed anything.
    """

    # -- the caller

    async def answer(self, offer: str) -> str:
        """Answer the caller's first offer; from now on sounds can be played and digits arrive."""
        audio = self._audio_in(offer)
        async with self._turn:
            return await self._answer_caller(audio)

    async def offer(self) -> str:
        """What to offer a caller whose INVITE has no offer, or who asks again by a re-INVITE without one."""
        async with self._turn:
            if not self._caller.described:
                family = family_of(self._caller.signalled_from)  # nothing else tells yet
                self._caller.check_family(family, self._ng.has)
                ours = sdp.describe(_OFFERED, _IVR_ADDRESS[family], _IVR_PORT)
                fields = {"from-tag": IVR_TAG, "sdp": ours, "address family": family, **_IVR_IS_THERE}
                reply = await self._command("offer", fields)
                self._caller.learn(_written(reply))
            return self._caller.describe()

    async def accept(self, answer: str) -> None:
        """Take the caller's answer to our `offer`."""
        audio = self._audio_in(answer)
        async with self._turn:
            if self._caller.audio is not None:
                await self._answer_caller(audio)
                return
            description = _described(self._caller, audio)
            await self._command("answer", {"from-tag": IVR_TAG, "to-tag": CALLER_TAG, **description})
            self._caller.audio = audio
            await self._detect_inband()

    async def reoffer(self, offer: str) -> str:
        """Answer a later offer of the caller (re-INVITE, UPDATE): hold and resume, a new address, another codec.

        On hold nothing is sent to the caller, while its sound runs on unheard. The codec stays if the offer still
        has it; if not, a sound that plays starts again, in the new one.
        """
        return await self.answer(offer)

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

    async def stop(self) -> None:
        """Stop the sound; does nothing when there is none."""
        async with self._turn:
            await self._stop()

    async def delete(self) -> None:
        """Free the call's ports. Never raises. Does nothing the second time, or if RTPengine was told nothing."""
        if self._over:
            return
        self._over = True
        try:
            await self._ng.delete()
        except NgFailure as failure:
            _log.warning("%s: call not deleted in RTPengine: %s", self.media_id, failure)

    # -- the bridge

    async def offer_leg(self, b_tag: str, *, to_several: bool = False) -> str:
        """What to offer a callee. Nothing of what it sends is heard before `early` or `bridge`.

        b_tag: a new name for each attempt, shared by all forks of its INVITE. to_several: whether it is known to fork.
        """
        async with self._turn:
            # All parties: RTPengine 12 knows no tag of a callee before its answer. Sounds still play and
            # digits still come. Before the offer, since it also tells whether the call is known (see `_exchange`).
            await self._command("block media")
            if self._caller.is_to_be_learned:
                await self._ask_sources()
            leg = Party(b_tag, self._caller.our_address)
            leg.is_one_of_forks = to_several
            try:
                leg.learn(await self._offer(self._caller, b_tag, self._caller.agreed, _TRANSCODED))
            except MediaRefused:
                await self._command("unblock media")  # tones of the caller would not be digits
                raise
            self._legs[b_tag] = leg
            return leg.describe()

    async def early(self, b_tag: str, answer: str) -> None:
        """Let the caller hear the callee before it has answered (A12). A sound stops. Call it again for each fork."""
        await self.bridge(b_tag, answer)

    async def bridge(self, b_tag: str, answer: str, *, signalled_from: str = "") -> None:
        """Connect caller and callee in both directions; a sound stops.

        answer: the callee's answer to `offer_leg`, of the fork that is to be heard. signalled_from: the IP address that
        its SIP comes from; empty where it is not known.
        """
        audio = self._audio_in(answer)
        async with self._turn:
            leg = self._leg(b_tag)
            if audio.line.hears:
                leg.check_family(family_of(audio.line.address), self._ng.has)
            leg.signalled_from = signalled_from
            if leg.audio is None:
                await self._answer(self._caller.tag, b_tag, _described(leg, audio))
            elif audio != leg.audio:  # another fork: RTPengine takes a new codec only from an offer
                leg.is_one_of_forks = True
                await self._exchange(leg, audio)
            leg.audio = audio
            await self._stop()
            if self._peer is not leg:
                await self._command("unblock media")
                self._peer = leg

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
            if not is_first:
                await self._command("delete", fields)
            if not was_heard:
                await self._command("unblock media")
            if is_first:
                await self._command("block media", {"from-tag": b_tag, "flags": ("directional",)})

    async def promote(self, b_tag: str) -> str:
        """The answered callee takes the caller's place, and the caller a leg's. Returns the caller's tag.

        What sounds are played to and whom `offer_leg` offers is the new caller.
        """
        async with self._turn:
            leg, before = self._leg(b_tag), self._caller
            del self._legs[b_tag]
            self._caller, self._peer, self._legs[before.tag] = leg, before, before
            return before.tag

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
        await self.reoffer_leg(b_tag, answer)

    def _leg(self, b_tag: str) -> Party:
        if b_tag not in self._legs:
            raise MediaRefused(f"no leg {b_tag}")
        return self._legs[b_tag]

    # -- descriptions

    def _audio_in(self, description: str) -> sdp.Audio:
        """What a party says. If Kamailio has anchored it, it is at an RTPengine of ours (`kemi.anchor`)."""
        return sdp.find_audio(sdp.parse(description)).at(self._inner)

    async def _answer_caller(self, audio: sdp.Audio) -> str:
        caller = self._caller
        if audio.line.hears:
            caller.check_family(family_of(audio.line.address), self._ng.has)
        audio, before = audio.keeping(caller.audio), caller.audio
        await self._exchange(caller, audio)
        caller.audio = audio
        await self._detect_inband()
        if before and not before.codec.same_packets(audio.codec):
            await self._restart_sound()
        return caller.describe(audio.line.answer_direction)

    async def _exchange(self, party: Party, audio: sdp.Audio) -> None:
        """Offer the party's description to whom it talks to, and take that one's answer for it."""
        if self._caller.audio is not None:
            # If RTPengine has forgotten the call, an offer would make a new one, on other ports. So we ask first.
            await self._ask_sources()
        other = self._caller if party is not self._caller else self._peer
        if other is None:
            party.learn(await self._exchange_with_ivr(audio))
        elif other is self._caller and audio.events is None and other.agreed.events is not None:
            # As if the caller had offered, and this one answered: only so does it get tones for the caller's digits.
            party.learn(await self._offer(other, party.tag, other.agreed, (audio.codec.name,)))
            await self._answer(other.tag, party.tag, _described(party, audio))
        else:
            await self._offer(party, other.tag, audio, (other.agreed.codec.name,))
            party.learn(await self._answer(party.tag, other.tag, _described(other, other.agreed)))

    async def _exchange_with_ivr(self, audio: sdp.Audio) -> str:
        await self._offer(self._caller, IVR_TAG, audio)
        ours = sdp.describe(audio.answer_formats, _IVR_ADDRESS[family_of(audio.line.address)], _IVR_PORT)
        return await self._answer(self._caller.tag, IVR_TAG, {"sdp": ours, **_IVR_IS_THERE})

    async def _settle_caller(self) -> None:
        """Tell RTPengine where the caller is, once its first packet has shown it.

        Each `play media` makes RTPengine take up what it was told last, and learn again where it was told to learn.
        """
        if self._caller.is_to_be_learned:
            await self._ask_sources()
            if not self._caller.is_to_be_learned and self._peer is None:
                await self._exchange_with_ivr(self._caller.agreed)

    async def _ask_sources(self) -> None:
        """Ask where the parties' packets come from. Raises MediaLost if RTPengine has forgotten the call."""
        tags = (await self._command("query", {"from-tag": self._caller.tag})).get("tags")
        for party in (self._caller, self._peer):
            if party is not None and party.is_to_be_learned and (source := _source(tags, party.tag)):
                party.learned_from(*source)

    async def _offer(self, party: Party, to_tag: str, audio: sdp.Audio, transcoded: Iterable[str] = ()) -> str:
        fields = {**self._between(party.tag, to_tag), **_described(party, audio)}
        fields["transport-protocol"] = self._protocol_of(to_tag)
        if transcoded:
            # If the other one takes no events, it gets tones for digits. Not events that it has not agreed to.
            fields["codec"] = {"transcode": transcoded, "accept": (sdp.TELEPHONE_EVENT,)}
        return _written(await self._command("offer", fields))

    async def _answer(self, from_tag: str, to_tag: str, description: dict[str, Any]) -> str:
        return _written(await self._command("answer", {**self._between(from_tag, to_tag), **description}))

    def _between(self, from_tag: str, to_tag: str) -> dict[str, Any]:
        """The keys of an offer and of its answer. The caller's offers name the branch too: the one who is offered has
        its tag from the answer on only."""
        fields: dict[str, Any] = {"from-tag": from_tag, "to-tag": to_tag}
        return fields | {"via-branch": to_tag} if from_tag == self._caller.tag else fields

    def _protocol_of(self, tag: str) -> str:
        """Keys in SDP or none at all towards a new callee and the IVR; who has described itself keeps what it said."""
        party = self._caller if tag == self._caller.tag else self._legs.get(tag)
        return "RTP/AVP" if party is None or party.audio is None else party.audio.line.protocol

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
        if self._sound is None:
            return
        self._sound = self._sound_ends_at = None
        await self._command("stop media", {"from-tag": self._caller.tag})

    async def _restart_sound(self) -> None:
        """RTPengine's player does not change the codec that it has started with."""
        if self._sound and self._sound_ends_at and asyncio.get_running_loop().time() < self._sound_ends_at:
            await self._play(*self._sound)

    async def _detect_inband(self) -> None:
        if self.detects_inband or self._caller.agreed.events is not None:
            return
        fields = {"from-tag": self._caller.tag, "flags": ("detect-DTMF", "directional"), "delay-buffer": 0}
        await self._command("unblock DTMF", fields)
        self.detects_inband = True

    # -- RTPengine

    async def _command(self, command: str, fields: dict[str, Any] | None = None) -> Reply:
        fields = fields or {}
        if self._over:
            raise MediaLost(f"{command}: the call's media was deleted")
        if "sdp" in fields:
            fields["ICE"], fields["SDES"] = "remove", _KEYS
        try:
            return await self._ng.command(command, fields)
        except NgUnknownCall as failure:
            raise MediaLost(str(failure)) from failure
        except NgOverloaded as failure:
            raise MediaUnavailable(str(failure)) from failure
        except NgError as failure:
            raise MediaRefused(str(failure)) from failure
        except NgFailure as failure:
            raise MediaUnavailable(str(failure)) from failure


def _written(reply: Reply) -> str:
    """The description that RTPengine wrote, for the other party than the one the command described."""
    return str(reply.get("sdp", ""))


def _described(party: Party, audio: sdp.Audio) -> dict[str, Any]:
    """The keys that tell RTPengine about a party, and where its packets come from: others are dropped.

    On hold its address is nowhere, and nothing can be dropped: music on hold and digits still come.
    """
    if not audio.line.hears:
        return {"sdp": sdp.describe_party(audio), "endpoint-learning": ("off",), "flags": _PORT_STAYS}
    source = party.source_of(audio.line)
    return {
        "sdp": sdp.describe_party(audio, source.address, source.port),
        "endpoint-learning": ("off" if source.is_known else "immediate",),
        "flags": (*_PORT_STAYS, *_STRICT),
    }


def _source(tags: Any, tag: str) -> tuple[str, int] | None:
    """Where a party's packets come from, in the reply to a `query`. None before the first one."""
    try:
        stream = tags[tag]["medias"][0]["streams"][0]
        if not stream["stats"]["packets"]:
            return None
        return str(stream["endpoint"]["address"]), int(stream["endpoint"]["port"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
