"""What an INVITE from Kamailio says of its call, beside its facts and where it enters."""

from __future__ import annotations

from contextlib import suppress

from callinteractive.errors import HeaderError
from callinteractive.headers import (
    AttemptHeader,
    CallHeader,
    EntryHeader,
    GenerationHeader,
    ResultHeader,
    StateHeader,
)
from callinteractive.remember import remember
from sidecar import sip
from sidecar.call.call import Resumption
from sidecar.story import Stories

_entry = remember(1024)(EntryHeader.parse)
"""All calls of an IVR enter it alike."""
_generation = remember(64)(GenerationHeader.parse)


def entry_in(invite: sip.IncomingInvite) -> EntryHeader:
    """Where the call enters its IVR. Raises HeaderError."""
    return _entry(invite.header(EntryHeader.NAME) or "")


def attempt_in(invite: sip.IncomingInvite) -> int:
    """The number of the INVITE's branch that has come here. Raises HeaderError."""
    said = invite.header(AttemptHeader.NAME)
    return 0 if said is None else AttemptHeader.parse(said).before


def generation_in(invite: sip.IncomingInvite) -> str:
    """The name of the ivr.yaml that the call began with; empty from an older Kamailio. Raises HeaderError."""
    named = invite.header(GenerationHeader.NAME)
    return "" if named is None else _generation(named).name


def resumption_in(invite: sip.IncomingInvite) -> Resumption | None:
    """The script of another sidecar that this INVITE brings, if any. Raises HeaderError."""
    state = invite.header(StateHeader.NAME)
    if state is None:
        return None
    result = invite.header(ResultHeader.NAME)
    return Resumption(StateHeader.parse(state), None if result is None else ResultHeader.parse(result))


def tell_refused(stories: Stories, invite: sip.IncomingInvite, code: int, cause: str) -> None:
    """A call is refused, and Kamailio asks no other sidecar then: its end is ours to tell, if it is known (E1)."""
    try:
        facts = CallHeader.parse(invite.header(CallHeader.NAME) or "").facts
    except HeaderError:
        return
    comes_back = None
    with suppress(HeaderError):
        comes_back = resumption_in(invite)
    story = stories.begin(facts, comes_back.state.story if comes_back else "")
    if comes_back is None:
        story.tell("call.started", ivr=facts.called_extension, **facts.shown())
    story.tell("call.ended", by="system", code=code, cause=cause)
