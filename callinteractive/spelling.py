"""How site.yaml and ivr.yaml write addresses, numbers and names.

`read_…` returns the value, and notes a finding where it is wrong. `check_…` says what is wrong with a text, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from callinteractive.document import Value
from callinteractive.fleet import Address, Interface, Listen, Transport
from callinteractive.redis_url import HOST
from callinteractive.sounds import is_sound_name
from callinteractive.urls import is_wrong_ipv4

_EXTENDED = re.compile(r"[0-9]{1,10}\*[0-9]{1,10}", re.ASCII)
_DID = re.compile(r"\+?[0-9]{1,20}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HOST = rf"(?:{HOST}|\[[0-9A-Fa-f:.]{{2,45}}\])"
"""A host as a URI writes it; `socket_host` makes of it what a socket takes."""
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62})\.)+[A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
"""A host name with a dot at least: the last label has a letter first, so it is no address."""
_INTERFACE = re.compile(
    r"(?:([0-9A-Za-z_-]{1,32})/)?([0-9A-Fa-f:.\[\]]{2,47})(?:!([0-9A-Fa-f:.\[\]]{2,47}))?", re.ASCII
)
_UNSPECIFIED = re.compile(r"(?:0x)?0+(?:\.(?:0x)?0+){0,3}|::(?:ffff:)?(?:0+(?:\.0+){3}|0:0)?", re.ASCII | re.IGNORECASE)
"""The address that stands for all addresses, in the forms that a resolver takes."""
_ADDRESS = re.compile(rf"({_HOST}):([0-9]{{1,5}})", re.ASCII)
_TRANSPORTS: dict[str, Transport] = {"udp": "udp", "tcp": "tcp", "tls": "tls", "ws": "ws", "wss": "wss"}
_LISTEN = re.compile(
    rf"({'|'.join(_TRANSPORTS)}):({_HOST}):([0-9]{{1,5}})(?:!({_HOST})(?::([0-9]{{1,5}}))?)?", re.ASCII
)
_ORIGIN = re.compile(r"https?://(?:[0-9a-z.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_SIP_URI = re.compile(
    rf"(sips?):((?:[0-9A-Za-z*._~+-]{{1,64}}@)?({_HOST})(?::([0-9]{{1,5}}))?)(?:;transport=(udp|tcp|tls))?", re.ASCII
)


def read_listen(value: Value) -> Listen | None:
    """``TRANSPORT:HOST:PORT[!ADVERTISED[:PORT]]``."""
    match = _LISTEN.fullmatch(value.text())
    address = _address(match[2], match[3]) if match else None
    advertised = _address(match[4], match[5] or match[3]) if match and match[4] else None
    if match is None or address is None or (match[4] and advertised is None):
        value.wrong(
            'must be like "udp:127.0.0.1:5060", or behind a NAT "udp:10.0.0.11:5060!198.51.100.11"; '
            "besides udp there are tcp, tls, ws and wss"
        )
        return None
    for host in (address.host, advertised.host if advertised else ""):
        if reason := unspecified(host):
            value.wrong(reason)
    return Listen(_TRANSPORTS[match[1]], *address, advertised)


def unspecified(host: str) -> str | None:
    """What is wrong with an address that stands for all of them, like 0.0.0.0; None for any other."""
    if not _UNSPECIFIED.fullmatch(host):
        return None
    return (
        f"{host} means every address, but the others must be told one that they can send to: write that one, like "
        "10.0.0.11 or [2001:db8::11], or list several; `ip address` shows what this machine has"
    )


def read_interface(value: Value) -> Interface | None:
    """``[NAME/]ADDRESS[!ADVERTISED]``. Both are IP addresses: they stand in SDP."""
    match = _INTERFACE.fullmatch(value.text())
    address, advertised = (_ip(match[2]), _ip(match[3])) if match else (None, None)
    if match is None or address is None or (match[3] and advertised is None):
        value.wrong('must be an address of the machine like 10.0.2.1, or "10.0.2.1!198.51.100.21" behind a NAT')
        return None
    for host in (address, advertised or ""):
        if reason := unspecified(host):
            value.wrong(reason)
    return Interface(address, advertised, match[1])


def read_address(value: Value, default: Address) -> Address:
    match = _ADDRESS.fullmatch(value.text(str(default)))
    address = _address(match[1], match[2]) if match else None
    if address is None:
        value.wrong(f'must be like "{default}"')
        return default
    if reason := unspecified(address.host):
        value.wrong(reason)
    return address


def read_host(value: Value, default: str) -> str:
    """An IP address, an IPv6 one with or without brackets."""
    address = _ip(value.text(default))
    if address is None:
        value.wrong('must be an address like 127.0.0.1 or "[::1]"')
    elif reason := unspecified(address):
        value.wrong(reason)
    return address or default


def read_source(value: Value) -> IPv4Network | IPv6Network | str | None:
    """An address or a network; a host name is returned in lower case."""
    text = value.text()
    try:
        return ip_network(text)
    except ValueError as error:
        if _NAME.fullmatch(text):
            return text.lower()
        value.wrong(f'must be an address or a network like "127.0.0.2/32", or a host name: {error}')
        return None


def read_sip_uri(value: Value) -> tuple[str | None, str | None]:
    """The URI and its host.

    `sips:` becomes `transport=tls`: it would promise TLS on every hop, also on those behind the next one, which we
    can't know (RFC 5630 3.1.3).
    """
    uri = value.optional_text()
    if uri is None:
        return None, None
    match = _SIP_URI.fullmatch(uri)
    host = socket_host(match[3]) if match else None
    if match and host and 1 <= int(match[4] or 5060) <= 65535 and not (match[1] == "sips" and match[5] == "udp"):
        return (f"sip:{match[2]};transport=tls" if match[1] == "sips" else uri), host
    value.wrong(f'must be a SIP URI like "sip:306@127.0.0.3:5090", not {uri[:60]!r}')
    return None, None


def read_sound(value: Value) -> str | None:
    name = value.optional_text()
    if name is None or is_sound_name(name):
        return name
    value.wrong("must be the name of a file in the sound library")
    return None


def check_extended(text: str) -> str | None:
    if _EXTENDED.fullmatch(text):
        return None
    short = text if text.isascii() and text.isdigit() else "332"
    return f'must be an extended number like "000*{short[:20]}", which phones dial as {short[:20]}'


def check_did(text: str) -> str | None:
    return None if _DID.fullmatch(text) else 'must be a number like "+78123210001"'


def check_origin(text: str) -> str | None:
    is_origin = _ORIGIN.fullmatch(text)
    return None if is_origin else 'must be like "https://www.example.com", in lower case and without a path'


def check_identifier(text: str) -> str | None:
    return None if _ID.fullmatch(text) else "must be at most 64 letters, digits, _ and -"


def socket_host(text: str) -> str | None:
    """A URI's host as a socket takes and names it: an IPv6 address shortest and without brackets. None: no address."""
    try:
        if text.startswith("["):
            return str(IPv6Address(text[1:-1]))
    except ValueError:
        return None
    return None if is_wrong_ipv4(text) and not _UNSPECIFIED.fullmatch(text) else text


def _address(host: str, port: str) -> Address | None:
    """Of what a URI holds; None where it is none."""
    bare = socket_host(host)
    return Address(bare, int(port)) if bare and 1 <= int(port) <= 65535 else None


def is_ip(host: str) -> bool:
    """Whether it is an address, not a name."""
    return _ip(host) is not None


def _ip(text: str | None) -> str | None:
    """An IP address, with or without brackets, shortest and without brackets; None for a name."""
    try:
        return str(ip_address((text or "").removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def check_unique(what: str, names: Iterable[tuple[Value, str]]) -> None:
    """Note a finding where a name comes again. Each name comes with its place."""
    first: dict[str, Value] = {}
    for where, name in names:
        if before := first.get(name):
            place = f"line {before.line}" if before.file == where.file else f"{before.file}:{before.line}"
            where.wrong(f"{what} {name!r} is configured twice, first in {place}")
        elif name:
            first[name] = where
