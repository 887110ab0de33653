"""What host names of site.yaml lead to. `cli.resolve` finds it out and writes it down, `kemi` reads it (RFC 3263).

Nobody else looks up a name: a worker that waits for a name server serves nobody.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import accumulate
from typing import NamedTuple

from callinteractive.model import Site

FILE = "names.json"
"""In the run directory."""
MOST_HOPS = 8
"""Of one URI."""
TRANSPORTS = ("udp", "tcp", "tls")
DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
_URI = re.compile(r"sips?:(?:[^@]*@)?(\[[^\]]*\]|[^:;\]]+)(?::([0-9]{1,5}))?(?:;transport=([a-z]+))?", re.IGNORECASE)


class Hop(NamedTuple):
    """Where a request for a URI may be sent: lower priorities first, among equals by weight (RFC 2782)."""

    priority: int
    weight: int
    host: str
    port: int
    transport: str

    @property
    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sip:{host}:{self.port}" + ("" if self.transport == "udp" else f";transport={self.transport}")


class Target(NamedTuple):
    """What a SIP URI says of where it leads; None for what it leaves open."""

    host: str
    port: int | None
    transport: str | None


@dataclass(frozen=True)
class Names:
    """`hops` by URI of site.yaml, `addresses` by host name."""

    hops: Mapping[str, tuple[Hop, ...]] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return json.dumps({"hops": self.hops, "addresses": self.addresses}, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Names:
        """Raises ValueError."""
        try:
            read = json.loads(text)
            hops = {uri: tuple(_hop(*hop) for hop in written) for uri, written in read["hops"].items()}
            addresses = {name: tuple(map(str, map(ip_address, found))) for name, found in read["addresses"].items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not what we have written") from error
        return cls(hops, addresses)


def target_of(uri: str) -> Target:
    """Raises ValueError."""
    match = _URI.match(uri)
    if not match:
        raise ValueError(uri)
    port = int(match[2]) if match[2] else None
    return Target(match[1].lower().strip("[]"), port, match[3].lower() if match[3] else None)


def is_address(host: str) -> bool:
    """Whether it is an IP address, not a name. One in brackets is none."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def named_uris(site: Site) -> tuple[str, ...]:
    """The URIs of trunks and fixed phones that have a host name."""
    uris = [uri for trunk in site.trunks for uri in trunk.to]
    uris += [extension.contact for extension in site.extensions if extension.contact]
    return tuple(dict.fromkeys(uri for uri in uris if not is_address(target_of(uri).host)))


def has_names(site: Site) -> bool:
    return bool(named_uris(site) or named_sources(site))


def named_sources(site: Site) -> tuple[str, ...]:
    """The host names that trunks call from."""
    return tuple(dict.fromkeys(name for trunk in site.trunks for name in trunk.source_names))


def in_order(hops: Iterable[Hop], choose: Callable[[int], int]) -> list[Hop]:
    """In the order in which they are to be tried (RFC 2782). `choose(n)` is a random number from 0 to n - 1."""
    left, ordered = sorted(hops), []
    while left:
        equals = [hop for hop in left if hop.priority == left[0].priority]
        # Those of weight 0 get a small chance.
        ends = list(accumulate(10 * hop.weight + 1 for hop in equals))
        chosen = equals[bisect(ends, choose(ends[-1]))]
        ordered.append(chosen)
        left.remove(chosen)
    return ordered


def _hop(priority: int, weight: int, host: str, port: int, transport: str) -> Hop:
    hop = Hop(int(priority), int(weight), str(ip_address(host)), int(port), transport)
    if transport not in TRANSPORTS or not 0 < hop.port < 65536 or min(hop.weight, hop.priority) < 0:
        raise ValueError(f"no hop: {hop}")
    return hop
