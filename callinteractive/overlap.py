"""No port may be given to two processes of the fleet. Pure."""

from __future__ import annotations

from typing import NamedTuple

from callinteractive.document import Value
from callinteractive.fleet import Address


class _Claim(NamedTuple):
    """Ports `first` to `last` of a host; `order` keeps equal ones in the order of the file."""

    space: str
    host: str
    first: int
    last: int
    order: int
    where: Value


class Ports:
    """Collects who takes which ports."""

    def __init__(self) -> None:
        self._claims: list[_Claim] = []

    def claim(self, where: Value, space: str, address: Address, count: int = 1) -> None:
        """`count` ports from `address` on. `space`: "udp", "tcp", or "sound" for RTPengine's ranges, which may have
        other ports among them."""
        last = address.port + count - 1
        self._claims.append(_Claim(space, address.host, address.port, last, len(self._claims), where))

    def check(self) -> None:
        """Note a finding at each claim of a port that an earlier one has."""
        before: _Claim | None = None
        for claim in sorted(self._claims, key=lambda claim: claim[:5]):
            is_same_host = before is not None and (before.space, before.host) == (claim.space, claim.host)
            if before is not None and is_same_host and claim.first <= before.last:
                one, other = (each.where for each in sorted((before, claim), key=lambda claim: claim.order))
                address, kind = Address(claim.host, claim.first), "udp" if claim.space == "sound" else claim.space
                other.wrong(f"{kind} {address} is taken already by {one.path} (line {one.line}): give another port")
            if before is None or not is_same_host or claim.last > before.last:
                before = claim
