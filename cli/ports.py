"""Are the ports of a site free? Asked before anything starts, because a daemon's own complaint names no remedy."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from callinteractive.model import Address, Api, Edge, RtpEngine, Sidecar
from cli.parts import Parts


@dataclass(frozen=True)
class Port:
    """A port that the stack will bind, and what chooses it."""

    transport: str
    host: str
    port: int
    chosen_by: str

    def __str__(self) -> str:
        return f"{self.transport} {Address(self.host, self.port)}" if self.port else self.host

    def problem(self) -> str | None:
        """Why it can't be bound, or None. Binds without SO_REUSEPORT, so a shared port counts as taken."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        with socket.socket(family, kind) as probe:
            if self.transport != "udp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no obstacle
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                return self._explain(error)
        return None

    def _explain(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            listing = "ss -lnup" if self.transport == "udp" else "ss -lntp"
            return (
                f"{self} is in use by another program. `{listing} 'sport = {self.port}'` names it: "
                f"stop it, or change {self.chosen_by}."
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return f"this machine has no address {self.host}: change {self.chosen_by}."
        if error.errno == errno.EACCES:
            return f"{self}: ports below 1024 need root: change {self.chosen_by}."
        return f"{self}: {error.strerror}: change {self.chosen_by}."


def ports_of(parts: Parts) -> Iterator[Port]:
    """Every port that these parts will bind, less RTPengine's for sound. Port 0 stands for any port of an address."""
    for edge in parts.edges:
        yield from ports_of_edge(edge)
    for sidecar in parts.sidecars:
        yield from ports_of_sidecar(sidecar)
    for engine in parts.rtpengines:
        yield from ports_of_rtpengine(engine)


def ports_of_edge(edge: Edge) -> Iterator[Port]:
    """Every port that this Kamailio will bind."""
    for listen in edge.listen:
        yield Port("udp" if listen.transport == "udp" else "tcp", listen.host, listen.port, "sip.listen in site.yaml")
    if edge.peer:
        yield Port("udp", *edge.peer, "edges[].peer in site.yaml")


def ports_of_sidecar(sidecar: Sidecar) -> Iterator[Port]:
    """Every port that this sidecar will bind."""
    yield Port("udp", *sidecar.address, "sidecars.base_port in site.yaml")
    yield Port("tcp", *sidecar.metrics, "sidecars.metrics_port in site.yaml")


def ports_of_rtpengine(engine: RtpEngine) -> Iterator[Port]:
    """Every port that this RTPengine will bind, less those for sound."""
    for transport in ("udp", "tcp"):
        yield Port(transport, *engine.ng, "rtpengine.ng in site.yaml")
    if engine.http_port is not None:
        yield Port("tcp", engine.ng.host, engine.http_port, "rtpengine.http_port in site.yaml")
    # RTPengine starts with an address that is not there, and then has no port for any call.
    for interface in engine.interfaces:
        yield Port("udp", interface.address, 0, "rtpengine.interface in site.yaml")


def ports_of_api(api: Api) -> Port:
    """The port of the API."""
    return Port("tcp", *api.listen, "api.listen in site.yaml")


def problems(parts: Parts) -> list[str]:
    """One line a reason why a port can't be had; empty when these parts may start."""
    found = {port: text for port in ports_of(parts) if (text := port.problem()) is not None}
    lines = list(dict.fromkeys(found.values()))  # UDP and TCP may have one reason
    if len({port.chosen_by for port, text in found.items() if "is in use" in text}) > 2:
        lines.append("So many at once: another `callinteractive run` holds them, perhaps. Stop that one first.")
    return lines
