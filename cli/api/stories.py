"""What has happened to the calls of the site: the last ones, and the records of each, from all its sidecars."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from callinteractive.record import Record
from cli.api.sidecars import Sidecars
from sidecar.http_api import ApiError
from sidecar.story import MOST_RECENT

_RANK = {"live": 2, "ended": 1, "left": 0}
"""Which sidecar's word counts where several have had a call."""


async def recent(sidecars: Sidecars) -> dict[str, Any]:
    """The last calls of the site, newest first. Raises nothing."""
    told = await sidecars.ask_all("GET", "/stories")
    calls: dict[str, dict[str, Any]] = {}
    for call in (call for each in told for call in each.body.get("calls", ())):
        known = calls.setdefault(call["call_id"], call)
        if _RANK[call["state"]] > _RANK[known["state"]]:
            calls[call["call_id"]] = call
    newest = sorted(calls.values(), key=lambda call: str(call["began_at"]), reverse=True)
    return {"calls": newest[:MOST_RECENT], "silent": [each.name for each in told if each.status != 200]}


async def records(sidecars: Sidecars, call_id: str) -> dict[str, Any]:
    """What is still known of a call, in the order in which it happened. Raises ApiError."""
    told = await sidecars.ask_all("GET", f"/stories/{quote(call_id, safe='')}")
    found: list[Record] = [record for each in told for record in each.body.get("records", ())]
    if not found:
        if silent := [each.name for each in told if each.status not in (200, 404)]:
            raise ApiError(503, f"nothing is known of {call_id} where we could ask; no answer from {', '.join(silent)}")
        raise ApiError(404, f"nothing is known of {call_id}: give the whole CallID; only the last calls are kept")
    found.sort(key=lambda record: (record["at"], record["seq"]))
    return {"records": found}


async def messages(sidecars: Sidecars, call_id: str) -> dict[str, Any]:
    """The SIP messages of a call, of all sidecars that have had it, in the order of their times. Raises ApiError."""
    told = await sidecars.ask_all("GET", f"/stories/{quote(call_id, safe='')}/sip")
    if all(each.status == 404 for each in told):
        raise ApiError(404, f"nothing is known of {call_id}: give the whole CallID; only the last calls are kept")
    found = [message for each in told for message in each.body.get("messages", ())]
    return {"messages": sorted(found, key=lambda message: str(message["at"]))}
