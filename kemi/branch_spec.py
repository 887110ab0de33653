"""Where the branches of a transfer go: what `kemi.transfer` and `kemi.trunks` find, and `kemi.fork` rings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from callinteractive.model import DEFAULT_IDENTITY, Extension, IdentityHeader, Trunk
from kemi import nat
from kemi.anchor import Anchoring
from kemi.conversion import Kind, Sides, kind_after_refusal, kind_for_callee


@dataclass(frozen=True, slots=True)
class BranchSpec:
    """Where a branch goes, the header lines that only it gets, and where its peer looks for the caller's number.

    `is_spiral`: it leads to ourselves. `is_anchored`: its media goes through RTPengine, which converts `sides`.
    `otherwise`: what it converts if the peer refuses that. `number`: what was dialled; `is_extension`: it is one of our
    extensions. `trunk`: the name of the trunk, if it is one; `is_probed`: as there. `via`: another edge, a SIP URI,
    that it is sent to.
    """

    uri: str
    headers: str = ""
    identity: tuple[IdentityHeader, ...] = DEFAULT_IDENTITY
    is_spiral: bool = False
    is_anchored: bool = False
    number: str = ""
    is_extension: bool = False
    trunk: str = ""
    is_probed: bool = True
    sides: str = ""
    otherwise: str = ""
    via: str = ""

    @property
    def needs_connection(self) -> bool:
        return not self.via and nat.needs_connection(self.uri)


def converting(spec: BranchSpec, party: Trunk | Extension, anchoring: Anchoring, offered: Kind) -> BranchSpec:
    """The branch to `party`. RTPengine gets its media where one side would not understand the other.

    `offered`: how the sound of the caller's side travels.
    """
    is_browser = nat.is_websocket(spec.uri)
    sides = Sides(offered, kind_for_callee(party.media, offered, is_browser=is_browser))
    other = kind_after_refusal(party.media, offered, is_browser=is_browser)
    otherwise = str(Sides(offered, other)) if other else ""
    is_anchored = anchoring.covers(party) or sides.are_converted
    return replace(spec, is_anchored=is_anchored, sides=str(sides) if is_anchored else "", otherwise=otherwise)


Target = tuple[BranchSpec, ...]
"""One number: the branches to try one after the other."""
