"""Which changes of a site a running part can take up, and which need its restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from callinteractive.model import Edge, Site
from callinteractive.names import has_names

_TAKEN_UP = frozenset(("trunks", "extensions", "sounds", "defaults", "internal_calls", "web_origins", "drain_s"))
"""The fields of `Site` that may change. All others are bound to sockets, processes or modules."""
_KEYS = {"edges": "sip, edges and tls", "keeps_registrations": "registrations", "database": "registrations"}
"""What they are called in site.yaml, where that differs."""


def restart_needed(before: Site, after: Site) -> Iterator[tuple[str, str]]:
    """Keys of site.yaml whose change needs a restart, each with the reason."""
    told = set()
    for field in fields(Site):
        key = _KEYS.get(field.name, field.name)
        if field.name in _TAKEN_UP or getattr(before, field.name) == getattr(after, field.name) or key in told:
            continue
        told.add(key)
        yield key, "can't change while it runs"
    if after.anchors_media and not before.anchors_media:
        yield "trunks, extensions", "the first party whose sound Kamailio takes through RTPengine (anchor_media, media)"
    if after.asks_for_certificates != before.asks_for_certificates:
        yield "trunks", "the first or the last tls.name changes what TLS asks callers for"
    if new := sorted(after.secret_variables - before.secret_variables):
        yield "trunks", f"Kamailio's environment has no {', '.join(new)}"
    if _registers(after) and not _registers(before):
        yield "trunks", "the first carrier that we register with"
    elif has_names(after) and not has_names(before) and not needs_companion(before, before.edges[0]):
        yield "trunks, extensions", "the first host name in place of an address"


def needs_companion(site: Site, edge: Edge) -> bool:
    """Whether there is something to do beside Kamailio: look up names, watch trunks, register with carriers."""
    return has_names(site) or site.kamailio.metrics is not None or registers(site, edge)


def registers(site: Site, edge: Edge) -> bool:
    """Whether this edge registers with carriers: the first one does, for all."""
    return edge == site.edges[0] and _registers(site)


def _registers(site: Site) -> bool:
    return any(trunk.registration for trunk in site.trunks)
