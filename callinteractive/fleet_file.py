"""The parts of site.yaml that say where its processes run."""

from __future__ import annotations

from callinteractive.document import Value
from callinteractive.limits import MAX_SIDECARS
from callinteractive.loading import MOST
from callinteractive.model import Kamailio, RtpEngine, SidecarPool
from callinteractive.spelling import check_host, check_identifier, check_interface, read_address, socket_host

_WITHDRAWN = {"dtmf_port": "is no longer needed, take it out: digits come from `ng`, over TCP"}


def read_sidecars(value: Value) -> SidecarPool:
    keys = ("count", "host", "base_port", "metrics_port", "pools", "max_calls", "max_unacknowledged")
    section, default = value.section(*keys), SidecarPool()
    count = section["count"].integer(default.count, 1, MAX_SIDECARS)
    pool = SidecarPool(
        count=count,
        host=socket_host(section["host"].checked(check_host, default.host)) or default.host,
        base_port=section["base_port"].integer(default.base_port, 1, 65535 - MAX_SIDECARS),
        metrics_port=section["metrics_port"].integer(default.metrics_port, 1, 65535 - MAX_SIDECARS),
        pools={
            name: tuple(index.integer(None, 0, count - 1) for index in indexes.items())
            for name, indexes in section["pools"].entries().items()
        },
        max_calls=section["max_calls"].integer(default.max_calls, 1, MOST),
        max_unacknowledged=section["max_unacknowledged"].integer(default.max_unacknowledged, 1, MOST),
    )
    members = [index for indexes in pool.pools.values() for index in indexes]
    if len(set(members)) != len(members):
        value.wrong("a sidecar can be in one pool only")
    for name, indexes in pool.pools.items():
        if not indexes or check_identifier(name):
            value.wrong(f"pool {name[:40]!r} needs a plain name and at least one sidecar: pools: {{vip: [1]}}")
    if not pool.members(None):
        value.wrong("at least one sidecar must be in no pool, for the contexts that name none")
    return pool


def read_kamailio(value: Value) -> Kamailio:
    section, default = value.section("workers", "shared_mb", "private_mb"), Kamailio()
    return Kamailio(
        workers=section["workers"].optional_integer(1, 256),
        shared_mb=section["shared_mb"].integer(default.shared_mb, 32, 65_536),
        private_mb=section["private_mb"].integer(default.private_mb, 8, 1024),
    )


def read_rtpengine(value: Value) -> RtpEngine:
    keys = ("ng", "ports", "interface", "http_port", "timeout_s", "threads", "kernel_table")
    section = value.section(*keys, withdrawn=_WITHDRAWN)
    default = RtpEngine()
    ng = read_address(section["ng"], default.ng)
    default_ports = [default.port_min, default.port_max]
    ports = [item.integer(None, 1024, 65535) for item in section["ports"].items()] or default_ports
    if len(ports) != 2 or ports[0] >= ports[1]:
        value.wrong("ports must be [first, last]")
        ports = default_ports
    return RtpEngine(
        ng=ng,
        interface=section["interface"].checked(check_interface, default.interface),
        port_min=ports[0],
        port_max=ports[1],
        http_port=section["http_port"].optional_integer(1, 65535),
        timeout_s=section["timeout_s"].integer(default.timeout_s, 10, 86_400),
        threads=section["threads"].optional_integer(1, 256),
        kernel_table=section["kernel_table"].optional_integer(0, 63),
    )
