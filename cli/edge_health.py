"""Whether an edge is well, for whoever asks by HTTP: a load balancer or an orchestrator."""

from __future__ import annotations

from aiohttp import web

from callinteractive.model import Address
from cli.probe import DRAINS, ask_options

ANSWER_S = 1.0
"""How long Kamailio may take."""


class EdgeHealth:
    """Asks Kamailio at `address` by SIP OPTIONS, each time that it is asked itself."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def routes(self) -> list[web.RouteDef]:
        """/healthz: whether Kamailio answers at all; /readyz: whether it takes new calls."""
        return [web.get("/healthz", self._answer_health), web.get("/readyz", self._answer_readiness)]

    async def _answer_health(self, _request: web.Request) -> web.Response:
        is_well = await ask_options(self._address, ANSWER_S) is not None
        return web.json_response({"healthy": is_well}, status=200 if is_well else 503)

    async def _answer_readiness(self, _request: web.Request) -> web.Response:
        reasons = why_not_ready(await ask_options(self._address, ANSWER_S))
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


def why_not_ready(status: int | None) -> list[str]:
    """Sentences about what Kamailio has answered; None for no answer."""
    if status is None:
        return [f"Kamailio does not answer within {ANSWER_S:g} s"]
    if status == DRAINS:
        return ["it drains: it takes no new calls"]
    return [] if 200 <= status < 300 else [f"Kamailio answers OPTIONS with {status}"]
