"""The parts of site.yaml that say where its processes run, each as one of a kind or as a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callinteractive.database import Database
from callinteractive.database import parse as parse_database
from callinteractive.document import Value
from callinteractive.fleet import (
    Address,
    Edge,
    Interface,
    Kamailio,
    Listen,
    RtpEngine,
    Sidecar,
    pools_of,
    sidecars_of_host,
)
from callinteractive.loading import MOST
from callinteractive.overlap import Ports
from callinteractive.spelling import (
    check_identifier,
    check_unique,
    read_address,
    read_host,
    read_interface,
    read_listen,
)
from callinteractive.tls_file import read_tls

_METRICS = Address("127.0.0.1", 9169)
"""As in the documentation."""
MOST_OF_A_HOST = 1000
"""Sidecars of one host: more than it has cores. Their ports follow each other."""
_EXAMPLE_PEER = Address("10.0.0.11", 5066)
_WITHDRAWN = {"dtmf_port": "is no longer needed, take it out: digits come from `ng`, over TCP"}


def read_edges(sip: Value, edges: Value, ports: Ports) -> tuple[Edge, ...]:
    """`sip` is the short form of one edge."""
    if edges.is_missing:
        return (Edge("edge", _listens(sip.section("listen")["listen"], ports)),)
    if not sip.is_missing:
        sip.wrong("is the short form of one edge: give either sip or edges")
    items = tuple(edges.items())
    found = tuple(_edge(item, ports, is_alone=len(items) == 1) for item in items)
    if not found:
        edges.wrong('needs at least one: edges: [{name: edge-a, listen: ["udp:10.0.0.11:5060"]}]')
    check_unique("edge", ((item, edge.name) for item, edge in zip(items, found, strict=True)))
    return found


def _edge(value: Value, ports: Ports, *, is_alone: bool) -> Edge:
    section = value.section("name", "listen", "peer", "tls")
    peer = None if section["peer"].is_missing else read_address(section["peer"], _EXAMPLE_PEER)
    name = section["name"].checked(check_identifier, "edge" if is_alone else None)
    listens = _listens(section["listen"], ports)
    if peer:
        ports.claim(section["peer"], "udp", peer)
    return Edge(name, listens, peer, read_tls(section["tls"]))


def _listens(value: Value, ports: Ports) -> tuple[Listen, ...]:
    items = tuple(value.items())
    found = []
    for item in items:
        if listen := read_listen(item):
            found.append(listen)
            ports.claim(item, "udp" if listen.transport == "udp" else "tcp", listen.address)
    if len(found) == len(items) and not any(listen.transport == "udp" for listen in found):  # else that is told already
        value.wrong("at least one UDP address is needed: Kamailio speaks UDP with the sidecars")
    return tuple(found)


def read_sidecars(value: Value, ports: Ports) -> tuple[Sidecar, ...]:
    """A mapping is the short form of one host."""
    found: list[Sidecar] = []
    for host in _one_or_several(value):
        found += _sidecars_of_host(host, len(found), ports)
    if not found:
        value.wrong("needs at least one host: sidecars: [{host: 10.0.1.1, count: 4}]")
    elif not pools_of(found)[None]:
        value.wrong("at least one sidecar must be in no pool, for the contexts that name none")
    return tuple(found)


def _sidecars_of_host(value: Value, first: int, ports: Ports) -> Iterable[Sidecar]:
    section = value.section("count", "host", "base_port", "metrics_port", "pools", "max_calls", "max_unacknowledged")
    count = section["count"].integer(2, 1, MOST_OF_A_HOST)
    pools = {
        name: [index.integer(None, 0, count - 1) for index in indexes.items()]
        for name, indexes in section["pools"].entries().items()
    }
    members = [index for indexes in pools.values() for index in indexes]
    if len(set(members)) != len(members):
        value.wrong("a sidecar can be in one pool only")
    for name, indexes in pools.items():
        if not indexes or check_identifier(name):
            value.wrong(f"pool {name[:40]!r} needs a plain name and at least one sidecar: pools: {{vip: [1]}}")
    sidecars = sidecars_of_host(
        read_host(section["host"], "127.0.0.1"),
        count,
        section["base_port"].integer(5070, 1, 65536 - count),
        section["metrics_port"].integer(9170, 1, 65536 - count),
        pools,
        first=first,
        max_calls=section["max_calls"].integer(5000, 1, MOST),
        max_unacknowledged=section["max_unacknowledged"].integer(200, 1, MOST),
    )
    ports.claim(section["base_port"], "udp", sidecars[0].address, count)
    ports.claim(section["metrics_port"], "tcp", sidecars[0].metrics, count)
    return sidecars


def read_kamailio(value: Value, ports: Ports) -> Kamailio:
    section, default = value.section("workers", "shared_mb", "private_mb", "metrics"), Kamailio()
    metrics = None if section["metrics"].is_missing else read_address(section["metrics"], _METRICS)
    if metrics is not None:
        ports.claim(section["metrics"], "tcp", metrics)
    return Kamailio(
        workers=section["workers"].optional_integer(1, 256),
        shared_mb=section["shared_mb"].optional_integer(32, 65_536),
        private_mb=section["private_mb"].integer(default.private_mb, 8, 1024),
        metrics=metrics,
    )


def read_rtpengines(one: Value, several: Value, ports: Ports) -> tuple[RtpEngine, ...]:
    """`one` is the short form of a list of one."""
    if several.is_missing:
        return (_rtpengine(one, ports, is_alone=True),)
    if not one.is_missing:
        one.wrong("is the short form of one RTPengine: give either rtpengine or rtpengines")
    items = list(several.items())
    found = [_rtpengine(item, ports, is_alone=len(items) == 1) for item in items]
    if not found:
        several.wrong('needs at least one: rtpengines: [{name: media-a, ng: "10.0.2.1:22222", interface: 10.0.2.1}]')
    check_unique("RTPengine", ((item, engine.name) for item, engine in zip(items, found, strict=True)))
    # Each takes all calls that it finds there for its own.
    check_unique(
        "redis", ((item, str(engine.redis)) for item, engine in zip(items, found, strict=True) if engine.redis)
    )
    return tuple(found)


def _rtpengine(value: Value, ports: Ports, *, is_alone: bool) -> RtpEngine:
    keys = ("name", "ng", "ports", "interface", "weight", "http_port", "timeout_s", "threads", "kernel_table", "redis")
    section, default = value.section(*keys, withdrawn=_WITHDRAWN), RtpEngine()
    default_range = [default.port_min, default.port_max]
    media = [item.integer(None, 1024, 65535) for item in section["ports"].items()] or default_range
    if len(media) != 2 or media[0] >= media[1]:
        value.wrong("ports must be [first, last]")
        media = default_range
    engine = RtpEngine(
        ng=read_address(section["ng"], default.ng),
        interfaces=_interfaces(section["interface"]) or default.interfaces,
        port_min=media[0],
        port_max=media[1],
        http_port=section["http_port"].optional_integer(1, 65535),
        timeout_s=section["timeout_s"].integer(default.timeout_s, 10, 86_400),
        threads=section["threads"].optional_integer(1, 256),
        kernel_table=section["kernel_table"].optional_integer(0, 63),
        name=section["name"].checked(check_identifier, default.name if is_alone else None),
        weight=section["weight"].integer(default.weight, 1, 100),
        redis=_redis(section["redis"]),
    )
    for transport in ("udp", "tcp"):
        ports.claim(section["ng"], transport, engine.ng)
    if engine.http_port is not None:
        ports.claim(section["http_port"], "tcp", engine.ng._replace(port=engine.http_port))
    for interface in engine.interfaces:
        address = Address(interface.address, engine.port_min)
        ports.claim(section["ports"], "sound", address, engine.port_max - engine.port_min + 1)
    return engine


def _redis(value: Value) -> Database | None:
    text = value.optional_text()
    if text is None:
        return None
    try:
        return parse_database(text, "")
    except ValueError as error:
        value.wrong(str(error))
        return None


def _interfaces(value: Value) -> tuple[Interface, ...]:
    items = () if value.is_missing else _one_or_several(value)
    return tuple(interface for item in items if (interface := read_interface(item)))


def _one_or_several(value: Value) -> Sequence[Value]:
    """The items of a list; any other value, also one that is missing, is the only one."""
    return tuple(value.items()) if value.is_list else (value,)
