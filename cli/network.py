"""What looks wrong with a site as others reach it, though it may be meant so: `callinteractive check` warns of it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from callinteractive.fleet import family_of
from callinteractive.model import Edge, Extension, Interface, RtpEngine, Site
from callinteractive.spelling import is_ip
from callinteractive.state import EXAMPLE as STORE_EXAMPLE

_SHORTEST_PASSWORD = 8
"""Characters."""
_MOST_NAMED = 5


def doubts(site: Site) -> Iterator[str]:
    """A line each: which key, what may go wrong, what to write instead."""
    yield from _controls_that_others_may_reach(site)
    yield from _loopback_of_a_fleet(site)
    yield from _edges_with_no_public_address(site)
    yield from _media_that_strangers_cannot_reach(site)
    yield from _ports_among_those_for_sound(site)
    yield from _families_without_sound(site)
    yield from _interfaces_that_nobody_is_told(site)
    yield from _stores_that_lose_calls(site)
    yield from _passwords_that_are_guessed(site)


def _controls_that_others_may_reach(site: Site) -> Iterator[str]:
    wants = "a loopback or private address"
    for engine in site.rtpengines:
        if _is_open(engine.ng.host):
            yield f"rtpengine.ng: who reaches {engine.ng} controls the sound of all calls; give it {wants}"
        if engine.http_port is not None:
            yield "rtpengine.http_port: one GET to it ends all calls; sidecar 0 shows RTPengine's figures without it"
    for host in dict.fromkeys(sidecar.address.host for sidecar in site.sidecars):
        if _is_open(host):
            yield f"sidecars.host: only Kamailio and your monitoring should reach {host}; give it {wants}"


def _loopback_of_a_fleet(site: Site) -> Iterator[str]:
    """A loopback address means another machine on each host."""
    edges = {f"edges, {edge.name}": edge.udp_address.host for edge in site.edges}
    sidecars = {f"sidecars, host {each.address.host}": each.address.host for each in site.sidecars}
    engines = {f"rtpengines, {engine.name}: ng": engine.ng.host for engine in site.rtpengines}
    hosts = edges | sidecars | engines
    loopback = {key: host for key, host in hosts.items() if _is_loopback(host)}
    if site.is_fleet and len(loopback) < len(hosts):
        for key, host in loopback.items():
            yield f"{key}: other hosts can't reach {host}; write the address that they send to"


def _edges_with_no_public_address(site: Site) -> Iterator[str]:
    if any(_is_public_edge(edge) for edge in site.edges):
        for edge in site.edges:
            if not _is_public_edge(edge):
                yield (
                    f"edges, {edge.name}: it has private addresses only, and other edges have public ones; if callers "
                    'reach it through a NAT, add what they see: "udp:10.0.0.11:5060!198.51.100.11"'
                )


def _media_that_strangers_cannot_reach(site: Site) -> Iterator[str]:
    if not any(_is_public_edge(edge) for edge in site.edges):
        return
    for engine in site.rtpengines:
        if not any(_is_public(_shown(interface)) for interface in engine.interfaces):
            yield (
                f"{_name(site, engine)}.interface: callers of a public address are told to send their sound to "
                f"{_shown(engine.interfaces[0])}, which they can't reach; add what they see: "
                f'"{engine.interfaces[0].address}!198.51.100.21"'
            )


def _ports_among_those_for_sound(site: Site) -> Iterator[str]:
    """RTPengine passes over a port that is taken, but it may have taken the port before."""
    fixed = [address for edge in site.edges for address in (*edge.udp_addresses, edge.peer) if address]
    fixed += [each.address for each in site.sidecars] + [engine.ng for engine in site.rtpengines]
    for engine in site.rtpengines:
        for interface in engine.interfaces:
            for host, port in fixed:
                if host == interface.address and engine.port_min <= port <= engine.port_max:
                    yield f"{_name(site, engine)}.ports: udp port {port} of {host} is among them, but others use it"


def _families_without_sound(site: Site) -> Iterator[str]:
    families = {family for engine in site.rtpengines for family in engine.families}
    heard = {family_of(listen.host): listen for edge in site.edges for listen in edge.listen}
    for family, listen in heard.items():
        if family not in families:
            version = family.replace("IP", "IPv")
            key = f"{_name(site, site.rtpengines[0])}.interface"
            yield f"{key}: callers reach {listen} by {version}, but RTPengine has no such address: they get 488"


def _interfaces_that_nobody_is_told(site: Site) -> Iterator[str]:
    for engine in site.rtpengines:
        if len(engine.interfaces) > len(engine.families):
            shown = ", ".join(map(str, engine.interfaces))
            yield f"{_name(site, engine)}.interface: of {shown} parties are told only the first of each family"


def _stores_that_lose_calls(site: Site) -> Iterator[str]:
    """Of `state`: what it can't save, and who can read it."""
    hosts = {sidecar.address.host for sidecar in site.sidecars}
    is_spread = len(hosts) > 1 and not all(map(_is_loopback, hosts))
    if site.state.kind == "embedded" and is_spread:
        yield (
            "state: a file of each host can't save the calls of a host that is lost; "
            f'give all of them one server: state: "{STORE_EXAMPLE}"'
        )
    for server in site.state.servers:
        if _is_loopback(server.host) and is_spread:
            yield f"state: on each host {server.host} is another server; write the address that all hosts can reach"
        elif is_ip(server.host) and _is_public(server.host):
            yield f"state: who reaches {server} can end all calls; give it a private address"
    registrations = site.database and (site.database.host, site.database.port, site.database.number)
    if registrations in [(*server, site.state.number) for server in site.state.servers]:
        yield (
            f"state: {site.state} has the registrations too, and all of it is searched for them every minute: write "
            "another number at the end of one URL"
        )


def _name(site: Site, engine: RtpEngine) -> str:
    return "rtpengine" if len(site.rtpengines) == 1 else f"rtpengines, {engine.name}"


def _shown(interface: Interface) -> str:
    return interface.advertised or interface.address


def _passwords_that_are_guessed(site: Site) -> Iterator[str]:
    """Strangers try them day and night at any public address, to call at your cost."""
    if not any(map(_is_public_edge, site.edges)):
        return
    weak = [each.number for each in site.extensions if each.password is not None and _is_guessed(each.password, each)]
    if weak:
        more = f" and {len(weak) - _MOST_NAMED} more" if len(weak) > _MOST_NAMED else ""
        yield (
            f"extensions: the password of {', '.join(weak[:_MOST_NAMED])}{more} is soon guessed: write one by chance, "
            "as `openssl rand -hex 8` prints"
        )


def _is_guessed(password: str, extension: Extension) -> bool:
    plain = password.lower()
    return len(plain) < _SHORTEST_PASSWORD or plain.isdigit() or "change-me" in plain or extension.number in plain


def _is_public_edge(edge: Edge) -> bool:
    return any(_is_public((listen.advertised or listen.address).host) for listen in edge.listen)


def _is_public(host: str) -> bool:
    """Whether strangers may reach it. A name is taken for one that they may."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return not _is_loopback(host)


def _is_open(host: str) -> bool:
    """Whether it is an address that others than our own hosts may reach. A name can't be judged here."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_unspecified or not address.is_private


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
