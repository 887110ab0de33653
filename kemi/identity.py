"""The caller that a callee sees (A5): From, P-Asserted-Identity (RFC 3325), Remote-Party-ID, Privacy (RFC 3323)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from callinteractive.identity import Identity
from callinteractive.model import IdentityHeader
from kemi import ksr
from kemi.ksr import From, Route

_SAID_BEFORE = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Privacy")
_TO = "ci_to"
ANONYMOUS = From('"Anonymous"', "sip:anonymous@anonymous.invalid")


@dataclass(frozen=True, slots=True)
class PresentedIdentity:
    """What one branch tells of the caller: its From, None for that of the INVITE as it came, and header lines."""

    from_: From | None
    lines: str


def present(
    caller: Identity, host: str, told_in: Collection[IdentityHeader], *, keeps_from: bool = False
) -> PresentedIdentity:
    """What a peer sees that looks for the caller's number in the headers `told_in`; `host` is for the URIs.

    `keeps_from`: From is the caller's own already, and stays where the peer may see it.
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
    """Take out of the INVITE at hand what its sender said of itself beside From."""
    for name in _SAID_BEFORE:
        ksr.remove_header(name)


def keep_callee_s_view() -> None:
    """In-dialog: see to it that a callee who sends a request is answered with the To that it wrote.

    uac puts the sender's own From into a callee's To, and leaves it in the reply.
    """
    if ksr.is_kept_dialog():  # only those whose From was replaced are
        ksr.remember(_TO, ksr.header("To"))
        ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def on_in_dialog_reply() -> None:
    to = ksr.recall(_TO)
    if to and ksr.header("To") != to:
        ksr.replace_header("To", to)
