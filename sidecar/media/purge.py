"""Calls that an RTPengine must forget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from contextlib import suppress

from sidecar.media.ng_failures import NgUnknownCall
from sidecar.media.ready import MARK
from sidecar.media.rtpengine import NgClient

_LIST_LIMIT = 1500  # calls that a reply in one datagram can name
_AT_ONCE = 50  # commands: fewer than RTPengine's socket has room for


async def purge(ng: NgClient, prefix: str, spared: Set[str] = frozenset()) -> int:
    """Delete the calls whose id starts with `prefix`, left behind by a sidecar that died; returns how many.
    Those in `spared` stay.

    RTPengine lists calls in no order and cannot be asked for the rest of them, so on one that holds more than
    `_LIST_LIMIT` some may stay, until its own timeout. Raises NgFailure when RTPengine does not answer.
    """
    seen, deleted = set[str](), 0
    while True:
        reply = await ng.command("list", fields={"limit": _LIST_LIMIT})
        calls = [call for each in reply.get("calls") or () if (call := str(each)).startswith(prefix)]
        new = [call for call in calls if call not in seen]
        if not new:
            return deleted
        for start in range(0, len(new), _AT_ONCE):
            batch = new[start : start + _AT_ONCE]
            are_spared = await asyncio.gather(*(_is_spared(ng, call, spared) for call in batch))
            found = [call for call, is_spared in zip(batch, are_spared, strict=True) if not is_spared]
            await delete(ng, found)
            deleted += len(found)
        seen.update(new)


async def _is_spared(ng: NgClient, call: str, spared: Set[str]) -> bool:
    """A session that was made in advance has another name than its call: RTPengine tells that one as its label, or none
    before it knows the caller. Raises NgFailure when RTPengine does not answer."""
    if MARK not in call:
        return call in spared
    with suppress(NgUnknownCall):
        parties = (await ng.command("query", call)).get("tags") or {}
        return any(party["label"] in spared for party in parties.values() if "label" in party)
    return False


async def delete(ng: NgClient, calls: Sequence[str]) -> None:
    """Delete these calls, those that RTPengine still has. Raises NgFailure when it does not answer."""
    for start in range(0, len(calls), _AT_ONCE):
        batch = calls[start : start + _AT_ONCE]
        commands = (ng.command("delete", call, {"delete-delay": 0}) for call in batch)
        for outcome in await asyncio.gather(*commands, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, NgUnknownCall):
                raise outcome
