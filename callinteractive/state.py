"""Where calls are written down, so that they outlive their sidecar: the key `state` of site.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from callinteractive.fleet import Address
from callinteractive.redis_url import HOST, NUMBER, PASSWORD, PASSWORD_WORDS, PORT, is_port
from callinteractive.secret import Secret

FILE = "calls.db"
"""Of `embedded`: all sidecars of a host use the same one."""
VARIABLE = "CALLINTERACTIVE_STATE_FILE"
"""The environment variable with its path, for the sidecars that `run` starts."""
EXAMPLE = "valkey://10.0.0.20:6379/1"
_ONE = rf"(?:{HOST}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::{PORT})?"
_URL = re.compile(
    rf"(?P<scheme>valkey|redis)(?P<tls>s)?(?:\+(?P<form>sentinel|cluster))?://"
    rf"(?:(?P<user>{PASSWORD})?:(?P<password>{PASSWORD})@)?(?P<servers>{_ONE}(?:,{_ONE}){{0,15}})"
    rf"(?:/(?P<path>[0-9A-Za-z._/-]{{0,200}}))?",
    re.ASCII,
)
_SENTINEL_PATH = re.compile(rf"([0-9A-Za-z._-]{{1,128}})(?:/({NUMBER}))?", re.ASCII)

Kind = Literal["none", "embedded", "valkey"]
Form = Literal["single", "sentinel", "cluster"]


@dataclass(frozen=True, slots=True)
class State:
    """`none`: nowhere. `embedded`: in a file of each host. `valkey`: in Valkey or Redis servers.

    `servers` are the Sentinels where the form is that, and `master` is the name they know it by. `ca` is a PEM file of
    the authorities that are believed, relative to site.yaml; None: those of the system.
    """

    kind: Kind = "embedded"
    form: Form = "single"
    servers: tuple[Address, ...] = ()
    number: int = 0
    master: str = ""
    user: str = ""
    password: Secret | None = None
    sentinel_password: Secret | None = None
    is_tls: bool = False
    ca: str | None = None
    scheme: str = field(default="valkey", compare=False)

    def __str__(self) -> str:
        """As site.yaml writes it, without the password."""
        if self.kind != "valkey":
            return self.kind
        form = "" if self.form == "single" else f"+{self.form}"
        servers = ",".join(map(str, self.servers))
        path = {"single": f"/{self.number}", "sentinel": f"/{self.master}/{self.number}", "cluster": ""}[self.form]
        return f"{self.scheme}{'s' if self.is_tls else ''}{form}://{servers}{path}"


def parse(text: str) -> State:
    """`embedded`, `none` or a URL. Raises ValueError, whose text does not show `text`: a password may be in it."""
    if text in ("none", "embedded"):
        return State(text)  # type: ignore[arg-type]  # one of the two
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(
            f'must be embedded, none, or like "{EXAMPLE}", "valkey+sentinel://HOST:26379,HOST:26379/NAME" or '
            f'"valkey+cluster://HOST:6379,HOST:6379"; {PASSWORD_WORDS}: any other one goes into a file, '
            "state: {url: …, password: {file: NAME}}"
        )
    form: Form = match["form"] or "single"  # type: ignore[assignment]  # the expression allows no other
    servers = [_server(one, 26379 if form == "sentinel" else 6379) for one in match["servers"].split(",")]
    if form == "single" and len(servers) > 1:
        raise ValueError("several servers need valkey+sentinel:// or valkey+cluster://")
    master, number = _path(form, match["path"] or "")
    return State(
        "valkey",
        form,
        tuple(servers),
        number,
        master,
        match["user"] or "",
        Secret(match["password"]) if match["password"] else None,
        is_tls=bool(match["tls"]),
        scheme=match["scheme"],
    )


def _server(text: str, port: int) -> Address:
    """Raises ValueError."""
    host, colon, written = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, written = text, str(port)
    if not is_port(written):
        raise ValueError("a port is a number from 1 to 65535")
    return Address(host.strip("[]"), int(written))


def _path(form: Form, text: str) -> tuple[str, int]:
    """What follows the servers: the name of the master, and the number of the database. Raises ValueError."""
    if form == "sentinel":
        match = _SENTINEL_PATH.fullmatch(text)
        if match is None:
            raise ValueError('needs the name that the Sentinels know the master by: "…:26379/NAME" or "…/NAME/NUMBER"')
        return match[1], int(match[2] or 0)
    if form == "cluster" and text:
        raise ValueError("a cluster has no numbered databases: end the URL after the last port")
    if text and not re.fullmatch(NUMBER, text, re.ASCII):
        raise ValueError(f'after the port comes the number of the database, as in "{EXAMPLE}"')
    return "", int(text or 0)
