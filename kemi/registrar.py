"""Phones of extensions that have a password: where they are, and the check of their password (A14). In memory."""

from __future__ import annotations

from callinteractive.model import Extension
from callinteractive.numbers import Directory
from kemi import ksr
from kemi.facts import decode_user
from kemi.refusal import Answered, Refused

REALM = "callinteractive"
TABLE = "location"


class Registrar:
    """Knows the registered phones. Passwords come from the site's configuration."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def register(self) -> None:
        """Answer a REGISTER (RFC 3261 10.3). Raises Refused and Answered."""
        extension = self._find(ksr.to_user())
        _check_credentials(extension)
        ksr.save_contacts(TABLE, _address_of_record(extension))

    def find_caller(self) -> Extension:
        """The extension that sends the request, wherever it is. Raises Refused and Answered."""
        extension = self._find(ksr.from_user())
        _check_credentials(extension)
        ksr.remove_credentials()
        return extension

    def contacts_of(self, extension: Extension) -> list[str]:
        """The SIP URIs of its registered phones."""
        return ksr.contacts_of(TABLE, _address_of_record(extension)) if extension.password else []

    def _find(self, user: str) -> Extension:
        extension = self._directory.find_extension(decode_user(user))
        if extension is None or not extension.password:
            raise Refused(403, "Forbidden")
        return extension


def _check_credentials(extension: Extension) -> None:
    """RFC 3261 22. Raises Answered where the request has been challenged."""
    assert extension.password is not None
    if not ksr.has_digest_of(REALM, extension.password):
        ksr.challenge(REALM)
        raise Answered


def _address_of_record(extension: Extension) -> str:
    return f"sip:{extension.number}@{REALM}"
