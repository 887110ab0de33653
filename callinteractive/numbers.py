"""Where a number leads: extended ``yyyy*zzz``, short ``zzz`` and external numbers (C1, A14)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from callinteractive.certificate import is_for
from callinteractive.model import Extension, Ivr, IvrFile, Site, Trunk
from callinteractive.names import Names

_Numbered = TypeVar("_Numbered", Ivr, Extension)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class FoundIvr:
    """An IVR and the external number that led to it (CalledDID), if one did."""

    ivr: Ivr
    did: str | None = None


class Directory:
    """Finds IVRs and extensions by what was dialled, and callers by where a request came from."""

    def __init__(self, site: Site, ivr_file: IvrFile) -> None:
        self._trunks = site.trunks
        self._ivrs = {number: FoundIvr(ivr) for number, ivr in _by_number(ivr_file.ivrs).items()}
        self._dids = {did: FoundIvr(ivr, did) for ivr in ivr_file.ivrs for did in ivr.dids}
        self._extensions = _by_number(site.extensions)
        self._by_address: dict[IPv4Address | IPv6Address, list[Extension]] = {}
        for extension in site.extensions:
            if address := _address(extension.contact_host or ""):
                self._by_address.setdefault(address, []).append(extension)
        self.has_passwords = any(extension.password for extension in site.extensions)
        """Whether any extension may register."""
        self._by_tls_name = {trunk.tls_name: trunk for trunk in site.trunks if trunk.tls_name}
        self._named_phones = [extension for extension in site.extensions if extension.contact]
        self._configured = self._by_address
        self._hosts = self._configured_hosts = _configured_hosts(site)
        self._registrars = {
            trunk.name: {_address(_host(uri.rpartition("@")[2].removeprefix("sip:"))) for uri in trunk.to}
            for trunk in site.trunks
            if trunk.registration
        }
        """The addresses of those that we register with: they call us."""
        self._learned: dict[str, set[IPv4Address | IPv6Address]] = {}
        """What the trunks' host names lead to, by the trunk's name."""
        self._callers_at = lru_cache(maxsize=4096)(self._find_callers_at)

    def learn(self, names: Names) -> None:
        """What host names of the site lead to now."""
        self._learned = {}
        for trunk in self._trunks:
            hosts = [host for name in trunk.source_names for host in names.addresses.get(name, ())]
            if trunk.registration:
                hosts += [hop.host for uri in trunk.to for hop in names.hops.get(uri, ())]
            self._learned[trunk.name] = set(map(ip_address, hosts))
        self._by_address = {address: list(extensions) for address, extensions in self._configured.items()}
        for extension in self._named_phones:
            for hop in names.hops.get(extension.contact or "", ()):
                self._by_address.setdefault(ip_address(hop.host), []).append(extension)
        found = {hop.host for hops in names.hops.values() for hop in hops}
        found |= {host for addresses in names.addresses.values() for host in addresses}
        self._hosts = self._configured_hosts | found
        self._callers_at.cache_clear()

    def find_ivr(self, dialled: str, caller: Extension | None = None) -> FoundIvr | None:
        """The IVR that `dialled` leads to: by DID, by extended number, by short number."""
        # DIDs are the same with and without the leading + of an international number.
        for number in (dialled, dialled.removeprefix("+"), f"+{dialled}") if self._dids else ():
            if found := self._dids.get(number):
                return found
        return _lookup(self._ivrs, dialled, caller)

    def find_extension(self, dialled: str, caller: Extension | None = None) -> Extension | None:
        """The extension that `dialled` leads to: by extended number or by short number."""
        return _lookup(self._extensions, dialled, caller)

    def is_configured(self, host: str) -> bool:
        """Whether the site's configuration names the host: a part of ours, a carrier, or a phone."""
        return host in self._hosts

    def find_caller(self, source_ip: str, from_user: str) -> Trunk | Extension | None:
        """Who sends from `source_ip`: an extension by its configured address, or a trunk by its networks.

        `from_user` tells several extensions at one address apart. An extension alone at its address needs none.
        """
        extensions, trunk = self._callers_at(source_ip)
        if len(extensions) == 1:
            return extensions[0]
        for extension in extensions:
            if from_user in (extension.number, extension.short_number):
                return extension
        return trunk

    def find_trunk(self, names: frozenset[str]) -> Trunk | None:
        """The trunk whose certificate has these names."""
        return next((trunk for name, trunk in self._by_tls_name.items() if is_for(name, names)), None)

    def knows_source(self, source_ip: str) -> bool:
        """Whether a trunk or a fixed phone sends from there."""
        extensions, trunk = self._callers_at(source_ip)
        return bool(extensions) or trunk is not None

    def _find_callers_at(self, source_ip: str) -> tuple[list[Extension], Trunk | None]:
        """Who may send from there. Cached: every request asks, and a site of many networks makes it slow."""
        address = _address(source_ip)
        if address is None:
            return [], None
        trunk = next((trunk for trunk in self._trunks if self._is_from(address, trunk)), None)
        return self._by_address.get(address, []), trunk

    def _is_from(self, address: IPv4Address | IPv6Address, trunk: Trunk) -> bool:
        return (
            any(address in net for net in trunk.sources)
            or address in self._learned.get(trunk.name, ())
            or address in self._registrars.get(trunk.name, ())
        )


def _configured_hosts(site: Site) -> frozenset[str]:
    gateways = (uri.rpartition("@")[2].removeprefix("sip:") for trunk in site.trunks for uri in trunk.to)
    networks = (network for trunk in site.trunks for network in trunk.sources)
    carriers = (str(network.network_address) for network in networks if network.num_addresses == 1)
    phones = (extension.contact_host for extension in site.extensions if extension.contact_host)
    ours = {sidecar.address.host for sidecar in site.sidecars} | {listen.host for listen in site.listen}
    ours |= {listen.advertised.host for listen in site.listen if listen.advertised}
    ours |= {edge.peer.host for edge in site.edges if edge.peer}
    for engine in site.rtpengines:
        ours |= {engine.ng.host, *(host for interface in engine.interfaces for host in interface[:2] if host)}
    return frozenset((*map(_host, gateways), *carriers, *phones, *ours))


def _host(hostport: str) -> str:
    """The host of a URI without its user; an IPv6 address without brackets."""
    if hostport.startswith("["):
        return hostport[1:].partition("]")[0]
    return hostport.partition(";")[0].partition(":")[0]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address; None for a host's name."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _by_number(entries: Iterable[_Numbered]) -> dict[str, _Numbered]:
    """By extended number, and by the short numbers that only one entry has: a site may have thousands of entries."""
    entries = tuple(entries)
    times = Counter(entry.short_number for entry in entries)
    short = {entry.short_number: entry for entry in entries if times[entry.short_number] == 1}
    return short | {entry.number: entry for entry in entries}


def _lookup(by_number: dict[str, _Found], dialled: str, caller: Extension | None) -> _Found | None:
    """By extended number. Else by short number: in the caller's own prefix, or where only one entry has it."""
    own = by_number.get(f"{caller.prefix}*{dialled}") if caller and "*" not in dialled else None
    return own or by_number.get(dialled)
