"""One INVITE rings several numbers at once: its branches, their replies, and what came of them (A10-A13).

A hop that fails with 5xx or is silent is replaced by the next one for the same number, where there is one: the next
trunk. What is particular to a branch is added in its branch route, so that no other branch has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from callinteractive.identity import Identity
from callinteractive.model import DEFAULT_IDENTITY, IdentityHeader
from kemi import caller, ksr
from kemi.ksr import From, Route

MOST_BRANCHES = 30
"""What tm can fork to, all that one INVITE ever gets together."""
SILENT_MS = 4_000
"""A target that has not even said 100 by then is not there."""
MARGIN_S = 2
"""How long a peer that rings for us is waited for when its time is up."""
_HOP, _BRANCH, _USED = "ci_hop:", "ci_branch:", "ci_used"
_EARLY, _RINGING, _BUSY, _FROMS, _OWN = "ci_early", "ci_ringing", "ci_busy", "ci_froms", "ci_own_from"


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a branch goes, the header lines that only it gets, and where its peer looks for the caller's number."""

    uri: str
    headers: str = ""
    identity: tuple[IdentityHeader, ...] = DEFAULT_IDENTITY


Target = tuple[Hop, ...]
"""One number: the hops to try one after the other."""


@dataclass(frozen=True, slots=True)
class Ringing:
    """How the targets are rung. `keeps_from`: the INVITE's From is the caller's own."""

    timeout_s: int
    early_media: bool
    caller: Identity
    keeps_from: bool


def fork(targets: Sequence[Target], ringing: Ringing) -> None:
    """Send the INVITE at hand to the first hop of each target. Answers it where nothing can be sent."""
    caller.remove_claims()
    if not ringing.early_media:
        # A reliable 183 can't be made a plain 180: its PRACK would be missed (RFC 3262).
        ksr.remove_option_tag("Supported", "100rel")
    _remember_hops(targets, ringing)
    _ring([target[0].uri for target in targets], ringing.timeout_s, ringing.early_media)


def pass_on(hop: Hop, timeout_s: int) -> None:
    """Send the INVITE at hand, as it is, to a peer of ours that rings for us."""
    ksr.remember(_HOP + hop.uri, json.dumps((None, hop.headers, None)))
    ksr.remember(_FROMS, "1")
    _ring([hop.uri], timeout_s + MARGIN_S, early_media=True)


def _ring(uris: Sequence[str], timeout_s: int, early_media: bool) -> None:
    for name, value in ((_EARLY, "1" if early_media else ""), (_RINGING, ""), (_BUSY, "")):
        ksr.remember(name, value)
    ksr.set_request_uri(uris[0])
    for uri in uris[1:]:
        ksr.append_branch(uri)
    ksr.set_timers(timeout_s * 1000, SILENT_MS)
    ksr.set_lifetime(timeout_s * 1000)
    _relay()


def _remember_hops(targets: Sequence[Target], ringing: Ringing) -> None:
    """Keep for the branch routes what each hop is shown and which comes next."""
    host = ksr.received_at()
    views = {
        hop.identity: caller.shown(ringing.caller, host, hop.identity, keeps_from=ringing.keeps_from)
        for target in targets
        for hop in target
    }
    froms = {view.from_ for view in views.values()}
    own = _own_from()
    if froms != {None} and not own:
        ksr.keep_dialog()
        own = ksr.from_address()  # where one branch's From is replaced all are: what the dialog holds is for all
        ksr.remember(_OWN, json.dumps(own))
    ksr.remember(_FROMS, str(len(froms)))
    for target in targets:
        for hop, following in zip(target, (*target[1:], None), strict=True):
            view = views[hop.identity]
            record = (view.from_ or own, hop.headers + view.lines, following and following.uri)
            ksr.remember(_HOP + hop.uri, json.dumps(record))


def _hop(uri: str) -> tuple[From | None, str, str | None]:
    """Of the hop: the From to show, its header lines, the URI of the next."""
    from_, lines, following = json.loads(ksr.recall(_HOP + uri))
    return from_ and From(*from_), lines, following


def _own_from() -> From | None:
    """The INVITE's own From, once another was shown to any branch of it."""
    own = ksr.recall(_OWN)
    return From(*json.loads(own)) if own else None


def on_branch_back() -> None:
    """Branch route towards a sidecar: it sees the INVITE as it came, whatever others were shown before."""
    ksr.remember(_USED, str(ksr.branch_index() + 1))
    if own := _own_from():
        ksr.replace_from(own)


def branches_used() -> int:
    """How many branches the INVITE has had so far."""
    return int(ksr.recall(_USED) or 0)


def on_branch() -> None:
    """Branch route: what only this peer sees."""
    index, uri = ksr.branch_index(), ksr.request_uri()
    ksr.remember(f"{_BRANCH}{index}", uri)
    ksr.remember(_USED, str(index + 1))
    from_, lines, _ = _hop(uri)
    if from_:
        ksr.replace_from(from_)
    if lines:
        ksr.append_headers(lines)


def on_reply() -> None:
    """Reply route: who rings, and what the caller may hear of it (A12)."""
    status = ksr.status()
    if 180 <= status < 200:
        _note_ringing(True)
        if not ksr.recall(_EARLY) and ksr.has_body():
            ksr.turn_into_ringing()
    elif 200 <= status < 300:
        if int(ksr.recall(_FROMS)) > 1 and (from_ := _hop(_uri_of_branch())[0]):
            ksr.keep_replaced_from(from_)
    elif status >= 300:
        _note_ringing(False)
        if status == 486:
            ksr.remember(_BUSY, "1")


def _uri_of_branch() -> str:
    """Of the branch at hand. In a branch's failure route the Request-URI is that of the first, whichever failed."""
    return ksr.recall(f"{_BRANCH}{ksr.branch_index()}")


def _note_ringing(rings: bool) -> None:
    """Keep the indexes of the branches that ring, which tell in the end whether anybody rang in vain."""
    branch, before = str(ksr.branch_index()), set(ksr.recall(_RINGING).split())
    after = before | {branch} if rings else before - {branch}
    if after != before:
        ksr.remember(_RINGING, " ".join(sorted(after)))


def on_branch_failure() -> None:
    """One hop failed: the next one for its number, if the fault was not the callee's."""
    silent = ksr.branch_timed_out() and not ksr.branch_replied()
    if ksr.is_cancelled() or not (silent or 500 <= ksr.failure_code() < 600):
        return
    following = _hop(_uri_of_branch())[2]
    if following and branches_used() < MOST_BRANCHES:
        ksr.set_request_uri(following)
        _relay()


def outcome() -> tuple[int, str]:
    """Failure route: the status that tells best how all targets failed, and its reason phrase.

    No answer where anybody rang to the end, else busy where anybody was; a 6xx has ended all by itself.
    """
    code = ksr.failure_code()
    if code >= 600:
        return code, ""
    if ksr.recall(_RINGING):
        return 408, "Request Timeout"
    if ksr.recall(_BUSY):
        return 486, "Busy Here"
    # Forwarding rules of the numbers are ignored (A10).
    return (480, "Temporarily Unavailable") if code < 400 else (code, "")


def _relay() -> None:
    ksr.arm_branch(Route.TO_TARGET)
    ksr.arm_reply(Route.TARGET_REPLIED)
    ksr.arm_branch_failure(Route.TARGET_FAILED)
    ksr.arm_failure(Route.TRANSFER_FAILED)
    if not ksr.relay():
        ksr.reply(503, "Service Unavailable")
