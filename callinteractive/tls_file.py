"""The part of site.yaml that says what Kamailio proves its name with."""

from __future__ import annotations

import re
from dataclasses import replace

from callinteractive.document import Value
from callinteractive.fleet import Edge, Tls
from callinteractive.model import Trunk

_NAME = re.compile(r"(?=.{1,253}\Z)[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.)+[A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
_IS_ADDRESS = re.compile(r"sip:(?:[^@]*@)?(?:\[|[0-9.]+(?:[:;]|$))")
FORM = "tls: {certificate: fullchain.pem, private_key: privkey.pem}"


def read_tls(value: Value) -> Tls | None:
    if value.is_missing:
        return None
    section = value.section("certificate", "private_key", "ca")
    return Tls(
        certificate=section["certificate"].checked(_check_path),
        private_key=section["private_key"].checked(_check_path),
        ca=None if section["ca"].is_missing else section["ca"].checked(_check_path),
    )


def with_tls(value: Value, tls: Tls | None, edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    """The edges with the site's certificate, where they need one and have none of their own."""
    found = tuple(replace(edge, tls=(edge.tls or tls) if edge.speaks_tls else None) for edge in edges)
    if any(edge.speaks_tls and edge.tls is None for edge in found):
        value.wrong(f"is missing, but an edge listens for TLS: write {FORM}")
    return found


def read_trunk_tls(value: Value) -> str | None:
    """The name in a trunk's certificate."""
    if value.is_missing:
        return None
    return value.section("name")["name"].checked(_check_name).lower()


def is_secure(uri: str) -> bool:
    """Whether a SIP URI of the configuration is reached by TLS."""
    return uri.endswith(";transport=tls")


def check_trunk_tls(value: Value, trunk: Trunk, *, speaks_tls: bool) -> None:
    """Note what a trunk that is reached by TLS, or comes by it, lacks."""
    secure = [uri for uri in trunk.to if is_secure(uri)]
    if (secure or trunk.tls_name) and not speaks_tls:
        value.wrong('uses TLS, so sip.listen needs an address of TLS too, like "tls:127.0.0.1:5061"')
    if secure and not trunk.is_probed:
        value.wrong("is reached by TLS: its certificate is judged by its answers to OPTIONS, so leave out options: no")
    if not trunk.tls_name and any(_IS_ADDRESS.match(uri) for uri in secure):
        value.wrong("is reached by TLS at an address: say whose certificate it has, tls: {name: sip.carrier.example}")


def _check_name(text: str) -> str | None:
    return None if _NAME.fullmatch(text) else "must be a host name that is in its certificate, like sip.carrier.example"


def _check_path(text: str) -> str | None:
    # Kamailio's own file has no way to write the others.
    is_path = text and text.isprintable() and not set(text) & set('"\\')
    return None if is_path else "must be the name of a file, relative to the folder of this one"
