"""Where an external number leads: the trunks' gateways, in the order in which they are tried (A14).

A gateway that does not answer its OPTIONS is left out. One that gets none, because its carrier does not like them
(`options: no`), is left out for `REST_S` after an INVITE that it has not answered. If all are out, all are tried: more
likely we were wrong than that nobody is there. A trunk that has as many calls as it may have is passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from callinteractive.digest import Credentials
from callinteractive.dispatcher import TRUNKS
from callinteractive.model import Site, Trunk
from callinteractive.tls_file import is_secure
from kemi import ksr, nat
from kemi.anchor import Anchoring
from kemi.branch_spec import BranchSpec, converting
from kemi.codecs import can_offer
from kemi.conversion import Kind
from kemi.limits import Limits
from kemi.names import NameFile
from kemi.refusal import Refused
from kemi.resting import is_resting
from kemi.tls_peer import has_proved


class NoTrunk(Refused):
    """No trunk can take the call now. `advice` says why."""

    def __init__(self, advice: str) -> None:
        super().__init__(503, "Service Unavailable", advice=advice)


class Gateway(NamedTuple):
    """One address of a trunk. `uri` is for the INVITE, `probed` is what the dispatcher knows."""

    trunk: Trunk
    uri: str
    probed: str


class Trunks:
    """The trunks that calls go out by."""

    def __init__(self, site: Site, limits: Limits, names: NameFile) -> None:
        self._names = names
        self._trunks = tuple(trunk for trunk in site.trunks if trunk.to)
        self._limits = limits

    def branches_to(
        self, number: str, anchoring: Anchoring, offered: Kind = Kind.RTP, planned: Sequence[str] = ()
    ) -> list[BranchSpec]:
        """What to try one after the other; none where there is no trunk. Raises NoTrunk.

        `planned`: the trunks that get the same INVITE for other numbers, at the same time.
        """
        free = [trunk for trunk in self._trunks if self._limits.has_room(trunk, planned.count(trunk.name))]
        if self._trunks and not free:
            raise NoTrunk("trunks[].max_calls_out allows more calls")
        able = [trunk for trunk in free if can_offer(trunk.codecs)]
        if free and not able:
            raise NoTrunk("the caller offers none of trunks[].codecs")
        gateways = [gateway for trunk in able for gateway in self._gateways_of(trunk, number)]
        alive = [gateway for gateway in gateways if _is_alive(gateway)]
        # Where TLS is wanted, nobody gets a call who has not shown his certificate.
        usable = alive or [gateway for gateway in gateways if not is_secure(gateway.probed)]
        if gateways and not usable:
            raise NoTrunk("no trunk has shown its certificate yet; the log says why if one is refused")
        # Two trunks may be two accounts at one gateway. A branch is known by its URI: the first trunk gets the call.
        by_uri: dict[str, Gateway] = {}
        for gateway in usable:
            by_uri.setdefault(gateway.uri, gateway)
        return [
            converting(
                BranchSpec(uri, identity=trunk.identity, number=number, trunk=trunk.name, is_probed=trunk.is_probed),
                trunk,
                anchoring,
                offered,
            )
            for trunk, uri, _ in by_uri.values()
        ]

    def _gateways_of(self, trunk: Trunk, number: str) -> list[Gateway]:
        found = []
        for uri in trunk.to:
            sent = _at_gateway(trunk.number.apply(number), uri)
            hops = self._names.hops(uri)
            if hops is None:
                found.append(Gateway(trunk, sent, uri))
            elif hops:
                found += [Gateway(trunk, nat.with_alias(sent, hop.uri), hop.uri) for hop in hops]
            else:
                ksr.log_warning(f"trunk {trunk.name}: {uri} is left out: its name has not been found yet")
        return found


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


def _is_alive(gateway: Gateway) -> bool:
    if gateway.trunk.is_probed:
        probed = gateway.probed
        return ksr.is_alive(TRUNKS, probed) and (not is_secure(probed) or has_proved(probed))
    return not is_resting(gateway.uri, time.time())


def _at_gateway(number: str, uri: str) -> str:
    """The gateway's URI with `number` for its user."""
    scheme, _, rest = uri.partition(":")
    return f"{scheme}:{quote(number, safe='*+')}@{rest.rpartition('@')[2]}"
