"""The registrations with carriers that an edge keeps: a table in its run directory, which Kamailio's uac module reads.

Only the first edge of a fleet registers: a carrier that knew several would ring all of them for each call.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from callinteractive.model import Edge, Listen, Site, Trunk
from callinteractive.names import Hop, Names, target_of
from callinteractive.secret import SecretError

VARIABLE = "CALLINTERACTIVE_CONTACT"
"""In Kamailio's environment: our address for the carriers; set where the edge registers."""
FOLDER = "trunks"
"""In the run directory: only Kamailio's user may read it."""
_LAYOUT = (
    "id(int,auto) l_uuid(string) l_username(string) l_domain(string) r_username(string) r_domain(string)"
    " realm(string,null) auth_username(string) auth_password(string,null) auth_ha1(string,null) auth_proxy(string)"
    " expires(int) flags(int) reg_delay(int) contact_addr(string,null) socket(string,null)"
)
_VERSION = 5
_ESCAPES = {"\\": "\\\\", ":": "\\:", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def contact_of(edge: Edge) -> str:
    """Our address for carriers, where a registration has none of its own."""
    return _address_of(edge.listen[0])


def write(site: Site, site_dir: Path, edge: Edge, names: Names, run_dir: Path, environment: Mapping[str, str]) -> bool:
    """Write the table. Returns whether it has changed. A trunk whose name or password is not there yet is left out."""
    folder = run_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    rows = [row for trunk in site.trunks if (row := _row(trunk, site_dir, edge, names, environment))]
    lines = [_LAYOUT, *(":".join([str(number), *map(_escaped, row)]) for number, row in enumerate(rows, 1)), ""]
    _put(folder / "version", f"table_name(string) table_version(int)\nuacreg:{_VERSION}\n")
    return _put(folder / "uacreg", "\n".join(lines))


def _row(
    trunk: Trunk, site_dir: Path, edge: Edge, names: Names, environment: Mapping[str, str]
) -> tuple[str, ...] | None:
    """All columns but the first."""
    if not (trunk.registration and trunk.login):
        return None
    uri = trunk.to[0]
    target = target_of(uri)
    hops = names.hops.get(uri, ())
    hop = min(hops) if hops else Hop(0, 0, target.host, target.port or 5060, target.transport or "udp")
    try:
        password = trunk.login.password.read(environment, lambda name: (site_dir / name).read_text(encoding="utf-8"))
    except SecretError:
        return None  # Kamailio says so, and does not start
    user, _, domain = trunk.login.username.partition("@")
    host = f"[{target.host}]" if ":" in target.host else target.host
    listen = _listen_for(edge, hop)
    username = trunk.login.username
    return (
        trunk.registration.contact_user,
        user,
        domain or host,
        user,
        domain or host,
        trunk.login.realm or "",
        username,
        *_secret_of(username, trunk.login.realm, password),
        hop.uri,
        str(trunk.registration.expires_s),
        "0",
        "0",
        _address_of(listen) if listen else "",
        f"{listen.transport}:{listen.address}" if listen else "",
    )


def _secret_of(username: str, realm: str | None, password: str) -> tuple[str, str]:
    """The password and its hash with the realm (RFC 7616 3.4.2): the hash alone, where the realm is known."""
    if realm is None:
        return password, ""
    return "", hashlib.md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def _listen_for(edge: Edge, hop: Hop) -> Listen | None:
    """Where Kamailio sends from, and is called: of the same transport and family."""
    alike = (listen for listen in edge.listen if listen.transport == hop.transport)
    return next((listen for listen in alike if (":" in listen.host) == (":" in hop.host)), None)


def _address_of(listen: Listen) -> str:
    address = listen.advertised or listen.address
    return f"{address}" + ("" if listen.transport == "udp" else f";transport={listen.transport}")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in text)


def _put(path: Path, text: str) -> bool:
    """Whole, for this user's eyes only. Returns whether it differs from what was there."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
    return True
