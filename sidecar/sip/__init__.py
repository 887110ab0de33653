"""A SIP user agent behind one record-routing proxy: sans-IO, both UAS and UAC.

Its folders are RFC 3261's layers. Each imports only those above it in this list; a test enforces it.

    config, errors     used by all
    message/           messages: grammar, parsing, encoding, what makes one well-formed
    transaction/       transactions as tables; timers
    dialog/            dialogs, and the session within each: offers, ACK, BYE, INFO, session timer
    agent/             the user agent and its call legs
    transport          the only socket and the only clock

`UserAgent` and everything below it touch no socket and no clock.

    def on_invite(leg: UasLeg, invite: IncomingInvite) -> None:
        leg.listener = events.append              # called with each event, in order
        leg.answer(sdp_for(invite.sdp))           # or reject / redirect, now or later

    transport = await Transport.open(Address("127.0.0.1", 5070), on_invite, UaConfig())
    agent = transport.agent
    b_leg = agent.invite("sip:306@127.0.0.1:5060", sdp, listener, headers=[("X-CI-Transfer", "...")])
    b_leg.cancel()
    ...
    transport.close()

The call as the transaction user sees it
- UAS: `leg.answer(sdp) / reject(status) / redirect(contacts)`, then `Acked`; or `Cancelled` by the caller.
- UAC: any number of `Progressed`, then `Answered` or `Rejected`; `leg.cancel()`.
- Both, once answered: `leg.bye()`, `leg.reinvite(sdp)`, `leg.info(type, body)`;
  `ReOffered`, `ReAnswered`, `ReOfferRejected`, `DigitReceived`, `Referred`, `Ended`.
- An answered leg, or a UAC leg that rings, can be written down (`leg.to_dict()`) and taken over by another process
  (`agent.adopt(data)`). The process before drops it (`leg.forget()`), if it is still there.
- Actions on a leg that has ended do nothing: its last event may have crossed the caller's await. Actions that the state
  of a live leg forbids raise `LegStateError`.
- Extra headers are (name, value) pairs, sent as they are; CR, LF or NUL in one raises ValueError.

The user agent does by itself: retransmission, ACK, 100, 487, PRACK for a callee's reliable provisional responses,
glare, session refresh, OPTIONS, and every refusal that the RFCs prescribe. What it drops is logged at debug with the
reason.
"""

from callinteractive.model import Address
from sidecar.sip.agent.leg import Leg
from sidecar.sip.agent.uac import UacLeg
from sidecar.sip.agent.uas import IncomingInvite, UasLeg
from sidecar.sip.agent.user_agent import Counters, UserAgent
from sidecar.sip.config import UaConfig
from sidecar.sip.dialog.core import Guard, Wire
from sidecar.sip.dialog.events import (
    Acked,
    Answered,
    Cancelled,
    DigitReceived,
    Ended,
    EndReason,
    Event,
    Listener,
    Progressed,
    ReAnswered,
    ReferralResponder,
    ReferralSubscription,
    Referred,
    Rejected,
    ReOffered,
    ReOfferRejected,
    Responder,
)
from sidecar.sip.dialog.info import dtmf_relay
from sidecar.sip.dialog.refer import Subscription
from sidecar.sip.dialog.refusal_log import RefusalLog
from sidecar.sip.errors import LegStateError, MalformedError, SipError
from sidecar.sip.message.message import Headers, Request, Response
from sidecar.sip.transport import Sighting, Transport

__all__ = [
    "Acked",
    "Address",
    "Answered",
    "Cancelled",
    "Counters",
    "DigitReceived",
    "EndReason",
    "Ended",
    "Event",
    "Guard",
    "Headers",
    "IncomingInvite",
    "Leg",
    "LegStateError",
    "Listener",
    "MalformedError",
    "Progressed",
    "ReAnswered",
    "ReOfferRejected",
    "ReOffered",
    "ReferralResponder",
    "ReferralSubscription",
    "Referred",
    "RefusalLog",
    "Rejected",
    "Request",
    "Responder",
    "Response",
    "Sighting",
    "SipError",
    "Subscription",
    "Transport",
    "UaConfig",
    "UacLeg",
    "UasLeg",
    "UserAgent",
    "Wire",
    "dtmf_relay",
]
