"""URLs of web applications taken apart: user name and password out of sight (W2), and where a redirect leads."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from callinteractive.remember import remember

_LOCATION = "!#$%&'()*+,/:;=?@[]~"
"""Besides letters and digits, what stays in a Location as it is."""
REDIRECTS = (301, 302, 303, 307, 308)
_HOST = re.compile(r"(?!.{254})[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?", re.ASCII)
"""RFC 1123 2.1, RFC 1035 2.3.4, with the _ that some networks have. An IPv4 address is one too."""
_FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_LOGIN = re.compile(r"(https?://)[^\s/?#\"'<>]*@", re.IGNORECASE)
"""To the last @ before the path, as `split_login` takes it."""


def split_login(url: str) -> tuple[str, str | None]:
    """A URL without its user name and password, and the header Authorization that says them (RFC 7617).

    A URL can't be sent with them (RFC 9110 4.2.4).
    """
    return _split_login(url) if "@" in url else (url, None)


@lru_cache(maxsize=256)
def _split_login(url: str) -> tuple[str, str | None]:
    scheme, separator, rest = url.partition("://")
    authority = rest.split("/", 1)[0].split("?", 1)[0]
    login, at, server = authority.rpartition("@")
    if not at:
        return url, None
    name, _, password = login.partition(":")
    plain = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    header = f"Basic {b64encode(plain).decode('ascii')}"
    return f"{scheme}{separator}{server}{rest[len(authority) :]}", header


def without_logins(text: str) -> str:
    """A text for logs and events: the URLs in it have no user name and no password (W2)."""
    return _LOGIN.sub(r"\1", text) if "@" in text else text


def login_problem(url: str) -> str | None:
    """Why the user name and password of a URL can't be sent, or None."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return None
    name, _, password = login.partition(":")
    if b":" in unquote_to_bytes(name):
        return "a user name has no colon (RFC 7617)"
    if any(octet < 0x20 or octet == 0x7F for octet in unquote_to_bytes(name + password)):
        return "a user name and a password have no control characters"
    return None


def server_problem(url: str) -> str | None:
    """What is wrong with the host or the port of a URL that is printable ASCII, or None.

    It shows no port that is none: a password with a / in it looks like one (W2).
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "not a URL: an IPv6 address stands in brackets, like http://[::1]/"
    try:
        port = parts.port
    except ValueError:
        return (
            "not a URL: a port is a number from 1 to 65535; write / ? # : @ of a password as %2F %3F %23 %3A %40, "
            "and an IPv6 address in brackets"
        )
    if parts.scheme not in ("http", "https") or not host:
        return "must start with http:// or https:// and a host"
    if port == 0:
        return "a port is a number from 1 to 65535"
    if parts.netloc.rpartition("@")[2].startswith("["):
        return (
            None if _is_ipv6(host) else "no IPv6 address is in the brackets; one without a zone is like http://[::1]/"
        )
    if not _HOST.fullmatch(host) or is_wrong_ipv4(host):
        return "no host has such a name: write one like ivr.example.com, or an address"
    return None


def is_wrong_ipv4(host: str) -> bool:
    """Whether it looks like an IPv4 address, and is none: no name of a host looks so."""
    try:
        return _FOUR_NUMBERS.fullmatch(host) is not None and not IPv4Address(host)
    except ValueError:
        return True


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def ascii_host(url: str) -> str | None:
    """The host's name in ASCII (RFC 3490), where it has other letters and can be written so; else None."""
    try:
        host = urlsplit(url).hostname or ""
        return None if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:
        return None


def status_problem(status: int, redirected_to: str = "") -> str:
    """Why an answer of this status can't be used: it is not 2xx. `redirected_to`: as in `events.Fetched`."""
    problem = after_redirect(f"HTTP status {status}", redirected_to)
    if status not in REDIRECTS:
        return problem
    return f"{problem}; a redirect with a Location is followed where the IVR says follow_redirects: yes"


def after_redirect(problem: str, redirected_to: str) -> str:
    """What is wrong with an answer, and where the request was redirected to, if it was."""
    return f"{problem}; redirected to {redirected_to}" if redirected_to else problem


@lru_cache(maxsize=256)
def host_of(origin: str) -> str:
    """The host of a URL, in lower case and without brackets."""
    return urlsplit(origin).hostname or ""


def origin_of(url: str) -> str:
    """Scheme, host and port, as they are written."""
    return _origin_of(url.partition("?")[0])


@remember(256)
def _origin_of(base: str) -> str:
    """base: the URL up to its query, which is new in each call."""
    return "/".join(base.split("/", 3)[:3])


def is_same_origin(url: str, other: str) -> bool:
    """RFC 6454 4."""
    return _origin(url) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def redirect_target(url: str, location: str) -> str:
    """What a Location names, perhaps no web address; without a fragment, and printable ASCII."""
    where = quote(location, safe=_LOCATION, encoding="latin-1")
    try:
        return urljoin(url, where).partition("#")[0]
    except ValueError:  # brackets that are none of an IPv6 address
        return where.partition("#")[0]


def follow(url: str, location: str) -> str:
    """Where a Location leads (RFC 9110 10.2.2), without a fragment. Raises ValueError where that is no web address."""
    target = redirect_target(url, location)
    if problem := server_problem(target):
        raise ValueError(f"the redirect leads to no web address: {problem}")
    return target
