"""The caller that a callee sees (A5): From, P-Asserted-Identity (RFC 3325), Remote-Party-ID, Privacy (RFC 3323)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from callinteractive.identity import Identity
from callinteractive.model import IdentityHeader
from kemi import ksr
from kemi.ksr import From, Route
from kemi.transaction import transaction

_CLAIMS = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Privacy")
ANONYMOUS = From('"Anonymous"', "sip:anonymous@anonymous.invalid")


@dataclass(frozen=True, slots=True)
class PresentedIdentity:
    """How one branch presents the caller. `from_`: its From, None for the INVITE's own. `lines`: header lines."""

    from_: From | None
    lines: str


def present(
    caller: Identity, host: str, told_in: Collection[IdentityHeader], *, keeps_from: bool = False
) -> PresentedIdentity:
    """What a peer sees that looks for the caller's number in the headers `told_in`. `host` is for the URIs.

    `keeps_from`: From is the caller's own already. It stays where the peer may see it.
    """
    if caller.is_anonymous:
        return PresentedIdentity(ANONYMOUS, "Privacy: id\r\n")
    uri = f"sip:{caller.user}@{host}"
    address = f"{caller.display_name} <{uri}>".lstrip()
    lines = f"P-Asserted-Identity: {address}\r\n" if "pai" in told_in else ""
    if "rpid" in told_in:
        lines += f"Remote-Party-ID: {address};party=calling;privacy=off;screen=yes\r\n"
    if "from" not in told_in:
        return PresentedIdentity(ANONYMOUS, lines)
    return PresentedIdentity(None if keeps_from else From(caller.display_name, uri), lines)


def remove_claims() -> None:
    """Remove from the INVITE at hand what its sender said of itself beside From."""
    for name in _CLAIMS:
        ksr.remove_header(name)


def keep_callee_s_view() -> None:
    """In-dialog: if a callee sends the request, its reply must have the To that the callee wrote.

    uac puts the sender's own From into a callee's To, and leaves it in the reply.
    """
    if ksr.is_kept_dialog():  # only dialogs whose From was replaced are kept
        transaction.callee_to = ksr.header("To")
        ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def on_in_dialog_reply() -> None:
    to = transaction.callee_to
    if to and ksr.header("To") != to:
        ksr.replace_header("To", to)
