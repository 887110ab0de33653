"""A call that we make: whoever answers enters an IVR, as a caller does (docs/api.md).

It is one INVITE to Kamailio, as a transfer is. The caller's side of such a call is the one whom we have called.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from callinteractive.commands import Transfer
from callinteractive.facts import CallFacts, facts_of_outgoing_call
from callinteractive.headers import AnsweredHeader, CallHeader
from callinteractive.identity import Identity
from callinteractive.model import Address, Ivr
from callinteractive.script import CallScript
from sidecar import sip
from sidecar.call.call import Call, observer
from sidecar.call.callee import EDGE_SILENT_S, is_unreachable, presented, transfer_headers
from sidecar.call.caller import Caller, drop
from sidecar.call.services import Services
from sidecar.call.steered import SteeredCall
from sidecar.call.telling import Telling
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaUnavailable

MAX_FORWARDS = 70
"""Of a request that begins here (RFC 3261 8.1.1.6)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody from outside wants. `ivr`: whose script it is; `timeout_s` None is the system timeout (A11)."""

    number: str
    ivr: Ivr
    context: str
    option: str
    caller_number: str
    caller_name: str
    timeout_s: int | None
    variables: Mapping[str, str]


class DialledParty(Caller):
    """Whom we have called. `decided` is done when they have answered, or have not (`is_over`)."""

    __slots__ = ("_other_ways", "_send", "decided")

    def __init__(
        self,
        facts: CallFacts,
        ways: tuple[Address, ...],
        send: Callable[[Address, bool], sip.UacLeg],
        telling: Telling,
    ) -> None:
        """ways: edges, at least one; the best first. send: sends the INVITE there; whether others are left, as well."""
        self._send = send
        self._other_ways = ways[1:]
        self.decided: asyncio.Future[sip.Answered | sip.Rejected] = asyncio.get_running_loop().create_future()
        leg = send(ways[0], bool(self._other_ways))
        super().__init__(leg, facts, MAX_FORWARDS, "", ways[0], telling)
        self._watch(leg)

    def end(self, code: int, by: str = "system") -> None:
        """Hang up, or stop ringing (RFC 3261 9.1)."""
        if not self.is_over and not self.leg.answered:
            self.leg.bye()
        super().end(code, by)

    def _on_event(self, event: sip.Event) -> None:
        if self.decided.done():
            super()._on_event(event)
        elif isinstance(event, sip.Answered):
            self.decided.set_result(event)
        elif isinstance(event, sip.Rejected):
            if self._other_ways and is_unreachable(event):
                self._go_round("nobody listens there")
            else:
                self.is_over, self.ended_by, self.code = True, "callee", event.status
                self.story.cause = event.reason[:80]
                self.decided.set_result(event)
        else:
            drop(event)

    def _watch(self, leg: sip.UacLeg) -> None:
        if self._other_ways:
            asyncio.get_running_loop().call_later(EDGE_SILENT_S, self._on_silence, leg)

    def _on_silence(self, leg: sip.UacLeg) -> None:
        if leg is self.leg and not leg.is_heard and not self.is_over:
            self._go_round("silent")
            leg.cancel()  # should it answer after all (RFC 3261 9.1)

    def _go_round(self, why: str) -> None:
        """The edge is dead: send the INVITE by another one (RFC 3263 4.3)."""
        self.edge, self._other_ways = self._other_ways[0], self._other_ways[1:]
        self.log.warning("edge does not answer, trying the next", why=why, next=str(self.edge))
        leg = self._send(self.edge, bool(self._other_ways))
        self.story.summary.who["sip_call_id"] = leg.call_id
        self.take(leg)
        self._watch(leg)


class OutgoingCall(Call):
    """A call that we make. Its script begins when it is answered."""

    def __init__(self, services: Services, order: Order, party: DialledParty, media: CallMedia) -> None:
        self._services = services
        self._caller = self._party = party
        facts = party.facts
        self.key = services.media_prefix + facts.call_id
        entry = {"context": order.context, "option": order.option}
        self._script = CallScript(services.ivr_file, order.ivr, facts, **entry, observe=observer(services, party))
        for name, value in order.variables.items():
            self._script.set_variable(name, value)
        self._answered = SteeredCall(services, party, self._script, media)

    @property
    def state(self) -> str:
        return super().state if self._party.decided.done() else "dialling"

    async def _carry_out(self) -> None:
        party, answered = self._party, self._answered
        assert answered is not None
        who = party.facts.shown() | {"sip_call_id": party.leg.call_id}
        party.story.tell("call.started", ivr=party.facts.called_extension, **who)
        party.log.info(
            "call",
            caller=party.facts.caller_number,
            called=party.facts.called_number,
            flow="out",
            sip_call_id=party.leg.call_id,
        )
        outcome = await party.decided
        if isinstance(outcome, sip.Rejected):
            party.log.info("not answered", code=outcome.status, reason=outcome.reason[:80])
            return
        said = outcome.response and outcome.response.header(AnsweredHeader.NAME)
        await answered.connect(outcome.sdp, AnsweredHeader.parse(said) if said else None)
        await answered.follow(self._script.start(time.time()))


async def dial(services: Services, node: int, order: Order) -> OutgoingCall:
    """Send the INVITE. Start the call at once. Raises MediaError."""
    facts = facts_of_outgoing_call(
        secrets.token_hex(16), node, order.ivr, order.number, name=order.caller_name, caller=order.caller_number
    )
    media = CallMedia(services.engines, services.media_prefix + facts.call_id)
    telling = Telling(services.stories.begin(facts))
    try:
        offer = await media.offer()
        if services.agent.draining:
            raise MediaUnavailable("this sidecar stops")
        plan = Transfer((order.number,), order.timeout_s, False, True, order.caller_name, order.caller_number)
        ways = services.edges.living()
        send = partial(
            services.agent.invite,
            sdp=offer.encode(),
            from_=presented(Identity.of(order.caller_name, order.caller_number), ways[0].uri_host),
            headers=[(CallHeader.NAME, str(CallHeader(facts))), *transfer_headers(plan)],
            max_forwards=MAX_FORWARDS,
            rings_s=order.timeout_s or services.defaults.transfer_timeout_s,
        )
        party = DialledParty(facts, ways, lambda way, more: send(f"sip:transfer@{way}", gives_way=more), telling)
        return OutgoingCall(services, order, party, media)
    except BaseException:
        services.stories.forget(telling.story)
        await media.delete()
        raise
