"""The caller that a callee sees (A5): From, P-Asserted-Identity (RFC 3325), Remote-Party-ID, Privacy (RFC 3323)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from callinteractive.identity import Identity
from callinteractive.jsontext import to_json
from callinteractive.model import IdentityHeader
from kemi import ksr
from kemi.facts import asks_to_be_hidden, find_identity, parse_address
from kemi.ksr import From, Route
from kemi.seal import Views
from kemi.transaction import transaction

_SHOWN = "X-CI-From"
"""Only in an INVITE that we send to ourselves."""
_CLAIMS = ("Remote-Party-ID", "Privacy")
_CLAIMED = ("\np", "\nremote-party-id")
"""How these and all P- headers begin. Most messages have nothing that does."""
_NEEDED = (
    "^(Via|v|Max-Forwards|From|f|To|t|Call-ID|i|CSeq|Contact|m|Route|Record-Route|Content-[A-Za-z-]+|[clek]|MIME-Version"
    "|Require|Supported|Proxy-Require|Allow|Allow-Events|u|Accept|Accept-[EL][a-z]+|Session-Expires|x|Min-SE|Expires)$"
)
"""What an INVITE needs, also by compact names (RFC 3261 7.3.3): nothing else is known to be about no caller."""
_NEEDED_IN_DIALOG = (
    f"{_NEEDED.removesuffix(')$')}|RAck|RSeq|Reason|Event|o|Subscription-State|Refer-To|r|Refer-Sub|Replaces|Info-Package"
    "|Recv-Info|Retry-After|Unsupported|Warning|Timestamp|(WWW|Proxy)-Authenticate|(Proxy-)?Authorization)$"
)
"""The same for what follows the INVITE, and for replies."""
_NOT_PRIVATE = "^([^P]|P[^-]|P-Early-Media$)"
ANONYMOUS = From('"Anonymous"', "sip:anonymous@anonymous.invalid")


def of_caller() -> Identity:
    """Who sends the INVITE at hand, as it says or as the network asserts."""
    return find_identity(ksr.header("From"), lambda: ksr.header("P-Asserted-Identity"))


def is_hidden(caller: Identity) -> bool:
    """Whether those who are called must not learn this number. An anonymous one tells nothing."""
    if caller.is_anonymous:
        return False
    return asks_to_be_hidden(ksr.header("Privacy")) or parse_address(ksr.header("From")).is_anonymous


@dataclass(slots=True)  # not frozen: that costs several times as much
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


def leave_out(*, tells_from: bool, early_media: bool) -> None:
    """Remove from the INVITE at hand what its callees must not get."""
    remove_claims(tells_from=tells_from)
    if not early_media:
        # We can't turn a reliable 183 into a plain 180: its SDP may be the only answer (RFC 3262 5).
        ksr.remove_option_tag("Supported", "100rel")
        if ksr.may_have_header("\nrequire"):
            ksr.remove_option_tag("Require", "100rel")


def remove_claims(*, tells_from: bool) -> None:
    """Remove from the INVITE at hand what its sender said of itself beside From.

    What one network says to another stays between them (RFC 7315 6, RFC 3325 7). Without `tells_from` callees see
    another From, or none, and nothing else may tell them of the first: carriers repeat it in History-Info, Diversion,
    Identity and in headers of their own.
    """
    if not tells_from:
        ksr.remove_all_headers(but=_NEEDED)
        return
    if not ksr.may_have_header(*_CLAIMED):
        return
    for name in _CLAIMS:
        ksr.remove_header(name)
    if ksr.may_have_header("\np-"):
        ksr.remove_all_headers(but=_NOT_PRIVATE)


def remove_later_claims() -> None:
    """Remove from a reply, or from a request within a dialog, what one network says to another (RFC 3325 5)."""
    remove_claims(tells_from=True)


def remove_claims_in_dialog() -> None:
    """Remove from the message at hand what its sender says of itself, where callees must not know it."""
    ksr.remove_all_headers(but=_NEEDED_IN_DIALOG)


def line_of(shown: From) -> str:
    """The header line of an INVITE that spirals: when it passes us again, `shown` counts as its From."""
    return f"{_SHOWN}: {to_json(shown)}\r\n"


def take_over() -> None:
    """An INVITE that spirals: keep the From that counts, before its private headers are removed."""
    if text := ksr.header(_SHOWN):
        transaction.presented = From(*json.loads(text))


def from_shown() -> str:
    """The From that counts of the INVITE at hand, as a header has it."""
    shown = transaction.presented
    return f"{shown.display_name} <{shown.uri}>" if shown else ksr.header("From")


def on_reply() -> None:
    """Reply route of an INVITE: its sender sees the From that it wrote."""
    if own := transaction.own_from:
        ksr.replace_header("From", own)


def on_in_dialog_request(views: Views, *, is_from_caller: bool) -> None:
    """Each side sees the caller as in the INVITE (RFC 3261 12.2.1.1); its own requests' replies, as it wrote it."""
    is_ack = ksr.method() == "ACK"
    if is_from_caller:
        own, name = ksr.header("From"), "From"
        ksr.replace_from(views.shown)
    elif views.own.uri:
        own, name = ksr.header("To"), "To"
        ksr.replace_to(views.own)
    else:
        return
    if not is_ack:
        transaction.replaced = f"{name}\n{own}"
        ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def on_in_dialog_reply() -> None:
    if replaced := transaction.replaced:
        name, _, own = replaced.partition("\n")
        ksr.replace_header(name, own)
