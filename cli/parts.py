"""Which parts of a site run on this machine, and where the others are."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from callinteractive.edge import VARIABLE as EDGE_VARIABLE
from callinteractive.model import Edge, RtpEngine, Sidecar, Site

KINDS = ("rtpengine", "sidecars", "kamailio")
"""The kinds of parts, in the order in which they start."""
RTPENGINE_VARIABLE = "CALLINTERACTIVE_RTPENGINE_NAME"


class WhichError(Exception):
    """Nothing says which part this machine is to run. The text says what to do."""


@dataclass(frozen=True)
class Parts:
    """Parts of a site."""

    edges: Sequence[Edge] = field(default=())
    sidecars: Sequence[Sidecar] = field(default=())
    rtpengines: Sequence[RtpEngine] = field(default=())

    @classmethod
    def of(cls, site: Site, kinds: Collection[str] = KINDS) -> Parts:
        """All parts of these kinds."""
        return cls(
            site.edges if "kamailio" in kinds else (),
            site.sidecars if "sidecars" in kinds else (),
            site.rtpengines if "rtpengine" in kinds else (),
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        found = {"rtpengine": self.rtpengines, "sidecars": self.sidecars, "kamailio": self.edges}
        return tuple(kind for kind in KINDS if found[kind])


def of_this_machine(site: Site, kinds: Collection[str], edge: str | None = None, engine: str | None = None) -> Parts:
    """What `run` starts here: the parts whose addresses this machine has, or that are named.

    A site that is no fleet is all here, so that an address this machine lacks is complained of. Raises WhichError.
    """
    parts = Parts.of(site, kinds)
    if site.is_fleet:
        parts = Parts(
            [each for each in parts.edges if edge or _is_edge_here(each)],
            [each for each in parts.sidecars if has_address(each.address.host)],
            [each for each in parts.rtpengines if engine or has_address(each.ng.host)],
        )
    if edge and parts.edges:
        parts = Parts([find_edge(site, edge)], parts.sidecars, parts.rtpengines)
    if engine and parts.rtpengines:
        parts = Parts(parts.edges, parts.sidecars, [find_rtpengine(site, engine)])
    if not parts.kinds:
        where = ", ".join(dict.fromkeys(_where(Parts.of(site, kinds))))
        raise WhichError(
            f"this machine has none of the addresses in the site file ({where[:300]}). `ip address` shows what it has"
        )
    return parts


def here(site: Site) -> list[str]:
    """The parts of a fleet whose addresses this machine has; the sidecars of a host together."""
    found = [f"edge {edge.name}" for edge in site.edges if _is_edge_here(edge)]
    for host, indexes in _by_host(site.sidecars).items():
        if has_address(host):
            found.append(_span(indexes))
    return found + [f"rtpengine {engine.name}" for engine in site.rtpengines if has_address(engine.ng.host)]


def not_here(site: Site) -> Iterator[str]:
    """The addresses of a site of one machine that this machine lacks."""
    if site.is_fleet:
        return
    hosts = [("sip.listen", listen.host) for listen in site.listen]
    hosts += [("sidecars.host", site.sidecars[0].address.host), ("rtpengine.ng", site.rtpengines[0].ng.host)]
    hosts += [("rtpengine.interface", interface.address) for interface in site.rtpengines[0].interfaces]
    for key, host in dict.fromkeys(hosts):
        if not has_address(host):
            yield f"{key}: this machine has no address {host}; if the site runs on another one, all is well"


def elsewhere(site: Site, ours: Parts, kinds: Collection[str] = KINDS) -> list[str]:
    """Where the other parts of these kinds are, a line each; the sidecars of a host together."""
    all_ = Parts.of(site, kinds)
    lines = [
        f"edge {edge.name} is elsewhere ({edge.udp_address.host})" for edge in all_.edges if edge not in ours.edges
    ]
    others = [sidecar for sidecar in all_.sidecars if sidecar not in ours.sidecars]
    for host, indexes in _by_host(others).items():
        lines.append(f"{_span(indexes)} {'is' if len(indexes) == 1 else 'are'} elsewhere ({host})")
    for engine in all_.rtpengines:
        if engine not in ours.rtpengines:
            lines.append(f"rtpengine {engine.name} is elsewhere ({engine.ng.host})")
    return lines


def find_edge(site: Site, name: str | None = None) -> Edge:
    """The edge of this name; without one the only one, or the one whose address this machine has. Raises WhichError."""
    return _find(site.edges, name, _is_edge_here, _Words("edge", "--edge", EDGE_VARIABLE))


def find_rtpengine(site: Site, name: str | None = None) -> RtpEngine:
    """The RTPengine of this name, as `find_edge`. Raises WhichError."""
    words = _Words("RTPengine", "--name", RTPENGINE_VARIABLE)
    return _find(site.rtpengines, name, lambda engine: has_address(engine.ng.host), words)


def has_address(host: str) -> bool:
    """Whether this machine has that address, or one of those of that name."""
    with suppress(OSError):
        for family, *_, address in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(address)
                except OSError as error:
                    if error.errno == errno.EADDRNOTAVAIL:
                        continue
                return True
    return False


@dataclass(frozen=True)
class _Words:
    what: str
    option: str
    variable: str


_Named = TypeVar("_Named", Edge, RtpEngine)


def _find(things: Sequence[_Named], name: str | None, is_here: Callable[[_Named], bool], words: _Words) -> _Named:
    known = ", ".join(thing.name for thing in things)
    how = f"give {words.option} NAME, or {words.variable} in the environment"
    if name:
        found = [thing for thing in things if thing.name == name]
        if not found:
            raise WhichError(f"the site file has no {words.what} {name!r}; it has {known[:300]}")
    elif len(things) == 1:
        found = list(things)
    else:
        found = [thing for thing in things if is_here(thing)]
        if not found:
            raise WhichError(f"this machine has the address of no {words.what} ({known[:300]}): {how}")
    if len(found) > 1:
        here = ", ".join(thing.name for thing in found)
        raise WhichError(f"this machine has the addresses of several {words.what}s ({here[:300]}): {how}")
    return found[0]


def _is_edge_here(edge: Edge) -> bool:
    return any(has_address(listen.host) for listen in edge.listen)


def _by_host(sidecars: Sequence[Sidecar]) -> dict[str, list[int]]:
    """The indexes of each host."""
    found: dict[str, list[int]] = {}
    for sidecar in sidecars:
        found.setdefault(sidecar.address.host, []).append(sidecar.index)
    return found


def _span(indexes: Sequence[int]) -> str:
    return f"sidecar {indexes[0]}" if len(indexes) == 1 else f"sidecars {indexes[0]} to {indexes[-1]}"


def _where(parts: Parts) -> Iterator[str]:
    for edge in parts.edges:
        yield edge.udp_address.host
    for sidecar in parts.sidecars:
        yield sidecar.address.host
    for engine in parts.rtpengines:
        yield engine.ng.host
