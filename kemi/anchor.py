"""The media of a proxied call through RTPengine: which message carries an offer, which an answer, and when it ends.

Each anchored branch is a call of its own in RTPengine, between a "side-a", who called, and a "side-b". So branches that
ring at once can't disturb each other, a branch that failed is deleted whole, and each of several 2xx has its own media.
Neither names nor tags are a party's to choose: sidecars tell their calls by names, and whoever could make up another
call's would get its sound. The dialog's Route carries the name (`kemi.record_route`).

Session descriptions that RTPengine does not take never pass; where nobody can be told with a failure they are left out.
"""

from __future__ import annotations

import json
import secrets
from collections import deque

from kemi import ksr
from kemi.ksr import Route
from kemi.sdp import is_acceptable

_PREFIX = "anchored-"  # a sidecar's calls begin with a digit
_LATE = "-late"
_CALLER, _CALLEE = "side-a", "side-b"
_REWRITE = "replace-origin replace-session-connection ICE=remove"
_ASKED = "ci_asked"
CROSSING_S = 10
"""How long the other branches' media is kept when one is answered, for a 2xx that crosses our CANCEL: its media stays.

tm waits no longer."""
MOST_OWED = 16
"""How many deletions that RTPengine was not there for are made up for with one that succeeds."""
_owed: deque[str] = deque(maxlen=4096)  # of this worker


def has_acceptable_offer() -> bool:
    """Whether RTPengine can be given what the INVITE at hand offers, if anything."""
    return not ksr.has_body() or _is_acceptable()


def on_branch(*, early_media: bool) -> str:
    """Branch route of an INVITE: offer its media. Returns the name of that; empty where RTPengine does not take it.

    Without `early_media` the callee is not heard before its 2xx, whether it has said where it is or not.
    """
    is_late = not ksr.has_body()
    name = f"{_PREFIX}{secrets.token_hex(8)}{_LATE if is_late else ''}"
    if is_late:  # the 2xx has the offer, the ACK its answer (RFC 3261 13.2.1)
        return name
    if not ksr.offer_media(_flags(name, _CALLER, _CALLEE)):
        _owed.append(name)  # it may still do what it was asked
        return ""
    if not early_media and not ksr.block_media(f"call-id={name}"):
        release(name)
        return ""
    return name


def on_provisional(name: str) -> None:
    """Reply route: a 18x whose session description the caller may hear."""
    if ksr.has_body() and not _take_reply(name):
        ksr.turn_into_ringing()


def on_failure(name: str) -> None:
    """Reply route: what the callee could do instead, and where, is nobody's business (RFC 3261 21.4.26)."""
    if ksr.has_body():
        ksr.remove_body()
    release(name)


def on_success(name: str, *, early_media: bool) -> None:
    """Reply route: a 2xx, be it the first or one that is sent again: it is answered the same way then."""
    if ksr.has_body() and not _take_reply(name):
        ksr.remove_body()  # the callee has answered and can't be refused; the caller will hang up
    elif not early_media:
        ksr.unblock_media(f"call-id={name}")


def on_stray_success(name: str) -> None:
    """A 2xx of an INVITE that tm has done with already, sent again for want of an ACK."""
    if ksr.has_body() and not _take_reply(name):
        ksr.remove_body()


def release(name: str, *, after_s: int = 0) -> None:
    """Let RTPengine forget the media. It doesn't matter if it has already."""
    if not _delete(name, after_s):
        _owed.append(name)
        return
    for _ in range(min(len(_owed), MOST_OWED)):
        if not _delete(_owed[0]):
            return
        _owed.popleft()


def _delete(name: str, after_s: int = 0) -> bool:
    return ksr.delete_media(f"call-id={name} from-tag={_CALLER} delete-delay={after_s}")


def on_request(name: str) -> bool:
    """A request in a dialog with anchored media. False where it has been answered and must not be relayed."""
    method = ksr.method()
    if method == "BYE":
        release(name)
    elif method == "ACK":
        _take_ack(name)
    elif method in ("INVITE", "UPDATE", "PRACK"):
        return _take_request(name, method)
    return True


def on_in_dialog_reply() -> None:
    """Reply route of a request that `on_request` has seen: an answer to its offer, or an offer where it had none."""
    asked = ksr.recall(_ASKED)
    if not asked or not ksr.has_body():
        return
    name, asker, other, has_offered = json.loads(asked)
    status = ksr.status()
    if status >= 300:
        ksr.remove_body()  # what the other side could do instead, and where (RFC 3261 21.4.26)
    elif not (_answer(name, asker, other) if has_offered else _offer(name, other, asker)):
        ksr.remove_body()


def _take_reply(name: str) -> bool:
    """To the INVITE that made the dialog."""
    return _offer(name, _CALLEE, _CALLER) if name.endswith(_LATE) else _answer(name, _CALLER, _CALLEE)


def _take_ack(name: str) -> None:
    """One with a session description answers the offer of a 2xx (RFC 3261 13.2.2.4)."""
    sender, other = _sides()
    if ksr.has_body() and not _answer(name, other, sender):
        ksr.remove_body()  # an ACK can't be refused


def _take_request(name: str, method: str) -> bool:
    """An offer, or in PRACK an answer where a reliable 18x had the offer (RFC 3262 5, 3311 5, 3261 14.1)."""
    sender, other = _sides()
    has_body = ksr.has_body()
    is_answer = method == "PRACK" and name.endswith(_LATE)
    if has_body:
        if not _is_acceptable():
            ksr.reply(488, "Not Acceptable Here")
            return False
        if not (_answer(name, other, sender) if is_answer else _offer(name, sender, other)):
            ksr.reply(503, "Service Unavailable")
            return False
    ksr.remember(_ASKED, json.dumps((name, sender, other, has_body and not is_answer)))
    ksr.arm_reply(Route.ANCHORED_IN_DIALOG_REPLIED)
    return True


def _sides() -> tuple[str, str]:
    """Who sends the request in a dialog, and the other one."""
    return (_CALLER, _CALLEE) if ksr.is_from_caller() else (_CALLEE, _CALLER)


def _offer(name: str, offerer: str, answerer: str) -> bool:
    return _is_acceptable() and ksr.offer_media(_flags(name, offerer, answerer))


def _answer(name: str, offerer: str, answerer: str) -> bool:
    return _is_acceptable() and ksr.answer_media(_flags(name, offerer, answerer))


def _is_acceptable() -> bool:
    """Whether RTPengine can be given the session description of the message at hand."""
    try:
        return is_acceptable(ksr.body())
    except UnicodeDecodeError:
        return False


def _flags(name: str, offerer: str, answerer: str) -> str:
    """Of an offer and of its answer: the tags are in the offer's order in both (RTPengine's NG protocol)."""
    return f"call-id={name} from-tag={offerer} to-tag={answerer} {_REWRITE}"
