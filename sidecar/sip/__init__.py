"""A SIP user agent for the far side of one record-routing proxy: sans-IO, both UAS and UAC.

`UserAgent` and everything below it never touch a socket or a clock; `transport.Transport` is the only module that does.

    def on_invite(leg: UasLeg, invite: IncomingInvite) -> None:
        leg.listener = events.append              # called with each event, in order
        leg.answer(sdp_for(invite.sdp))           # or ringing / progress / reject / redirect, now or later

    transport = await Transport.open(Address("127.0.0.1", 5070), on_invite, UaConfig())
    agent = transport.agent
    b_leg = agent.invite("sip:306@127.0.0.1:5060", sdp, listener, headers=[("X-CI-Transfer", "...")])
    b_leg.cancel()
    ...
    transport.close()

The call as the transaction user sees it
- UAS: `leg.ringing() / progress(sdp) / answer(sdp) / reject(status) / redirect(contacts)`, then
  `Acked`, or `Cancelled` when the caller gives up first.
- UAC: `Progressed`* then `Answered` or `Rejected`; `leg.cancel()`.
- Both, once answered: `leg.bye()`, `leg.reinvite(sdp)`, `leg.update(sdp)`, `leg.info(type, body)`;
  `ReOffered`, `ReAnswered`, `DigitReceived`, `Ended`.
- Doing something to a leg that has ended does nothing (its last event may have crossed the caller's await); doing what
  a live leg's state forbids raises `LegStateError`.
- Extra headers are (name, value) pairs, sent as they are; CR or LF in one raises ValueError.

The user agent does by itself: retransmission, ACK, PRACK, 100, 487, glare, session refresh, OPTIONS, and every refusal
that the RFCs prescribe. Everything it drops is logged at debug with the reason.
"""

from callinteractive.model import Address
from sidecar.sip.agent import Counters, UserAgent, Wire
from sidecar.sip.config import UaConfig
from sidecar.sip.errors import LegStateError, MalformedError, SipError
from sidecar.sip.events import (
    Acked,
    Answered,
    Cancelled,
    DigitReceived,
    Ended,
    EndReason,
    Event,
    Listener,
    Pracked,
    Progressed,
    ReAnswered,
    Rejected,
    ReOffered,
    ReOfferRejected,
    Responder,
)
from sidecar.sip.info import dtmf_relay
from sidecar.sip.leg import Leg
from sidecar.sip.message import Headers, Request, Response
from sidecar.sip.transport import Transport
from sidecar.sip.uac import UacLeg
from sidecar.sip.uas import IncomingInvite, UasLeg

__all__ = [
    "Acked", "Address", "Answered", "Cancelled", "Counters", "DigitReceived", "EndReason", "Ended", "Event",
    "Headers", "IncomingInvite", "Leg", "LegStateError", "Listener", "MalformedError", "Pracked", "Progressed",
    "ReAnswered", "ReOfferRejected", "ReOffered", "Rejected", "Request", "Responder", "Response", "SipError",
    "Transport", "UaConfig", "UacLeg", "UasLeg", "UserAgent", "Wire", "dtmf_relay",
]
