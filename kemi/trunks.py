"""Where an external number leads: the trunks' gateways, in the order in which they are tried (A14).

A gateway that does not answer its OPTIONS is left out. One that gets none, because its carrier does not like them
(`options: no`), is left out for `REST_S` after an INVITE that it has not answered. If all are out, all are tried: more
likely we were wrong than that nobody is there. A trunk that has as many calls as it may have is passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from callinteractive.digest import Credentials
from callinteractive.dispatcher import TRUNKS
from callinteractive.model import Site, Trunk
from callinteractive.tls_file import is_secure
from kemi import ksr
from kemi.anchor import Anchoring
from kemi.conversion import Kind
from kemi.fork import BranchSpec, converting
from kemi.limits import Limits
from kemi.refusal import Refused
from kemi.resting import is_resting
from kemi.tls_peer import has_proved


class TrunksFull(Refused):
    """Every trunk has as many calls as it may have."""

    def __init__(self, advice: str = "trunks[].max_calls_out allows more calls") -> None:
        super().__init__(503, "Service Unavailable", advice=advice)


class NoneProved(TrunksFull):
    """The trunks are reached by TLS, and none has shown a good certificate."""

    def __init__(self) -> None:
        super().__init__("no trunk has shown its certificate yet; the log says why if one is refused")


class Trunks:
    """The trunks that calls go out by."""

    def __init__(self, site: Site, limits: Limits) -> None:
        self._trunks = tuple(trunk for trunk in site.trunks if trunk.to)
        self._limits = limits

    def branches_to(self, number: str, anchoring: Anchoring, offered: Kind = Kind.RTP) -> list[BranchSpec]:
        """What to try one after the other; none where there is no trunk. Raises TrunksFull."""
        free = [trunk for trunk in self._trunks if self._limits.has_room(trunk)]
        if self._trunks and not free:
            raise TrunksFull
        gateways = [(trunk, uri) for trunk in free for uri in trunk.to]
        alive = [(trunk, uri) for trunk, uri in gateways if _is_alive(trunk, uri)]
        # Where TLS is wanted, nobody gets a call who has not shown his certificate.
        usable = alive or [(trunk, uri) for trunk, uri in gateways if not is_secure(uri)]
        if gateways and not usable:
            raise NoneProved
        return [
            converting(
                BranchSpec(
                    _at_gateway(trunk.number.apply(number), uri),
                    identity=trunk.identity,
                    number=number,
                    trunk=trunk.name,
                    is_probed=trunk.is_probed,
                ),
                trunk,
                anchoring,
                offered,
            )
            for trunk, uri in usable
        ]


def credentials_of(
    site: Site, environment: Mapping[str, str], read_file: Callable[[str], str]
) -> dict[str, Credentials]:
    """What we answer when a trunk asks for a password, by its name. Raises SecretError."""
    return {
        trunk.name: Credentials(
            trunk.login.username, trunk.login.password.read(environment, read_file), trunk.login.realm
        )
        for trunk in site.trunks
        if trunk.login
    }


def _is_alive(trunk: Trunk, uri: str) -> bool:
    if trunk.is_probed:
        return ksr.is_alive(TRUNKS, uri) and (not is_secure(uri) or has_proved(uri))
    return not is_resting(uri, time.time())


def _at_gateway(number: str, uri: str) -> str:
    """The gateway's URI with `number` for its user."""
    scheme, _, rest = uri.partition(":")
    return f"{scheme}:{quote(number, safe='*+')}@{rest.rpartition('@')[2]}"
