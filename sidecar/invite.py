"""What an INVITE from Kamailio says of its call, beside its facts and where it enters."""

from __future__ import annotations

from callinteractive.headers import GenerationHeader, ResultHeader, StateHeader
from sidecar import sip
from sidecar.call.call import Resumption


def generation_in(invite: sip.IncomingInvite) -> str:
    """The name of the ivr.yaml that the call began with; empty from an older Kamailio. Raises HeaderError."""
    named = invite.header(GenerationHeader.NAME)
    return "" if named is None else GenerationHeader.parse(named).name


def resumption_in(invite: sip.IncomingInvite) -> Resumption | None:
    """The script of another sidecar that this INVITE brings, if any. Raises HeaderError."""
    state = invite.header(StateHeader.NAME)
    if state is None:
        return None
    result = invite.header(ResultHeader.NAME)
    return Resumption(StateHeader.parse(state), None if result is None else ResultHeader.parse(result))
