"""The sidecars of the whole site, asked about their calls (`sidecar.live`)."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp

from callinteractive.model import Sidecar
from sidecar.http_api import ApiError
from sidecar.live import MOST_CALLS, NOT_HERE, SHORTEST_ID, token_of

ANSWER_S = 3.0
"""How long a sidecar may take. One that does no more is told of, and not waited for."""
KEPT_S = 3.0
"""How long a connection stays open that nobody uses: a sidecar has a task for each. The page asks every 2 s."""
_NOBODY = "no sidecar answers"
AT_ONCE = 100
"""How many are asked at the same time."""


@dataclass(frozen=True)
class Told:
    """What a sidecar answered. `status` 0: nothing; `body` is then empty. `is_sent`: the request may have arrived."""

    sidecar: Sidecar
    status: int
    body: dict[str, Any]
    is_sent: bool = True

    @property
    def name(self) -> str:
        why = ", which has another CALLINTERACTIVE_KEY" if self.status == 401 else ""
        return f"sidecar {self.sidecar.index} ({self.sidecar.metrics}{why})"


class Sidecars:
    """``async with Sidecars(site.sidecars, key) as sidecars``. key: the site's secret (`callinteractive.keys`)."""

    def __init__(self, sidecars: Sequence[Sidecar], key: bytes) -> None:
        self._sidecars = sidecars
        self._headers = {"Authorization": f"Bearer {token_of(key)}"}

    async def __aenter__(self) -> Sidecars:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=AT_ONCE, keepalive_timeout=KEPT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def calls(self, limit: int) -> dict[str, Any]:
        """The newest calls of all sidecars, `limit` at most, and how many there are. Raises nothing."""
        limit = max(1, min(limit, MOST_CALLS))
        told = await self.ask_all("GET", f"/calls?limit={limit}")
        calls = [call for each in told for call in each.body.get("calls", ())]
        calls.sort(key=lambda call: str(call["began_at"]), reverse=True)
        return {
            "total": sum(each.body.get("total", 0) for each in told),
            "calls": calls[:limit],
            "silent": [each.name for each in told if each.status != 200],
        }

    async def call(self, call_id: str) -> dict[str, Any]:
        """One call, by its CallID, the beginning of that, or its CallAPIID. Raises ApiError."""
        return (await self._find(call_id)).body

    async def act(self, method: str, call_id: str, what: str = "", body: Any = None) -> dict[str, Any]:
        """Ask the sidecar that has the call for something. Returns the call as it was then. Raises ApiError."""
        found = await self._find(call_id)
        # By the whole id: the beginning of it may name another call by now.
        told = await self.ask(found.sidecar, method, f"/calls/{found.body['call_id']}{what}", body)
        if not told.status:
            raise ApiError(503, f"no answer from {told.name}: look whether it has done it")
        if told.status >= 300:
            raise ApiError(told.status, str(told.body.get("detail", "")))
        return told.body

    async def make(self, order: Any) -> dict[str, Any]:
        """Let a sidecar make a call. Returns the call. Raises ApiError."""
        refusals: dict[int, str] = {}
        for sidecar in random.sample(self._sidecars, len(self._sidecars)):
            told = await self.ask(sidecar, "POST", "/calls", order)
            detail = str(told.body.get("detail", ""))
            if told.status == 201:
                return told.body
            if not told.status and told.is_sent:  # not twice: somebody's phone would ring twice
                raise ApiError(503, f"no answer from {told.name}: look at the calls whether it was made")
            if told.status not in (0, 401, 503, NOT_HERE):
                raise ApiError(told.status, detail)
            refusals[told.status] = f"no answer from {told.name}" if told.status == 401 else detail
        # First what a sidecar says that could have made it.
        raise ApiError(503, next((refusals[status] for status in (503, NOT_HERE, 401) if status in refusals), _NOBODY))

    async def _find(self, call_id: str) -> Told:
        told = await self.ask_all("GET", f"/calls/{quote(call_id, safe='')}")
        found = [each for each in told if each.status == 200]
        if len(found) == 1:
            return found[0]
        if found or any(each.status == 409 for each in told):
            raise ApiError(409, f"several calls begin with {call_id}: give more of the CallID")
        if silent := [each.name for each in told if each.status != 404]:
            raise ApiError(503, f"no call {call_id} where we could ask; no answer from {', '.join(silent)}")
        short = f"; give at least {SHORTEST_ID} characters of a CallID" if len(call_id) < SHORTEST_ID else ""
        raise ApiError(404, f"no call {call_id}: it is over, or never was{short}")

    async def ask_all(self, method: str, path: str) -> list[Told]:
        """What each of them answers. Raises nothing."""
        return await asyncio.gather(*(self.ask(sidecar, method, path) for sidecar in self._sidecars))

    async def ask(
        self, sidecar: Sidecar, method: str, path: str, body: Any = None, *, within_s: float | None = None
    ) -> Told:
        """What one of them answers. Raises nothing."""
        url, limit = (
            f"http://{sidecar.metrics}{path}",
            aiohttp.ClientTimeout(total=within_s) if within_s else self._session.timeout,
        )
        try:
            async with self._session.request(method, url, json=body, timeout=limit) as response:
                said = json.loads(await response.read() or b"{}")
                return Told(sidecar, response.status, said if isinstance(said, dict) else {})
        except aiohttp.ClientConnectorError:
            return Told(sidecar, 0, {}, is_sent=False)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return Told(sidecar, 0, {})
