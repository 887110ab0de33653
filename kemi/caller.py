"""The caller that a callee sees (A5): From, P-Asserted-Identity (RFC 3325), Privacy (RFC 3323)."""

from __future__ import annotations

from callinteractive.headers import CallerHeader
from callinteractive.identity import Identity
from kemi import ksr
from kemi.ksr import Route

_SAID_BEFORE = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Privacy")
_TO = "ci_to"
ANONYMOUS_NAME = '"Anonymous"'
ANONYMOUS_URI = "sip:anonymous@anonymous.invalid"


def show(caller: CallerHeader) -> None:
    """Write `caller` into the INVITE at hand, instead of what its sender said of itself."""
    for name in _SAID_BEFORE:
        ksr.remove_header(name)
    identity = Identity.of(caller.name, caller.number)
    if identity.is_anonymous:
        ksr.replace_from(ANONYMOUS_NAME, ANONYMOUS_URI)
        ksr.append_headers("Privacy: id\r\n")
        return
    uri = f"sip:{identity.user}@{ksr.received_at()}"
    ksr.replace_from(identity.display_name, uri)
    asserted = f"{identity.display_name} <{uri}>".lstrip()
    ksr.append_headers(f"P-Asserted-Identity: {asserted}\r\n")


def keep_callee_s_view() -> None:
    """In-dialog: see to it that a callee who sends a request is answered with the To that it wrote.

    uac puts the sender's own From into a callee's To, and leaves it in the reply.
    """
    if ";did=" in ksr.header("Route"):  # the dialog module's mark: a dialog whose From was replaced
        ksr.remember(_TO, ksr.header("To"))
        ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def on_in_dialog_reply() -> None:
    to = ksr.recall(_TO)
    if ksr.header("To") != to:
        ksr.replace_header("To", to)
