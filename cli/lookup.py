"""Where a SIP URI with a host name leads: NAPTR, SRV, then addresses (RFC 3263 4), and for how long that is so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.resolver

from callinteractive.names import DEFAULT_PORTS, MOST_HOPS, Hop, Target

ANSWER_S = 4.0
"""The most that one question may take."""
HOSTS_FILE_TTL_S = 60
_NOTHING = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)
_SERVICES = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
_MOST_RECORDS = 32


class LookupFailed(Exception):  # noqa: N818
    """No name server has answered, or there is no such name."""


class Found(NamedTuple):
    """What a name leads to, for so many seconds."""

    hops: tuple[Hop, ...]
    ttl_s: int


class Lookup:
    """Asks the name servers of /etc/resolv.conf, or others. `transports` are those that we can use, the best first."""

    def __init__(self, transports: Sequence[str], nameservers: Sequence[tuple[str, int]] = ()) -> None:
        # By TLS only where the URI says so: then the certificate is checked.
        self._plain = [transport for transport in transports if transport != "tls"]
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:  # a host without DNS: there is /etc/hosts
            self._resolver = dns.asyncresolver.Resolver(configure=False)
        if nameservers:
            self._resolver.nameservers = [host for host, _ in nameservers]
            self._resolver.port = nameservers[0][1]
        self._resolver.lifetime, self._resolver.timeout = ANSWER_S, ANSWER_S / 2

    async def hops(self, target: Target) -> Found:
        """Raises LookupFailed."""
        if target.port is not None:  # RFC 3263 4.2: no SRV where a port is given
            return await self._at(target.host, target.port, target.transport or "udp")
        services, ttl_s = await self._services(target)
        hops: list[Hop] = []
        for order, (name, transport) in enumerate(services):
            for record, record_ttl_s in await self._records(name, "SRV"):
                found = await self._at_or_nowhere(str(record.target), record.port, transport)
                rank = order * 65536 + record.priority
                hops += [hop._replace(priority=rank, weight=record.weight) for hop in found.hops]
                ttl_s = min(ttl_s, record_ttl_s, found.ttl_s)
        if hops:
            return Found(tuple(dict.fromkeys(hops))[:MOST_HOPS], ttl_s)
        transport = target.transport or "udp"
        return await self._at(target.host, DEFAULT_PORTS[transport], transport)

    async def addresses(self, host: str) -> Found:
        """All addresses that a carrier of this name may call from: its own and those of its SRV records."""
        found = await asyncio.gather(self._at_or_nowhere(host, 5060, "udp"), self.hops(Target(host, None, None)))
        hops = tuple(hop for one in found for hop in one.hops)
        return Found(hops, min(one.ttl_s for one in found))

    async def _services(self, target: Target) -> tuple[list[tuple[str, str]], int]:
        """The names of SRV records and their transports, in order (RFC 3263 4.1)."""
        if target.transport is None:
            records = await self._records(target.host, "NAPTR")
            records.sort(key=lambda one: (one[0].order, one[0].preference))
            services = [(str(one.replacement), _SERVICES.get(one.service.decode().lower())) for one, _ in records]
            usable = [(name, transport) for name, transport in services if transport in self._plain]
            if usable:
                return [(name, str(transport)) for name, transport in usable], min(ttl for _, ttl in records)
        transports = self._plain if target.transport is None else [target.transport]
        names = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
        return [(f"{names[transport]}.{target.host}", transport) for transport in transports], 1 << 31

    async def _records(self, name: str, kind: str) -> list[tuple[Any, int]]:
        """Records and their time to live; none where there are none. Raises LookupFailed."""
        if not self._resolver.nameservers:
            return []
        try:
            answer = await self._resolver.resolve(name, kind, search=False)
        except _NOTHING:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(str(error)[:200]) from None
        ttl = answer.rrset.ttl if answer.rrset else 0
        return [(record, ttl) for record in list(answer)[:_MOST_RECORDS]]

    async def _at_or_nowhere(self, host: str, port: int, transport: str) -> Found:
        try:
            return await self._at(host, port, transport)
        except LookupFailed:
            return Found((), 1 << 31)

    async def _at(self, host: str, port: int, transport: str) -> Found:
        """At the host's own addresses. Raises LookupFailed."""
        failure = LookupFailed(f"there is no host {host}")
        try:
            four, six = await asyncio.gather(self._records(host, "A"), self._records(host, "AAAA"))
        except LookupFailed as error:
            failure, four, six = error, [], []
        found = [(record.address, ttl) for record, ttl in (*four, *six)]
        found = found or [(address, HOSTS_FILE_TTL_S) for address in await _hosts_file(host.rstrip("."))]
        if not found:
            raise failure
        hops = tuple(Hop(0, 0, address, port, transport) for address, _ in found[:MOST_HOPS])
        return Found(hops, min(ttl for _, ttl in found))


async def _hosts_file(host: str) -> list[str]:
    """What the machine itself knows, as from /etc/hosts."""
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
