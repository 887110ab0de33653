"""Whom an address belongs to, as far as the site's configuration says. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from callinteractive.model import Address, Edge, Site
from callinteractive.names import Names
from callinteractive.names import is_address as read_address

SIDECAR = "sidecar"
DEFAULT_PORT = 5060
_HOST_AND_PORT = re.compile(r"(\[[^\]]{0,45}\]|[^:;?>\s\[\]]{1,253})(?::([0-9]{1,5}))?(?![0-9A-Za-z.])", re.ASCII)
_LONGEST = 2048


class Place(NamedTuple):
    """`name` is the same for all addresses of one party. `is_known`: the site's configuration names it."""

    name: str
    is_known: bool


class Places:
    """The parties of a site by their addresses."""

    def __init__(self, site: Site, edge: Edge | None = None) -> None:
        """`edge`: which Kamailio of the site this is; None: the first."""
        self._sidecars = {sidecar.address for sidecar in site.sidecars}
        self._own = {listen.address for listen in (edge or site.edges[0]).listen}
        self._edges = {listen.address for listen in site.listen}
        self._edges |= {listen.advertised for listen in site.listen if listen.advertised}
        self._phones = {extension.contact_host for extension in site.extensions} - {None}
        self._trunks = site.trunks
        self._gateways = {host_of(uri).host: trunk.name for trunk in site.trunks for uri in trunk.to}
        self._learned: dict[str, str] = {}
        """What the trunks' host names lead to: their names by address."""
        self.of = lru_cache(maxsize=4096)(self._of)
        """The place of an address."""

    def is_trunk(self, address: Address) -> bool:
        """Whether a carrier of ours is there."""
        return self.of(address).name.startswith("trunk ")

    def learn(self, names: Names) -> None:
        """What host names of the site lead to now."""
        self._learned = {}
        for trunk in self._trunks:
            hosts = [hop.host for uri in trunk.to for hop in names.hops.get(uri, ())]
            hosts += [host for name in trunk.source_names for host in names.addresses.get(name, ())]
            self._learned |= dict.fromkeys(hosts, trunk.name)
        self.of.cache_clear()

    def are_ours(self, address: Address) -> bool:
        """Whether we listen there."""
        return address in self._own

    def _of(self, address: Address) -> Place:
        if address in self._sidecars:
            return Place(SIDECAR, True)
        host = address.host
        if host in self._phones:
            return Place(host, True)
        if name := self._gateways.get(host) or self._learned.get(host):
            return Place(f"trunk {name}", True)
        if is_address(host):
            ip = ip_address(host)
            for trunk in self._trunks:
                if any(ip in network for network in trunk.sources):
                    return Place(f"trunk {trunk.name}", True)
        return Place(host, address in self._edges)


def host_of(uri: str) -> Address:
    """Host and port of a SIP URI, IPv6 without brackets. The host is empty where none can be read."""
    return _host_of(uri[:_LONGEST])


@lru_cache(maxsize=1024)
def _host_of(uri: str) -> Address:
    hostport = uri.partition(":")[2]
    user, at, behind = hostport.partition("@")
    match = _HOST_AND_PORT.match(behind if at else user)
    if not match:
        return Address("", 0)
    return Address(_bare(match[1].lower()), int(match[2] or DEFAULT_PORT))


is_address = lru_cache(maxsize=4096)(read_address)


def _bare(host: str) -> str:
    """An IPv6 address as the configuration has it: shortest, without brackets."""
    bare = host.strip("[]")
    return str(ip_address(bare)) if ":" in bare and is_address(bare) else bare
