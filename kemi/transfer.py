"""Where the numbers of a transfer lead (A14): one of our extensions, one of our IVRs, or an external number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from callinteractive.errors import HeaderError
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from callinteractive.identity import Identity
from callinteractive.model import Extension, Site, Trunk
from callinteractive.numbers import Directory, FoundIvr
from callinteractive.request import CallFacts
from kemi import ksr
from kemi.facts import new_call_id
from kemi.fork import MOST_BRANCHES, Hop, Ringing, Target, fork, outcome
from kemi.jump import Sidecars

TRUNKS = 2
"""The dispatcher group of the outbound trunks."""


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
        """Fork a sidecar's INVITE as its private headers say. Raises HeaderError."""
        plan = TransferHeader.parse(ksr.header(TransferHeader.NAME))
        facts = CallHeader.parse(ksr.header(CallHeader.NAME)).facts
        caller = CallerHeader.parse(ksr.header(CallerHeader.NAME))
        if len(plan.numbers) > MOST_BRANCHES:
            raise HeaderError(f"{plan.NAME}: more than {MOST_BRANCHES} numbers")
        ksr.remove_private_headers()
        targets = self.find_targets(plan.numbers, facts, caller)
        if targets:
            identity = Identity.of(caller.name, caller.number)
            fork(targets, Ringing(self.timeout_s(plan), plan.early_media, identity, keeps_from=False))
        else:
            ksr.reply(404, "Not Found")

    def timeout_s(self, plan: TransferHeader) -> int:
        """A11."""
        return plan.timeout_s or self._site.defaults.transfer_timeout_s

    def find_targets(self, numbers: tuple[str, ...], facts: CallFacts, caller: CallerHeader) -> list[Target]:
        """The targets of all numbers, each once; what has no route is left out."""
        home = Extension(facts.called_extension, facts.called_extension_id)  # short numbers are those of the IVR
        targets: dict[tuple[str, ...], Target] = {}
        for number in dict.fromkeys(numbers):
            for target in self._targets_of(number, home, facts, caller):
                targets.setdefault(tuple(hop.uri for hop in target), target)
        return list(targets.values())[:MOST_BRANCHES]

    def _targets_of(self, number: str, home: Extension, facts: CallFacts, caller: CallerHeader) -> list[Target]:
        extension = self._directory.find_extension(number, home)
        if extension:
            uris = [extension.contact] if extension.contact else self._contacts_of(extension)
            return [(Hop(uri),) for uri in uris]
        ivr = self._directory.find_ivr(number, home)
        if ivr:
            return [self._ivr_target(number, ivr, facts, caller)]
        alive = [trunk for trunk in self._trunks if trunk.to and ksr.is_alive(TRUNKS, trunk.to)]
        hops = [Hop(_at_trunk(number, trunk), identity=trunk.identity) for trunk in alive or self._trunks]
        return [tuple(hops)] if hops else []

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
        headers = self._sidecars.headers(found.ivr, entering)
        return tuple(Hop(uri, headers) for uri in self._sidecars.uris(_escape(number)))


def on_failure() -> None:
    """Failure route of a sidecar's INVITE: all targets failed."""
    if ksr.is_cancelled():
        return
    code, reason = outcome()
    if code != ksr.failure_code():
        ksr.reply(code, reason)


def _at_trunk(number: str, trunk: Trunk) -> str:
    """The trunk's URI with `number` for its user."""
    assert trunk.to is not None
    scheme, _, rest = trunk.to.partition(":")
    return f"{scheme}:{_escape(number)}@{rest.rpartition('@')[2]}"


def _escape(number: str) -> str:
    return quote(number, safe="*+")
