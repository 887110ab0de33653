"""How site.yaml and ivr.yaml write addresses, numbers and names.

`read_…` returns the value, and notes a finding where it is wrong. `check_…` says what is wrong with a text, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

from callinteractive.document import Value
from callinteractive.model import Address, Listen, Transport
from callinteractive.sounds import is_sound_name

_EXTENDED = re.compile(r"[0-9]{1,10}\*[0-9]{1,10}", re.ASCII)
_DID = re.compile(r"\+?[0-9]{1,20}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HOST = r"(?:[0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
"""A host as a URI writes it; `socket_host` makes of it what a socket takes."""
_INTERFACE = re.compile(r"[0-9A-Za-z._:/!\[\]-]{1,253}", re.ASCII)
_ADDRESS = re.compile(rf"({_HOST}):([0-9]{{1,5}})", re.ASCII)
_LISTEN = re.compile(rf"(udp|tcp|tls|ws|wss):({_HOST}):([0-9]{{1,5}})", re.ASCII)
_TRANSPORTS: dict[str, Transport] = {"udp": "udp", "tcp": "tcp", "tls": "tls", "ws": "ws", "wss": "wss"}
_ORIGIN = re.compile(r"https?://(?:[0-9a-z.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_SIP_URI = re.compile(
    rf"sip:(?:[0-9A-Za-z*._~+-]{{1,64}}@)?({_HOST})(?::([0-9]{{1,5}}))?(?:;transport=(?:udp|tcp))?", re.ASCII
)


def read_listen(value: Value) -> tuple[Listen, ...]:
    found = []
    for item in value.items():
        match = _LISTEN.fullmatch(item.text())
        host = socket_host(match[2]) if match else None
        if match and host and 1 <= int(match[3]) <= 65535:
            found.append(Listen(_TRANSPORTS[match[1]], host, int(match[3])))
        else:
            item.wrong('must be like "udp:127.0.0.1:5060"; besides udp there are tcp, tls, ws and wss')
    if not any(listen.transport == "udp" for listen in found):
        value.wrong("at least one UDP address is needed: Kamailio speaks UDP with the sidecars")
    return tuple(found)


def read_address(value: Value, default: Address) -> Address:
    match = _ADDRESS.fullmatch(value.text(str(default)))
    host = socket_host(match[1]) if match else None
    if match and host and 1 <= int(match[2]) <= 65535:
        return Address(host, int(match[2]))
    value.wrong('must be like "127.0.0.1:22222"')
    return default


def read_network(value: Value) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(value.text())
    except ValueError as error:
        value.wrong(f'must be an address or a network like "127.0.0.2/32": {error}')
        return None


def read_sip_uri(value: Value) -> tuple[str | None, str | None]:
    """The URI and its host."""
    uri = value.optional_text()
    if uri is None:
        return None, None
    match = _SIP_URI.fullmatch(uri)
    host = socket_host(match[1]) if match else None
    if match and host and 1 <= int(match[2] or 5060) <= 65535:
        return uri, host
    value.wrong(f'must be a SIP URI like "sip:306@127.0.0.3:5090", not {uri[:60]!r}')
    return None, None


def read_sound(value: Value) -> str | None:
    name = value.optional_text()
    if name is None or is_sound_name(name):
        return name
    value.wrong("must be the name of a file in the sound library")
    return None


def check_extended(text: str) -> str | None:
    return None if _EXTENDED.fullmatch(text) else 'must be an extended number like "000*332"'


def check_did(text: str) -> str | None:
    return None if _DID.fullmatch(text) else 'must be a number like "+78123210001"'


def check_origin(text: str) -> str | None:
    is_origin = _ORIGIN.fullmatch(text)
    return None if is_origin else 'must be like "https://www.example.com", in lower case and without a path'


def check_identifier(text: str) -> str | None:
    return None if _ID.fullmatch(text) else "must be at most 64 letters, digits, _ and -"


def check_host(text: str) -> str | None:
    is_host = re.fullmatch(_HOST, text, re.ASCII) and socket_host(text)
    return None if is_host else 'must be an address like 127.0.0.1 or "[::1]"'


def socket_host(text: str) -> str | None:
    """A URI's host as a socket takes and names it: an IPv6 address shortest and without brackets. None: no address."""
    if not text.startswith("["):
        return text
    try:
        return str(IPv6Address(text[1:-1]))
    except ValueError:
        return None


def check_interface(text: str) -> str | None:
    return None if _INTERFACE.fullmatch(text) else "must be an address of this machine, like 127.0.0.1"


def check_unique(what: str, names: Iterable[tuple[Value, str]]) -> None:
    """Note a finding where a name comes again. Each name comes with its place."""
    first: dict[str, Value] = {}
    for where, name in names:
        if before := first.get(name):
            place = f"line {before.line}" if before.file == where.file else f"{before.file}:{before.line}"
            where.wrong(f"{what} {name!r} is configured twice, first in {place}")
        elif name:
            first[name] = where
