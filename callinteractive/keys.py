"""The one secret of a site, from the environment, and the keys that are made of it: one for each use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

VARIABLE = "CALLINTERACTIVE_KEY"
"""32 or more hex digits, the same for all parts of a site and after a restart."""
OLD_VARIABLE = "CALLINTERACTIVE_ROUTE_KEY"
"""Its name before there was more than one use."""

ROUTES = b"route"
"""Kamailio's mark in Record-Route (`kemi.record_route`)."""
SIGNATURES = b"private"
"""The signature of private headers (`callinteractive.signature`)."""
PREPARED = b"files"
"""The signature of both configuration files, read (`callinteractive.prepared`)."""
VIEWS = b"views"
"""Encrypts whom each side of a call sees calling (`kemi.seal`)."""

REPORTS = b"reports"
"""The signature of what Kamailio reports of a call (`callinteractive.report`)."""
EDGES = b"edges"
"""The signature of what an edge asks another one for (`kemi.edges`)."""

LIVE = b"live"
"""The token with which a sidecar is asked about its calls (`sidecar.live`)."""


def site_key(environment: Mapping[str, str]) -> bytes | None:
    """The site's secret; None where the environment has none. Raises ValueError, which names the variable."""
    for variable in (VARIABLE, OLD_VARIABLE):
        if text := environment.get(variable, ""):
            try:
                key = bytes.fromhex(text)
            except ValueError:
                key = b""
            if len(key) < 16:
                raise ValueError(f"{variable} must be 32 or more hex digits: openssl rand -hex 16")
            return key
    return None


def derive(key: bytes, use: bytes) -> bytes:
    """The key of one use: 32 octets. Who knows it can't find the site's secret or the key of another use."""
    return hashlib.blake2s(key, person=use).digest()
