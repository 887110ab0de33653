"""A transfer: one INVITE of a sidecar rings all the numbers of its plan at once (A10-A14).

A number is one of our extensions, one of our IVRs, or external. A target that fails with 5xx or is silent is
replaced by the next one for the same number, where there is one: the next trunk, the next sidecar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

from callinteractive.errors import HeaderError
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from callinteractive.model import Extension, Site, Trunk
from callinteractive.numbers import Directory, FoundIvr
from callinteractive.request import CallFacts
from kemi import caller as identity
from kemi import ksr
from kemi.facts import new_call_id
from kemi.jump import Sidecars
from kemi.ksr import Route

MOST_BRANCHES = 30
"""What tm can fork to."""
SILENT_MS = 4_000
"""A target that has not even said 100 by then is not there."""
TRUNKS = 2
"""The dispatcher group of the outbound trunks."""
_URI, _NEXT, _HEADERS = "ci_uri:", "ci_next:", "ci_headers:"
_EARLY, _RINGING, _BUSY = "ci_early", "ci_ringing", "ci_busy"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one branch goes: the URIs to try one after the other, and the header lines that only they get."""

    uris: tuple[str, ...]
    headers: str = ""


class Transfer:
    """Carries out the plans of sidecars. `contacts_of` knows the registered phones."""

    def __init__(
        self,
        site: Site,
        directory: Directory,
        sidecars: Sidecars,
        contacts_of: Callable[[Extension], list[str]],
    ) -> None:
        self._site = site
        self._directory = directory
        self._sidecars = sidecars
        self._contacts_of = contacts_of
        self._trunks = tuple(trunk for trunk in site.trunks if trunk.to)

    def start(self) -> None:
        """Fork the INVITE at hand as its private headers say. Raises HeaderError."""
        plan = TransferHeader.parse(ksr.header(TransferHeader.NAME))
        facts = CallHeader.parse(ksr.header(CallHeader.NAME)).facts
        caller = CallerHeader.parse(ksr.header(CallerHeader.NAME))
        if len(plan.numbers) > MOST_BRANCHES:
            raise HeaderError(f"{plan.NAME}: more than {MOST_BRANCHES} numbers")
        ksr.remove_private_headers()
        targets = self._find_targets(plan.numbers, facts, caller)
        if not targets:
            ksr.reply(404, "Not Found")
            return
        identity.show(caller)
        if not plan.early_media:
            # A reliable 183 can't be made a plain 180: its PRACK would be missed (RFC 3262).
            ksr.remove_option_tag("Supported", "100rel")
        _fork(targets, plan.timeout_s or self._site.defaults.transfer_timeout_s, plan.early_media)

    def _find_targets(self, numbers: tuple[str, ...], facts: CallFacts, caller: CallerHeader) -> list[Target]:
        """The targets of all numbers, each once; what has no route is left out."""
        home = Extension(facts.called_extension, facts.called_extension_id)  # short numbers are those of the IVR
        targets: dict[tuple[str, ...], Target] = {}
        for number in dict.fromkeys(numbers):
            for target in self._targets_of(number, home, facts, caller):
                targets.setdefault(target.uris, target)
        return list(targets.values())[:MOST_BRANCHES]

    def _targets_of(self, number: str, home: Extension, facts: CallFacts, caller: CallerHeader) -> list[Target]:
        extension = self._directory.find_extension(number, home)
        if extension:
            uris = [extension.contact] if extension.contact else self._contacts_of(extension)
            return [Target((uri,)) for uri in uris]
        ivr = self._directory.find_ivr(number, home)
        if ivr:
            return [self._ivr_target(number, ivr, facts, caller)]
        alive = [trunk for trunk in self._trunks if trunk.to and ksr.is_alive(TRUNKS, trunk.to)]
        uris = [_at_trunk(number, trunk) for trunk in alive or self._trunks]
        return [Target(tuple(uris))] if uris else []

    def _ivr_target(self, number: str, found: FoundIvr, facts: CallFacts, caller: CallerHeader) -> Target:
        """A new call of the same CallAPIID (R2) enters the other IVR."""
        entering = replace(
            facts,
            call_id=new_call_id(),
            caller_number=caller.number,
            caller_name=caller.name,
            called_number=number,
            called_did=found.did,
            called_extension=found.ivr.number,
            called_extension_id=found.ivr.id,
        )
        return Target(self._sidecars.uris(_escape(number)), self._sidecars.headers(found.ivr, entering))


def _fork(targets: list[Target], timeout_s: int, early_media: bool) -> None:
    for target in targets:
        for uri, following in zip(target.uris, (*target.uris[1:], ""), strict=True):
            ksr.remember(_HEADERS + uri, target.headers)
            ksr.remember(_NEXT + uri, following)
    ksr.remember(_EARLY, "1" if early_media else "")
    first, *others = (target.uris[0] for target in targets)
    ksr.set_request_uri(first)
    for uri in others:
        ksr.append_branch(uri)
    ksr.set_timers(timeout_s * 1000, SILENT_MS)
    ksr.set_lifetime(timeout_s * 1000)
    _relay()


def on_branch() -> None:
    """Branch route: an IVR's sidecar gets the facts of its call."""
    uri = ksr.request_uri()
    ksr.remember(f"{_URI}{ksr.branch_index()}", uri)
    headers = ksr.recall(_HEADERS + uri)
    if headers:
        ksr.append_headers(headers)


def on_reply() -> None:
    """Reply route: who rings, and what the caller may hear of it (A12)."""
    status = ksr.status()
    if 180 <= status < 200:
        _note_ringing(True)
        if not ksr.recall(_EARLY) and ksr.has_body():
            ksr.turn_into_ringing()
    elif status >= 300:
        _note_ringing(False)
        if status == 486:
            ksr.remember(_BUSY, "1")


def _note_ringing(rings: bool) -> None:
    """Keep the indexes of the branches that ring, which tell in the end whether anybody rang in vain."""
    branch, before = str(ksr.branch_index()), set(ksr.recall(_RINGING).split())
    after = before | {branch} if rings else before - {branch}
    if after != before:
        ksr.remember(_RINGING, " ".join(sorted(after)))


def on_branch_failure() -> None:
    """One target failed: the next one for its number, if the fault was not the callee's."""
    silent = ksr.branch_timed_out() and not ksr.branch_replied()
    if ksr.is_cancelled() or not (silent or 500 <= ksr.failure_code() < 600):
        return
    # The Request-URI in a branch's failure route is that of the first branch, whichever failed.
    following = ksr.recall(_NEXT + ksr.recall(f"{_URI}{ksr.branch_index()}"))
    if following:
        ksr.set_request_uri(following)
        _relay()


def on_failure() -> None:
    """All targets failed: the status that tells it best.

    No answer where anybody rang to the end, else busy where anybody was; a 6xx has ended all by itself.
    """
    code = ksr.failure_code()
    if ksr.is_cancelled() or code >= 600:
        return
    if ksr.recall(_RINGING):
        _reply_instead(code, 408, "Request Timeout")
    elif ksr.recall(_BUSY):
        _reply_instead(code, 486, "Busy Here")
    elif code < 400:
        # Forwarding rules of the numbers are ignored (A10).
        _reply_instead(code, 480, "Temporarily Unavailable")


def _reply_instead(code: int, better: int, reason: str) -> None:
    if code != better:
        ksr.reply(better, reason)


def _relay() -> None:
    ksr.arm_branch(Route.TO_TARGET)
    ksr.arm_reply(Route.TARGET_REPLIED)
    ksr.arm_branch_failure(Route.TARGET_FAILED)
    ksr.arm_failure(Route.TRANSFER_FAILED)
    if not ksr.relay():
        ksr.reply(503, "Service Unavailable")


def _at_trunk(number: str, trunk: Trunk) -> str:
    """The trunk's URI with `number` for its user."""
    assert trunk.to is not None
    scheme, _, rest = trunk.to.partition(":")
    return f"{scheme}:{_escape(number)}@{rest.rpartition('@')[2]}"


def _escape(number: str) -> str:
    return quote(number, safe="*+")
