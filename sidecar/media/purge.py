"""Calls that an RTPengine must forget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from contextlib import suppress

from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.ng_failures import NgUnknownCall
from sidecar.media.ready import MARK
from sidecar.media.rtpengine import NgClient

_LIST_LIMIT = 1500  # calls that a reply in one datagram can name
_DELETED_AT_ONCE = 50  # fewer than RTPengine's socket has room for


async def purge(ng: NgClient, prefix: str, spared: Set[str] = frozenset()) -> int:
    """Delete the calls whose id starts with `prefix`, left behind by a sidecar that died; returns how many.
    Those in `spared` stay. Some of these may be in sessions that were ready for them (`sidecar.media.ready`): if any
    is spared, only the unused ones of these are deleted.

    RTPengine lists calls in no order and cannot be asked for the rest of them, so on one that holds more than
    `_LIST_LIMIT` some may stay, until its own timeout. Raises NgFailure when RTPengine does not answer.
    """
    deleted, used = set[str](), set[str]()
    spares_some = len(spared) > 0 or prefix in spared
    while True:
        reply = await ng.command("list", fields={"limit": _LIST_LIMIT})
        calls = [call for each in reply.get("calls") or () if (call := str(each)).startswith(prefix)]
        found = [call for call in calls if call not in deleted and call not in used and call not in spared]
        if spares_some:
            ready = [call for call in calls if call.startswith(prefix + MARK) and call not in deleted | used]
            used.update(await _used(ng, ready))
            found = [call for call in {*found, *ready} if call not in used]
        if not found:
            return len(deleted)
        await delete(ng, found)
        deleted.update(found)


async def _used(ng: NgClient, sessions: Sequence[str]) -> list[str]:
    """Those that have a caller. Raises NgFailure when RTPengine does not answer."""
    used: list[str] = []
    for session in sessions:
        with suppress(NgUnknownCall):
            if CALLER_TAG in ((await ng.command("query", session)).get("tags") or ()):
                used.append(session)
    return used


async def delete(ng: NgClient, calls: Sequence[str]) -> None:
    """Delete these calls, those that RTPengine still has. Raises NgFailure when it does not answer."""
    for start in range(0, len(calls), _DELETED_AT_ONCE):
        batch = calls[start : start + _DELETED_AT_ONCE]
        commands = (ng.command("delete", call, {"delete-delay": 0}) for call in batch)
        for outcome in await asyncio.gather(*commands, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, NgUnknownCall):
                raise outcome
