"""One INVITE rings several numbers at once: its branches, their replies, and what came of them (A10-A13).

A branch that fails with 5xx or is silent is replaced by the next one for the same number, where there is one: the next
trunk. What is particular to a branch is added in its branch route, so that no other branch has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from callinteractive.identity import Identity
from callinteractive.model import DEFAULT_IDENTITY, IdentityHeader
from kemi import anchor, identity, ksr
from kemi.ksr import From, Route

MOST_BRANCHES = 30
"""What tm can fork to, all that one INVITE ever gets together."""
SILENT_MS = 4_000
"""A target that has not even said 100 by then is not there."""
MARGIN_S = 2
"""How long a peer that rings for us is waited for when its time is up."""
_SPEC, _BRANCH, _USED = "ci_spec:", "ci_branch:", "ci_used"
_EARLY, _RINGING, _BUSY, _FROMS, _OWN = "ci_early", "ci_ringing", "ci_busy", "ci_froms", "ci_own_from"
_MEDIA, _ANSWERED = "ci_media:", "ci_answered"
_DIRECT = (Route.TARGET_REPLIED, Route.TARGET_FAILED, Route.TRANSFER_FAILED)
_ANCHORED = (Route.ANCHORED_REPLIED, Route.ANCHORED_FAILED, Route.ANCHORED_TRANSFER_FAILED)
"""The routes of forks without and with anchored branches: the former need not ask what is anchored."""


@dataclass(frozen=True, slots=True)
class BranchSpec:
    """Where a branch goes, the header lines that only it gets, and where its peer looks for the caller's number.

    `is_spiral`: to ourselves. `is_anchored`: its media goes through RTPengine.
    """

    uri: str
    headers: str = ""
    identity: tuple[IdentityHeader, ...] = DEFAULT_IDENTITY
    is_spiral: bool = False
    is_anchored: bool = False


Target = tuple[BranchSpec, ...]
"""One number: the branches to try one after the other."""


@dataclass(frozen=True, slots=True)
class ForkOptions:
    """How the targets are rung. `keeps_from`: the INVITE's From is the caller's own."""

    timeout_s: int
    early_media: bool
    caller: Identity
    keeps_from: bool


def fork(targets: Sequence[Target], options: ForkOptions) -> None:
    """Send the INVITE at hand to the first branch of each target. Answers it where nothing can be sent."""
    identity.remove_claims()
    if not options.early_media:
        # A reliable 183 can't be made a plain 180: its PRACK would be missed (RFC 3262).
        ksr.remove_option_tag("Supported", "100rel")
    _remember_specs(targets, options)
    anchors = any(spec.is_anchored for target in targets for spec in target)
    uris = [target[0].uri for target in targets]
    _ring(uris, options.timeout_s, options.early_media, _ANCHORED if anchors else _DIRECT)


def pass_on(spec: BranchSpec, timeout_s: int) -> None:
    """Send the INVITE at hand, as it is, to a peer of ours that rings for us."""
    _remember_spec(spec, None, spec.headers, None)
    ksr.remember(_FROMS, "1")
    _ring([spec.uri], timeout_s + MARGIN_S, True, _DIRECT)


def _ring(uris: Sequence[str], timeout_s: int, early_media: bool, routes: tuple[Route, Route, Route]) -> None:
    for name, value in ((_EARLY, "1" if early_media else ""), (_RINGING, ""), (_BUSY, "")):
        ksr.remember(name, value)
    ksr.set_request_uri(uris[0])
    for uri in uris[1:]:
        ksr.append_branch(uri)
    ksr.set_timers(timeout_s * 1000, SILENT_MS)
    ksr.set_lifetime(timeout_s * 1000)
    _relay(routes)


def _remember_specs(targets: Sequence[Target], options: ForkOptions) -> None:
    """Keep for the branch routes what each branch is shown and which comes next."""
    host = ksr.received_at()
    views = {
        spec.identity: identity.present(options.caller, host, spec.identity, keeps_from=options.keeps_from)
        for target in targets
        for spec in target
    }
    froms = {view.from_ for view in views.values()}
    own = _own_from()
    if froms != {None} and not own:
        ksr.keep_dialog()
        own = ksr.from_address()  # where one branch's From is replaced all are: what the dialog holds is for all
        ksr.remember(_OWN, json.dumps(own))
    ksr.remember(_FROMS, str(len(froms)))
    for target in targets:
        for spec, following in zip(target, (*target[1:], None), strict=True):
            view = views[spec.identity]
            _remember_spec(spec, view.from_ or own, spec.headers + view.lines, following.uri if following else None)


def _remember_spec(spec: BranchSpec, from_: From | None, lines: str, following: str | None) -> None:
    ksr.remember(_SPEC + spec.uri, json.dumps((from_, lines, following, spec.is_spiral, spec.is_anchored)))


class _Record(NamedTuple):
    """Of a branch: the From to show, its header lines, the URI of the next, and as in `BranchSpec`."""

    from_: From | None
    lines: str
    following: str | None
    is_spiral: bool
    is_anchored: bool


def _spec(uri: str) -> _Record:
    from_, *others = json.loads(ksr.recall(_SPEC + uri))
    return _Record(from_ and From(*from_), *others)


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


def on_branch() -> str | None:
    """Branch route: what only this peer sees.

    Returns the name of its media in RTPengine, empty if that is not anchored; None where it leads back to us or is not
    sent.
    """
    index, uri = ksr.branch_index(), ksr.request_uri()
    ksr.remember(f"{_BRANCH}{index}", uri)
    ksr.remember(_USED, str(index + 1))
    spec = _spec(uri)
    media = ""
    if spec.is_anchored:
        media = anchor.on_branch(early_media=bool(ksr.recall(_EARLY)))
        if not media:
            ksr.drop()  # it would learn where the caller's media is
            return None
        ksr.remember(f"{_MEDIA}{index}", media)
    if spec.from_:
        ksr.replace_from(spec.from_)
    if spec.lines:
        ksr.append_headers(spec.lines)
    return None if spec.is_spiral else media


def on_reply() -> None:
    """Reply route: who rings, and what the caller may hear of it (A12)."""
    status = ksr.status()
    if 180 <= status < 200:
        _note_ringing(True)
        if not ksr.recall(_EARLY) and ksr.has_body():
            ksr.turn_into_ringing()
    elif 200 <= status < 300:
        if int(ksr.recall(_FROMS)) > 1 and (from_ := _spec(_uri_of_branch()).from_):
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


def on_anchored_reply() -> None:
    """As `on_reply`, where at least one branch is anchored."""
    on_reply()
    status, branch, hears_early = ksr.status(), ksr.branch_index(), bool(ksr.recall(_EARLY))
    is_answered = bool(ksr.recall(_ANSWERED))
    if 200 <= status < 300 and not is_answered:
        ksr.remember(_ANSWERED, "1")
        _release_media(but=branch, after_s=anchor.CROSSING_S)
    media = ksr.recall(f"{_MEDIA}{branch}")
    if not media:
        return
    if status >= 300:
        anchor.on_failure(media)
        ksr.remember(f"{_MEDIA}{branch}", "")
    elif status >= 200:
        anchor.on_success(media, early_media=hears_early)
    elif status > 100 and hears_early and not is_answered:  # a late one must not undo the answer
        anchor.on_provisional(media)


def _release_media(*, but: int = -1, after_s: int = 0) -> None:
    """Of all branches of the INVITE, but one."""
    for branch in range(branches_used()):
        if branch != but and (media := ksr.recall(f"{_MEDIA}{branch}")):
            anchor.release(media, after_s=after_s)


def on_anchored_branch_failure() -> None:
    """As `on_branch_failure`. A branch that was silent has sent no reply that would have ended its media."""
    branch = ksr.branch_index()
    if ksr.branch_timed_out() and (media := ksr.recall(f"{_MEDIA}{branch}")):
        anchor.release(media)
        ksr.remember(f"{_MEDIA}{branch}", "")
    on_branch_failure(_ANCHORED)


def on_anchored_failure() -> None:
    """Failure route: nobody has answered."""
    _release_media()


def on_branch_failure(routes: tuple[Route, Route, Route] = _DIRECT) -> None:
    """One branch failed: the next one for its number, if the fault was not the callee's."""
    silent = ksr.branch_timed_out() and not ksr.branch_replied()
    if ksr.is_cancelled() or not (silent or 500 <= ksr.failure_code() < 600):
        return
    following = _spec(_uri_of_branch()).following
    if following and branches_used() < MOST_BRANCHES:
        ksr.set_request_uri(following)
        _relay(routes)


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


def _relay(routes: tuple[Route, Route, Route]) -> None:
    replied, branch_failed, failed = routes
    ksr.arm_branch(Route.TO_TARGET)
    ksr.arm_reply(replied)
    ksr.arm_branch_failure(branch_failed)
    ksr.arm_failure(failed)
    if not ksr.relay():
        ksr.reply(503, "Service Unavailable")
