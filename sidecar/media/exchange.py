"""The commands by which RTPengine learns what the parties of a call say, and what they are told in return."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from callinteractive.fleet import family_of
from sidecar.media import sdp
from sidecar.media.counters import counted
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.errors import MediaError, MediaFull, MediaLost, MediaRefused, MediaUnavailable
from sidecar.media.ivr import AROUND_SDP, IVR_IS_THERE, IVR_TAG, PORT_STAYS, STRICT, ivr_described
from sidecar.media.media_state import MediaState
from sidecar.media.ng_command import Reply
from sidecar.media.ng_failures import NgError, NgFailure, NgOverloaded, NgUnknownCall
from sidecar.media.party import Party

TRANSCODED = ("PCMU", "PCMA")  # offered to every callee besides the caller's own codec: each phone has one

# Of the IVR: nobody sends there, so RTPengine needs no other one for RTCP. The caller keeps what it would have got.
_ONE_PORT = ("require", "reject")


class Exchanges(MediaState):
    """Offers and answers, and the errors of RTPengine's commands."""

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
            await self._answer(other.tag, party.tag, described(party, audio))
        else:
            await self._offer(party, other.tag, audio, (other.agreed.codec.name,))
            party.learn(await self._answer(party.tag, other.tag, described(other, other.agreed)))

    async def _exchange_with_ivr(self, audio: sdp.Audio) -> str:
        """At once where the call begins: what we answer does not depend on what RTPengine makes of the offer."""
        offer = self._offering(self._caller, IVR_TAG, audio)
        offer[1].update({"rtcp-mux": _ONE_PORT, **self._label()})
        ours = ivr_described(audio.answer_formats, family_of(audio.line.address))
        answer = self._answering(self._caller.tag, IVR_TAG, {"sdp": ours, **IVR_IS_THERE})
        if not self._ng.is_settled:
            return written((await self._commands(offer, answer))[1])
        await self._command(*offer)
        return written(await self._command(*answer))

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

    async def counters(self) -> list[dict[str, Any]]:
        """How much each party has sent so far (`counted`); empty where no RTPengine has the call. Changes nothing.

        Raises MediaError.
        """
        if self._over or not self._ng.is_settled:
            return []
        tags = (await self._command("query", {"from-tag": self._caller.tag})).get("tags")
        return counted(tags, self._who())

    def totals(self) -> list[dict[str, Any]]:
        """The same of a call whose media was deleted."""
        return counted(self._last.get("tags"), self._who())

    def _who(self) -> list[tuple[str, str]]:
        return [(self._caller.tag, "caller"), *([(self._peer.tag, "callee")] if self._peer else [])]

    async def _offer(self, party: Party, to_tag: str, audio: sdp.Audio, transcoded: Iterable[str] = ()) -> str:
        return written(await self._command(*self._offering(party, to_tag, audio, transcoded)))

    def _offering(
        self, party: Party, to_tag: str, audio: sdp.Audio, transcoded: Iterable[str] = ()
    ) -> tuple[str, dict[str, Any]]:
        fields = {**self._between(party.tag, to_tag), **described(party, audio)}
        fields["transport-protocol"] = self._protocol_of(to_tag)
        if transcoded:
            # If the other one takes no events, it gets tones for digits. Not events that it has not agreed to.
            fields["codec"] = {"transcode": transcoded, "accept": (sdp.TELEPHONE_EVENT,)}
        return "offer", fields

    async def _answer(self, from_tag: str, to_tag: str, description: dict[str, Any]) -> str:
        return written(await self._command(*self._answering(from_tag, to_tag, description)))

    def _answering(self, from_tag: str, to_tag: str, description: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "answer", {**self._between(from_tag, to_tag), **description}

    def _between(self, from_tag: str, to_tag: str) -> dict[str, Any]:
        """The keys of an offer and of its answer. The caller's offers name the branch too: the one who is offered has
        its tag from the answer on only."""
        fields: dict[str, Any] = {"from-tag": from_tag, "to-tag": to_tag}
        return fields | {"via-branch": to_tag} if from_tag == self._caller.tag else fields

    def _protocol_of(self, tag: str) -> str:
        """Keys in SDP or none at all towards a new callee and the IVR; who has described itself keeps what it said."""
        party = self._caller if tag == self._caller.tag else self._legs.get(tag)
        return "RTP/AVP" if party is None or party.audio is None else party.audio.line.protocol

    async def _detect_inband(self) -> None:
        if self.detects_inband or self._caller.agreed.events is not None:
            return
        fields = {"from-tag": self._caller.tag, "flags": ("detect-DTMF", "directional"), "delay-buffer": 0}
        await self._command("unblock DTMF", fields)
        self.detects_inband = True

    async def _command(self, command: str, fields: dict[str, Any] | None = None) -> Reply:
        return (await self._commands((command, fields or {})))[0]

    async def _commands(self, *commands: tuple[str, dict[str, Any]]) -> list[Reply]:
        """Several at once, which RTPengine may carry out in any order (`EngineCall.commands`).

        A caller of whom it was not told yet comes first; with no commands that is all.
        """
        if self._over:
            raise MediaLost("the call's media was deleted")
        for _, fields in commands:
            if "sdp" in fields:
                fields.update(AROUND_SDP)
        try:
            if self._ng.is_untold:
                await self._ng.introduce(self._caller_answers(self._caller.agreed))
            if not commands:
                return []
            return await self._ng.commands(commands)
        except NgFailure as failure:
            raise _as_media_error(failure) from failure

    def _takes_ready(self, audio: sdp.Audio) -> bool:
        """Whether the caller gets a session that was made in advance. Not one who wants more than plain RTP, or of whom
        it is not known where its packets come from: somebody else may have had that port."""
        line = audio.line
        is_plain = line.protocol == "RTP/AVP" and not line.rtcp_mux and line.hears and audio.events is not None
        if not is_plain or self._over or not self._caller.source_of(line)[2]:
            return False
        session = self._ng.take_ready((audio.answer_formats, family_of(line.address)))
        if session is None:
            return False
        self._caller.learn(session.written)
        return True

    def _caller_answers(self, audio: sdp.Audio) -> tuple[str, dict[str, Any]]:
        """What tells RTPengine of the caller, where the IVR has made the offer."""
        description = described(self._caller, audio)
        return "answer", {"from-tag": IVR_TAG, "to-tag": CALLER_TAG, **self._label(), **description, **AROUND_SDP}

    def _label(self) -> dict[str, str]:
        """What tells `purge` whose session this is, where its name does not."""
        return {} if self._ng.name == self.media_id else {"label": self.media_id}


def _as_media_error(failure: NgFailure) -> MediaError:
    reason = str(failure)
    if isinstance(failure, NgUnknownCall):
        return MediaLost(reason)
    if isinstance(failure, NgOverloaded):
        return MediaFull(reason)
    return MediaRefused(reason) if isinstance(failure, NgError) else MediaUnavailable(reason)


def written(reply: Reply) -> str:
    """The description that RTPengine wrote, for the other party than the one the command described."""
    return str(reply.get("sdp", ""))


def described(party: Party, audio: sdp.Audio) -> dict[str, Any]:
    """The keys that tell RTPengine about a party, and where its packets come from: others are dropped.

    On hold its address is nowhere, and nothing can be dropped: music on hold and digits still come.
    """
    if not audio.line.hears:
        return {"sdp": sdp.describe_party(audio), "endpoint-learning": ("off",), "flags": PORT_STAYS}
    address, port, is_known = party.source_of(audio.line)
    return {
        "sdp": sdp.describe_party(audio, address, port),
        "endpoint-learning": ("off" if is_known else "immediate",),
        "flags": (*PORT_STAYS, *STRICT),
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


def port_of(tags: Any, tag: str) -> int | None:
    """Our port for a party, in the reply to a `query`. None if it is not told."""
    try:
        return int(tags[tag]["medias"][0]["streams"][0]["local port"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
