"""An INVITE that we send again with credentials has a higher CSeq (RFC 3261 22.2), which its caller does not know.

So in that dialog the callee knows the caller's CSeq higher than the caller does. We add the difference to all that the
caller's side sends and take it off the replies. The dialog's Route says how much (`kemi.record_route`): so nothing is
kept here.
"""

from __future__ import annotations

from kemi import ksr
from kemi.ksr import Route
from kemi.transaction import transaction

_LONGEST = 100


def shift(by: int) -> None:
    """Change the CSeq of the message at hand; of a request also the INVITE that its RAck names (RFC 3262 7.2)."""
    number, method = _words("CSeq", 2)
    if number.isdecimal():
        ksr.replace_header("CSeq", f"{max(int(number) + by, 0)} {method}")
    if method == "PRACK" and by > 0:
        reliable, invite, what = _words("RAck", 3)
        if invite.isdecimal():
            ksr.replace_header("RAck", f"{reliable} {int(invite) + by} {what}")


def _words(header: str, count: int) -> list[str]:
    """Of a header, between any blanks and tabs (RFC 3261 25.1 LWS); empty ones where there are not so many."""
    words = ksr.header(header)[:_LONGEST].split(None, count - 1)
    return [*words, *[""] * count][:count]


def on_in_dialog_request(by: int) -> None:
    """A request of the caller's side."""
    shift(by)
    if ksr.method() != "ACK":
        transaction.cseq_shift = by
        ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def on_in_dialog_reply() -> None:
    if by := transaction.cseq_shift:
        shift(-by)
