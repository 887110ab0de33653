"""What is wrong with a site's certificates, in words that name a remedy. Asked before Kamailio reads them.

This process may use Python's `ssl`. Nothing that Kamailio's workers import may: it would share OpenSSL with Kamailio's
TLS module, and Kamailio 5.6 crashes from that.
"""

from __future__ import annotations

import _ssl
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from callinteractive.fleet import Tls
from callinteractive.names import is_address
from sidecar.files import stamp

SYSTEM_CA = Path("/etc/ssl/certs")
"""The authorities that Debian believes (package ca-certificates): a file for each, found by its name's hash."""
EXPIRES_SOON_DAYS = 14

Stamps = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Files:
    """The files that `Tls` names. `ca` is a file with the authorities that we believe, or `SYSTEM_CA`."""

    certificate: Path
    private_key: Path
    ca: Path

    @classmethod
    def of(cls, tls: Tls, folder: Path) -> Files:
        """`folder` is that of site.yaml: what is not absolute is relative to it."""
        here = folder.resolve()
        return cls(here / tls.certificate, here / tls.private_key, here / tls.ca if tls.ca else SYSTEM_CA)

    def stamps(self) -> Stamps:
        """Another value after any of them has changed. Raises nothing."""
        return tuple(stamp(path) for path in (self.certificate, self.private_key, self.ca))


def problems(files: Files) -> list[str]:
    """Why Kamailio can't use them, a line each."""
    named = [("certificate", files.certificate), ("private_key", files.private_key)]
    if files.ca != SYSTEM_CA:
        named.append(("ca", files.ca))
    unreadable = [f"tls.{key}: {reason}" for key, path in named if (reason := _unreadable(path))]
    return unreadable or list(_problems(files))


def _problems(files: Files) -> Iterator[str]:
    """Of files that can be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if files.ca != SYSTEM_CA:
            context.load_verify_locations(files.ca)
    except ssl.SSLError:
        yield f"tls.ca: {files.ca} holds no certificate in PEM form"
    held = _read(files.certificate)
    if held is None:
        yield f"tls.certificate: {files.certificate} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        return
    try:
        context.load_cert_chain(files.certificate, files.private_key, password=_no_password)
    except _EncryptedError:
        yield f"tls.private_key: {files.private_key} has a password, which Kamailio can't ask for: store it without"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield f"tls.private_key: {files.private_key} does not belong to the certificate in {files.certificate}"
        else:
            yield f"tls.private_key: {files.private_key} holds no usable private key in PEM form: {error.reason}"
    if _time(held, "notAfter") < datetime.now(UTC):
        yield f"tls.certificate: {files.certificate} expired on {_time(held, 'notAfter'):%Y-%m-%d}: renew it"


def warnings(files: Files, hosts: tuple[str, ...]) -> Iterator[str]:
    """What will go wrong, or does for some, though Kamailio starts. `hosts`: what those who connect call us."""
    held = None if _unreadable(files.certificate) else _read(files.certificate)
    if held is None:
        return
    where, now, ends = f"tls.certificate: {files.certificate}", datetime.now(UTC), _time(held, "notAfter")
    if now <= ends and (ends - now).days < EXPIRES_SOON_DAYS:
        yield f"{where} expires on {ends:%Y-%m-%d}: renew it in time"
    if _time(held, "notBefore") > now:
        yield f"{where} is not valid before {_time(held, 'notBefore'):%Y-%m-%d %H:%M} UTC"
    names = names_of(held)
    if not names:
        yield f"{where} names no host (subjectAltName): phones and carriers that check it will refuse it"
    has_host_names = not all(map(is_address, names))
    for host in hosts:
        # Whom others call by name has an address too, which the certificate need not have.
        if names and not (has_host_names and is_address(host)) and not _is_named(host, names):
            yield f"{where} is for {', '.join(sorted(names))}, not for {host}"


def names_of(held: dict[str, Any]) -> set[str]:
    """The hosts that a certificate is for, as `ssl` describes it. Not its common name (RFC 5922 7.1, RFC 9525 2)."""
    kinds = ("DNS", "IP Address")
    return {value.strip().lower() for kind, value in held.get("subjectAltName", ()) if kind in kinds}


def _is_named(host: str, names: set[str]) -> bool:
    """A name with * stands for one more label at its left (RFC 9525 6.3)."""
    if is_address(host):
        return any(is_address(name) and ip_address(name) == ip_address(host) for name in names)
    return bool({host.lower(), f"*.{host.lower().partition('.')[2]}"} & names)


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return f"there is no file {path}"
    except PermissionError:
        return f"{path} can't be read by the user {getuser()}: give it to the group of that user (chgrp, chmod g+r)"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _read(path: Path) -> dict[str, Any] | None:
    """The first certificate in the file, as `ssl` describes one. None if there is none."""
    try:
        # The only way of the standard library to read a certificate that no connection has brought.
        held: dict[str, Any] = _ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    except ssl.SSLError:
        return None
    return held


def _time(held: dict[str, Any], key: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(held[key]), UTC)


class _EncryptedError(Exception):
    """A private key needs a password."""


def _no_password() -> str:
    raise _EncryptedError
