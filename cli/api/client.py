"""The API as the command line asks it: where it is, the token, and what its errors mean to a person."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from callinteractive.model import Address
from cli import units
from cli.active import FOLDER
from cli.api import token
from cli.files import read_site
from cli.options import SITES
from cli.registrations import state_dir_of
from sidecar.presence import sidecars_in

ANSWER_S = 15.0
START_S = 3.0
"""How long it is waited for an API that `run` is starting: calls never wait for it, so `ready` comes first."""
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")


class ClientError(Exception):
    """Why there is no answer. The text says what to do. `status`: of the API's; 0 where there is none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Client:
    """The API at `url`."""

    url: str
    token: str

    @classmethod
    def find(cls, url: str | None, site_path: Path | None, state_dir: Path | None) -> Client:
        """By what the user says, else by the site file of this folder or host. Raises ClientError.

        The token of a state directory goes only to the address in the site file that it belongs to: who answers at
        another `url` would get it.
        """
        if url is not None and "//" not in url:
            raise ClientError(f"--api {url}: write it with http:// in front")
        try:
            given = token.given(os.environ)
        except ValueError as error:
            raise ClientError(str(error)) from None
        if url is not None and given is not None:
            return cls(url.rstrip("/"), given)
        site_path = site_path or next((path for path in SITES if path.exists()), None)
        if site_path is None:
            more = f"or call this where a site.yaml is, or give --api URL and {token.VARIABLE}"
            raise ClientError(f"which site? Give --site FILE, {more}")
        own = _address_of(site_path)
        if url is not None and not _is_at(url, own):
            raise ClientError(
                f"{url} is not the API's address in {site_path} ({own}), so it does not get the token of this host: "
                f"set {token.VARIABLE} to the token of that API"
            )
        place = state_dir or state_dir_of(site_path)
        if place:
            _wait_for_start(place, own)
        shown = given or token.read(place) or (None if state_dir else token.read(units.STATE))
        if shown is None:
            where = f"none can be read from {place / token.FILE}" if place else "no folder is known where it is kept"
            raise ClientError(
                f"the API's token is missing: {where}. Is `callinteractive run` up, and are you its user? "
                f"Give the same --site and --state-dir, or set {token.VARIABLE}."
            )
        return cls(f"http://{own}", shown)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, within_s: float = ANSWER_S) -> Any:
        """The answer to a request. Raises ClientError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
            # An address of ours: no proxy of the environment is asked.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
            with opener.open(request, timeout=within_s) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ClientError(self._other_token if error.code == 401 else _detail(error), error.code) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ClientError(f"no API at {self.url}: {reason}. Is `callinteractive run` up?") from None

    @property
    def _other_token(self) -> str:
        return (
            f"the API at {self.url} does not know this token. Give the same --site and --state-dir as "
            f"`callinteractive run` has, or set {token.VARIABLE} to its token"
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The API has none. Who else answers with one must not choose who gets the token."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _address_of(site_path: Path) -> Address:
    """The API's, as the site file says. Raises ClientError."""
    site, findings = read_site(site_path)
    if site is None:
        raise ClientError("\n".join(map(str, findings)))
    if site.api is None:
        raise ClientError(f"{site_path} says api: no. Take that line out, and restart")
    return site.api.listen


def _wait_for_start(place: Path, address: Address) -> None:
    """Until it answers, while sidecars of this state directory run; for `START_S` at most."""
    end = time.monotonic() + START_S
    with suppress(OSError):  # it is another user's folder
        while not _listens(address) and time.monotonic() < end and sidecars_in(place / FOLDER):
            time.sleep(0.1)


def _listens(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), 1.0).close()
    except OSError:
        return False
    return True


def _is_at(url: str, address: Address) -> bool:
    """Whether a URL leads to this address of ours, and nowhere else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme != "http" or "@" in parts.netloc or parts.path.strip("/") or (port or 80) != address.port:
        return False
    return host == address.host or (host in _THIS_MACHINE and address.host in {*_THIS_MACHINE, *_EVERYWHERE})


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the API answers {error.code} {error.reason}"
