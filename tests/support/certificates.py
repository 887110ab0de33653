"""Certificates for tests, made by openssl: an authority, and what it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """Makes certificates in a folder. `pair.certificate` is its own."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca.key")
        _openssl(
            *("req", "-x509", *_KEY, "-days", "365", "-subj", f"/CN={name}"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # Python 3.13 wants it (RFC 5280 4.2.1.3)
            *("-keyout", str(self.pair.private_key), "-out", str(self.pair.certificate)),
        )

    def issue(self, stem: str, *names: str, days: int = 90) -> Pair:
        """`names` like ``DNS:sip.example`` or ``IP:127.0.0.1``. With 0 `days` it has expired at once."""
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        request, extensions = self.folder / f"{stem}.csr", self.folder / f"{stem}.ext"
        named = f"subjectAltName={','.join(names)}\n" if names else ""
        extensions.write_text(f"{named}basicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", *_KEY, "-subj", f"/CN={stem}", "-keyout", str(pair.private_key), "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(pair.certificate), "-days", str(days)),
            *("-CA", str(self.pair.certificate), "-CAkey", str(self.pair.private_key), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        return pair


def _openssl(*arguments: str) -> None:
    done = subprocess.run(("openssl", *arguments), check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
