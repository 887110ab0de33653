"""Trunks that prove who they are by a password, wherever they call from (`trunks[].inbound`, RFC 3261 22).

A caller that we don't know is asked for a password. The user name of its answer tells whether it is a trunk or a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callinteractive.model import Site, Trunk
from kemi import ksr
from kemi.edges import REALM
from kemi.guesses import Guesses
from kemi.ksr import Proof


class TrunkCallers:
    """Knows their passwords. Raises SecretError where one can't be had."""

    def __init__(self, site: Site, environment: Mapping[str, str], read_file: Callable[[str], str]) -> None:
        self._by_user = {
            trunk.inbound.username: (trunk, trunk.inbound.password.read(environment, read_file))
            for trunk in site.trunks
            if trunk.inbound
        }

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def find(self) -> Trunk | None:
        """The trunk that sends the INVITE at hand; None where it has no trunk's user name.

        Raises Refused and Answered.
        """
        if not self._by_user:
            return None
        trunk, password = self._by_user.get(ksr.credentials_user(), (None, ""))
        if trunk is None:
            return None
        guesses = Guesses(ksr.source_host(), f"trunk {trunk.name}")
        guesses.check()
        proof = ksr.check_digest(REALM, password, is_user_checked=False)  # From is the caller's number
        if proof is Proof.GOOD:
            guesses.on_good()
            ksr.remove_credentials()
            return trunk
        raise guesses.challenge(proof)
