"""How many branches at once may come of one INVITE. IVRs that transfer to each other would make thousands of it.

Max-Forwards bounds only how deep they go (RFC 5393 3). So each IVR that an INVITE leads to before it is answered gets
its share of the branches that are left (5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from callinteractive.headers import MOST_BREADTH, BreadthHeader
from kemi import ksr
from kemi.branch_spec import Target
from kemi.transaction import transaction


def take_over() -> None:
    """An INVITE that spirals: keep its share, before its private headers are removed."""
    if text := ksr.header(BreadthHeader.NAME):
        transaction.breadth = BreadthHeader.parse(text).most


def pass_on() -> tuple[BreadthHeader, ...]:
    """The header of the INVITE at hand for the only branch that it gets."""
    return (BreadthHeader(transaction.breadth),) if transaction.breadth else ()


def share(targets: Sequence[Target], call_id: str) -> list[Target]:
    """The targets, each IVR with its share. Without IVRs where there is none left."""
    others = [target for target in targets if not target[0].is_spiral]
    ivrs = len(targets) - len(others)
    if not ivrs:
        return others
    most = ((transaction.breadth or MOST_BREADTH) - len(others)) // ivrs
    if most > 0:
        line = f"{BreadthHeader.NAME}: {BreadthHeader(most)}\r\n"
        return [_with_line(target, line) if target[0].is_spiral else target for target in targets]
    ksr.log_warning(
        f"transfer of call {call_id}: {ivrs} IVRs are left out: a call leads to {MOST_BREADTH} IVRs at once at the"
        " most; look for IVRs that transfer to each other"
    )
    return others


def _with_line(target: Target, line: str) -> Target:
    return tuple([replace(spec, headers=spec.headers + line) for spec in target])
