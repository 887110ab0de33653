"""The Contact of a caller whose From is replaced: it must not tell who calls either (RFC 3323 4.1, 5.1).

Many carriers put the caller's number there. What stands before and after its host travels encrypted, as its user. Who
sends the next request of the dialog uses that as Request-URI, and we put back what was there. So nothing need be kept.
"""

from __future__ import annotations

from kemi import identity, ksr, nat
from kemi.codecs import limit
from kemi.contacts import host_of, split_contacts, without_headers
from kemi.ksr import Route
from kemi.nat import with_alias
from kemi.record_route import Mark
from kemi.seal import Seal
from kemi.transaction import BranchPlan, transaction

_LONGEST = 512
"""Characters of a Contact that is encrypted."""
_LONGEST_USER = 1024


def on_branch(seal: Seal, plan: BranchPlan) -> str:
    """Branch route of an INVITE: show the caller as planned. Returns header lines for that."""
    if plan.from_ and plan.is_spiral:
        nat.on_branch()
        return identity.line_of(plan.from_)
    if plan.from_:
        ksr.replace_from(plan.from_)
    if is_hidden(plan):
        hide(seal, ksr.from_tag(), transaction.caller_source)
    else:
        nat.on_branch()
    return ""


def is_hidden(plan: BranchPlan) -> bool:
    """Whether this branch must not learn whose INVITE it is. Those of sidecars are nobody's."""
    return plan.from_ is not None and not plan.is_spiral and not plan.tells


def hide(seal: Seal, caller_tag: str, marked_with: str = "") -> None:
    """Of the message at hand, which the caller's side has sent. `marked_with`: the alias for its Contact (`kemi.nat`).

    What can't be read leads to where the message came from.
    """
    if contact := ksr.header("Contact"):
        dialog = _dialog(ksr.call_id(), caller_tag)
        ksr.replace_contact(hidden(seal, dialog, contact, marked_with) or hidden(seal, dialog, ksr.source_uri()))


def hidden(seal: Seal, dialog: str, contact: str, marked_with: str = "") -> str:
    """The URI that stands for that of a Contact; empty where there is none."""
    if len(contact) > _LONGEST:
        return ""
    # It may be folded (RFC 3261 7.3.1), and has no headers where it is a Request-URI (19.1.1).
    uri = without_headers("".join(split_contacts([contact])[0].split()))
    if not host_of(uri):
        return ""
    if marked_with and ";alias=" not in uri:
        uri = with_alias(uri, marked_with)
    scheme, _, rest = uri.partition(":")
    user, at, rest = rest.rpartition("@")
    where, semicolon, parameters = rest.partition(";")
    text = f"{user}{at}\n{semicolon}{parameters}"
    return f"{scheme}:{seal.close_text(dialog, text)}@{where}"


def on_request_to_caller(seal: Seal, mark: Mark) -> None:
    """Within the dialog, after `ksr.follow_route`: it goes to what its Request-URI stands for."""
    if uri := revealed(seal, _dialog(mark.call_id, mark.caller_tag), ksr.request_uri()):
        ksr.set_request_uri(uri)
        if ksr.method() != "ACK":
            transaction.hidden_tag = mark.caller_tag
            ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def revealed(seal: Seal, dialog: str, uri: str) -> str:
    """Empty where it stands for nothing else."""
    scheme, _, rest = uri.partition(":")
    text, at, rest = rest.partition("@")
    opened = seal.open_text(dialog, text) if at and len(text) <= _LONGEST_USER else None
    if opened is None:
        return ""
    user, _, parameters = opened.partition("\n")
    return f"{scheme}:{user}{rest.partition(';')[0]}{parameters}"


def on_in_dialog_request(seal: Seal, mark: Mark, *, hides: bool, needs_alias: bool) -> None:
    """Each side sees the other one as in the INVITE. `needs_alias`: of the sender's Contact (`kemi.nat`)."""
    if mark.views:
        identity.on_in_dialog_request(mark.views, is_from_caller=mark.is_from_caller)
    if mark.views and hides:
        _hide_sender(seal, mark.caller_tag, needs_alias=needs_alias, is_anchored=bool(mark.media))
        return
    identity.remove_later_claims()
    if needs_alias:
        ksr.add_contact_alias()


def on_in_dialog_reply(seal: Seal, caller_tag: str) -> None:
    """Of the caller."""
    is_anchored = transaction.exchange is not None
    _hide_sender(seal, caller_tag, needs_alias=nat.in_dialog_reply_needs_alias(), is_anchored=is_anchored)


def _hide_sender(seal: Seal, caller_tag: str, *, needs_alias: bool, is_anchored: bool) -> None:
    """`is_anchored`: we write its session description anew in any case (`kemi.anchor`)."""
    identity.remove_claims_in_dialog()
    if not is_anchored:
        limit((), is_hidden=True)
    hide(seal, caller_tag, ksr.source_uri() if needs_alias else "")


def _dialog(call_id: str, caller_tag: str) -> str:
    """Not as that of `Views`: what is encrypted for one use must not be read in the other."""
    return f"contact\n{call_id}\n{caller_tag}"
