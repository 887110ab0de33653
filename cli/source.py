"""ivr.yaml from a web server: `--ivr https://HOST/ivr.yaml`. Fetched within bounds; it changes nothing on the disk."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from callinteractive.document import MAX_CHARACTERS
from callinteractive.request import check_url

TIMEOUT_S = 10.0
"""For everything: the connection, the headers and the body."""
MOST_BYTES = 4 * MAX_CHARACTERS
"""As much as one file may have, in UTF-8."""
_CHUNK = 64 * 1024
PREFIX = "CALLINTERACTIVE_IVR_"
TOKEN, USER, PASSWORD = PREFIX + "TOKEN", PREFIX + "USER", PREFIX + "PASSWORD"
"""Environment variables with what the server asks for. Those with `_FILE` behind them name a file that holds it."""


class SourceError(Exception):
    """There is no file from there; the text says why, in words for an operator."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a server calls the version that it gave (RFC 9110 8.8); empty where it said nothing."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`data` is None where the version that we have is still the newest."""

    data: bytes | None
    mark: Mark


def fetch(
    url: str,
    have: Mark | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    timeout_s: float = TIMEOUT_S,
    most_bytes: int = MOST_BYTES,
) -> Fetched:
    """Get the file. `have`: of the version that is here. Not inside an event loop. Raises SourceError."""
    wrong = check_url(url)
    if wrong:
        raise SourceError(wrong)
    if "@" in urlsplit(url).netloc:
        raise SourceError(f"a password in a URL is seen by all users (ps): set {USER} and {PASSWORD} instead")
    authorization = _authorization(environment)
    if authorization and not (url.lower().startswith("https://") or _is_here(url)):
        raise SourceError(f"a secret goes over https:// only: change the URL, or unset {TOKEN} and {USER}")
    # Compressed, a few octets may become gigabytes.
    headers = {"User-Agent": "callinteractive", "Accept-Encoding": "identity"}
    if authorization:
        headers["Authorization"] = authorization
    if have and have.etag:
        headers["If-None-Match"] = have.etag
    if have and have.last_modified:
        headers["If-Modified-Since"] = have.last_modified
    try:
        return asyncio.run(_exchange(url, headers, have, timeout_s, most_bytes))
    except TimeoutError:
        raise SourceError(f"no whole answer within {timeout_s:g} s") from None
    except httpx.ConnectError as error:
        raise SourceError(f"no connection ({str(error)[:200]}){_advice(str(error))}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise SourceError(f"{type(error).__name__}: {error}"[:300]) from None


def _advice(error: str) -> str:
    if "SSL" not in error:
        return ": is the address right, and does its server run?"
    is_unknown = "self-signed" in error or "issuer certificate" in error
    return ": SSL_CERT_FILE can name its authority" if is_unknown else ""


async def _exchange(
    url: str, headers: Mapping[str, str], have: Mark | None, timeout_s: float, most_bytes: int
) -> Fetched:
    # The system's authorities, or those that SSL_CERT_FILE names.
    tls = ssl.create_default_context() if url.lower().startswith("https://") else False
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout_s) as client,
        client.stream("GET", url, headers=dict(headers)) as response,
    ):
        if response.status_code == httpx.codes.NOT_MODIFIED and have is not None:
            return Fetched(None, have)
        if response.status_code != httpx.codes.OK:
            raise SourceError(_refusal(response))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise SourceError("it is compressed, although we ask for identity: switch that off in the server")
        body = bytearray()
        async for chunk in response.aiter_raw(_CHUNK):
            body += chunk
            if len(body) > most_bytes:
                raise SourceError(f"it is longer than {most_bytes:,} octets")
    return Fetched(bytes(body), Mark(response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")))


def _refusal(response: httpx.Response) -> str:
    said = f"the server answers {response.status_code}"
    if response.has_redirect_location:
        return f"{said}: it is at {response.headers['Location'][:200]!r} now; give that URL"
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"{said}: set {TOKEN}, or {USER} and {PASSWORD}, to what it asks for"
    return said


def _authorization(environment: Mapping[str, str]) -> str:
    """The value of Authorization, empty for none (RFC 6750 2.1, RFC 7617 2). Raises SourceError."""
    token, user, password = (_secret(environment, name) for name in (TOKEN, USER, PASSWORD))
    if token and user:
        raise SourceError(f"set {TOKEN} or {USER}, not both")
    if token:
        return f"Bearer {token}"
    if user:
        return _basic(user, password)
    return ""


def _basic(user: str, password: str) -> str:
    if ":" in user:
        raise SourceError(f"{USER} must not hold a colon")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _secret(environment: Mapping[str, str], name: str) -> str:
    """Of the variable, or of the file that it names. A line's end behind it does not count."""
    path = environment.get(name + "_FILE")
    try:
        value = Path(path).read_text(encoding="utf-8") if path else environment.get(name, "")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}_FILE: {path}: {error}") from None
    value = value.strip("\r\n")
    if not value.isprintable() or not value.isascii():
        raise SourceError(f"{name} must be printable ASCII on one line")
    return value


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
