"""Where the processes of a site run: edges (Kamailio), sidecars and RTPengines. Frozen, validated data.

One machine with everything on it is a fleet of one edge, one host of sidecars and one RTPengine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from callinteractive.database import Database

Transport = Literal["udp", "tcp", "tls", "ws", "wss"]
"""ws and wss are SIP over WebSocket (RFC 7118), wss over TLS."""


class Address(NamedTuple):
    """A host and a port, as a socket takes them: an IPv6 address has no brackets. `str` writes them (RFC 3261 25.1)."""

    host: str
    port: int

    @property
    def uri_host(self) -> str:
        """The host as a URI holds it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where Kamailio listens. `advertised` is what others are told instead, where a NAT or a proxy is before us."""

    transport: Transport
    host: str
    port: int
    advertised: Address | None = None

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def is_websocket(self) -> bool:
        """Whether browsers connect there."""
        return self.transport in ("ws", "wss")

    @property
    def socket(self) -> str:
        """As Kamailio's ``-l`` takes it: what a WebSocket begins on, and behind a slash what is advertised."""
        begun = {"ws": "tcp", "wss": "tls"}.get(self.transport, self.transport)
        return f"{begun}:{self.address}" + (f"/{self.advertised}" if self.advertised else "")

    def __str__(self) -> str:
        return f"{self.transport}:{self.address}"


@dataclass(frozen=True, slots=True)
class Tls:
    """What Kamailio proves its name with: PEM files, as site.yaml writes them. Relative ones are beside it.

    `ca` holds the authorities whose certificates we believe; None is those of the system.
    """

    certificate: str
    private_key: str
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """One Kamailio. `peer` is its UDP address for the registrations that the edges tell each other.

    `tls` is set where it speaks TLS.
    """

    name: str
    listen: tuple[Listen, ...]
    peer: Address | None = None
    tls: Tls | None = None

    @property
    def speaks_tls(self) -> bool:
        """Whether it listens for TLS. Only then can it also connect by TLS."""
        return any(listen.transport in ("tls", "wss") for listen in self.listen)

    @property
    def udp_addresses(self) -> tuple[Address, ...]:
        return tuple(listen.address for listen in self.listen if listen.transport == "udp")

    @property
    def udp_address(self) -> Address:
        """Where it takes the SIP of itself: the first UDP address. `load_site` wants one."""
        return self.udp_addresses[0]

    def udp_address_for(self, host: str) -> Address:
        """Where it takes the SIP of that host: the first UDP address of the same family, if there is one."""
        is_six = ":" in host
        return next((address for address in self.udp_addresses if (":" in address.host) is is_six), self.udp_address)


def ways(edges: Iterable[Edge], host: str) -> dict[Address, Address]:
    """Where `host`, inside the fleet, sends what is addressed to an edge as others know it: to the edge itself.

    An advertised address may lead nowhere from inside. An advertised port may be another than that of the socket.
    """
    found: dict[Address, Address] = {}
    for edge in edges:
        for listen in edge.listen:
            if listen.transport != "udp" or listen.advertised is None:
                continue
            is_near = (":" in listen.host) is (":" in host)
            found.setdefault(listen.advertised, listen.address if is_near else edge.udp_address_for(host))
            found.setdefault(Address(listen.host, listen.advertised.port), listen.address)
    for real in {address for edge in edges for address in edge.udp_addresses}:
        found.pop(real, None)
    return found


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One sidecar process. `index` counts through all hosts of the fleet.

    It takes SIP on UDP `address` and shows metrics on TCP `metrics`. `pool` is the pool it is in, which serves the
    contexts that name it; None serves all other contexts. It refuses calls beyond `max_calls`, and answers none while
    `max_unacknowledged` wait for their ACK.
    """

    index: int
    address: Address
    metrics: Address
    pool: str | None = None
    max_calls: int = 5000
    max_unacknowledged: int = 200


def sidecars_of_host(
    host: str = "127.0.0.1",
    count: int = 2,
    base_port: int = 5070,
    metrics_port: int = 9170,
    pools: Mapping[str, Iterable[int]] | None = None,
    *,
    first: int = 0,
    max_calls: int = 5000,
    max_unacknowledged: int = 200,
) -> tuple[Sidecar, ...]:
    """The sidecars of one host: number i of it has the ports `base_port` + i and `metrics_port` + i.

    `pools` gives some of them, by i, to a pool. `first` is how many the hosts before it have.
    """
    pool_of = {i: name for name, members in (pools or {}).items() for i in members}
    return tuple(
        Sidecar(
            first + i,
            Address(host, base_port + i),
            Address(host, metrics_port + i),
            pool_of.get(i),
            max_calls,
            max_unacknowledged,
        )
        for i in range(count)
    )


def pools_of(sidecars: Iterable[Sidecar]) -> dict[str | None, list[Sidecar]]:
    """The sidecars of each pool, in their order. None, those that are in no pool, comes first and is always there."""
    pools: dict[str | None, list[Sidecar]] = {None: []}
    for sidecar in sidecars:
        pools.setdefault(sidecar.pool, []).append(sidecar)
    return pools


@dataclass(frozen=True, slots=True)
class Kamailio:
    """How large each Kamailio is.

    `workers` are processes for each listening address; None is a number by that of cores. `shared_mb` is the memory of
    all workers, for calls; None is a size by that of the machine. `private_mb` is that of each. `metrics` is where the
    state of the trunks is shown, over HTTP.
    """

    workers: int | None = None
    shared_mb: int | None = None
    private_mb: int = 16
    metrics: Address | None = None


class Interface(NamedTuple):
    """An address of the machine that sound comes to. `advertised` is what SDP shows instead, where a NAT is before it.

    `name` groups the addresses of one logical interface of RTPengine.
    """

    address: str
    advertised: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        """As RTPengine takes it: ``[NAME/]ADDRESS[!ADVERTISED]``."""
        return (f"{self.name}/" if self.name else "") + "!".join(filter(None, (self.address, self.advertised)))


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it (RFC 1122 3.2.1.3, RFC 4291 2.5.3)."""
    return address.startswith("127.") or address == "::1"


def family_of(address: str) -> str:
    """Of an IP address, as SDP and RTPengine name it (RFC 8866 5.7): IP4 or IP6."""
    return "IP6" if ":" in address else "IP4"


def inner_addresses(engines: Iterable[RtpEngine]) -> dict[str, str]:
    """Where an RTPengine is, by what it advertises. What one RTPengine sends to another must not go by the NAT."""
    interfaces = [interface for engine in engines for interface in engine.interfaces]
    return {each.advertised: each.address for each in interfaces if each.advertised}


@dataclass(frozen=True, slots=True)
class RtpEngine:
    """One RTPengine: control address (commands over UDP, digits over TCP), media interfaces and ports.

    `threads` is None for a number by that of cores; `kernel_table` is None where packets are forwarded in user space.
    New calls are shared out by `weight`. With `redis` it knows its calls again after a restart.
    """

    ng: Address = field(default=Address("127.0.0.1", 22222))
    interfaces: tuple[Interface, ...] = (Interface("127.0.0.1"),)
    port_min: int = 30000
    port_max: int = 39999
    http_port: int | None = None
    timeout_s: int = 3600
    threads: int | None = None
    kernel_table: int | None = None
    name: str = "rtpengine"
    weight: int = 1
    redis: Database | None = None

    @property
    def families(self) -> frozenset[str]:
        """Those of its interfaces, as SDP names them: IP4, IP6."""
        return frozenset(family_of(interface.address) for interface in self.interfaces)
