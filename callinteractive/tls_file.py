"""The part of site.yaml that says what Kamailio proves its name with."""

from __future__ import annotations

from callinteractive.document import Value
from callinteractive.model import Tls

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


def _check_path(text: str) -> str | None:
    # Kamailio's own file has no way to write the others.
    is_path = text and text.isprintable() and not set(text) & set('"\\')
    return None if is_path else "must be the name of a file, relative to the folder of this one"
