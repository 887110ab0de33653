"""Do the parts of a fleet fit each other? What can never work, so that nothing starts with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from callinteractive.fleet import Edge
from callinteractive.model import Site
from callinteractive.spelling import is_ip


def misfits(site: Site) -> Iterator[tuple[str, str]]:
    """Keys of site.yaml and what is wrong with them together."""
    phones_register = any(extension.password for extension in site.extensions)
    for edge in site.edges:
        if phones_register and len(site.edges) > 1 and edge.peer is None and site.database is None:
            yield (
                "edges",
                f"edge {edge.name!r} needs a peer, a UDP address for the registrations of the other edges: "
                'peer: "10.0.0.11:5066"; without it a phone is found only where it has registered '
                "(or give them a common database: registrations.database)",
            )
        yield from _unreachable(site, edge)


def _unreachable(site: Site, edge: Edge) -> Iterator[tuple[str, str]]:
    """An edge and a sidecar send to each other from one UDP address: both must be IPv4, or both IPv6."""
    hosts = [address.host for address in edge.udp_addresses]
    if not hosts or not all(map(is_ip, hosts)):  # one without is told as such
        return
    has_six = {":" in host for host in hosts}
    for host in dict.fromkeys(sidecar.address.host for sidecar in site.sidecars):
        if (":" in host) not in has_six:
            family = "IPv6" if ":" in host else "IPv4"
            yield "sidecars", f"edge {edge.name!r} has no {family} UDP address in listen, so it can't reach {host}"
