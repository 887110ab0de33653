"""Phones of extensions that have a password: where they are, and proof that they are it (A14). In memory."""

from __future__ import annotations

from callinteractive.model import Extension
from callinteractive.numbers import Directory
from kemi import ksr
from kemi.facts import decode_user

REALM = "callinteractive"
TABLE = "location"


class Registrar:
    """Knows the registered phones. Passwords come from the site's configuration."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def register(self) -> None:
        """Answer a REGISTER (RFC 3261 10.3)."""
        extension = self._find(ksr.to_user())
        if extension is None:
            ksr.reply(403, "Forbidden")
        elif self._is_proven(extension):
            ksr.save_contacts(TABLE, _address_of_record(extension))

    def find_caller(self) -> Extension | None:
        """The extension that sends the request from wherever it is. None when it has been answered."""
        extension = self._find(ksr.from_user())
        if extension is None:
            ksr.reply(403, "Forbidden")
            return None
        if not self._is_proven(extension):
            return None
        ksr.remove_credentials()
        return extension

    def contacts_of(self, extension: Extension) -> list[str]:
        """The SIP URIs of its registered phones."""
        return ksr.contacts_of(TABLE, _address_of_record(extension)) if extension.password else []

    def _find(self, user: str) -> Extension | None:
        extension = self._directory.find_extension(decode_user(user))
        return extension if extension and extension.password else None

    @staticmethod
    def _is_proven(extension: Extension) -> bool:
        """RFC 3261 22. False when the request has been challenged."""
        assert extension.password is not None
        if ksr.has_digest_of(REALM, extension.password):
            return True
        ksr.challenge(REALM)
        return False


def _address_of_record(extension: Extension) -> str:
    return f"sip:{extension.number}@{REALM}"
