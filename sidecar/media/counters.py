"""How much sound each party of a call has sent so far, as RTPengine counts it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def counted(tags: Any, parties: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Of each party that the reply to a `query` or `delete` knows: `who`, `packets`, `octets`, `errors` of its RTP.

    tags: of the reply. parties: the tag of each, and who it is. Not what was lost: RTPengine's one number for that
    (`cumulative loss`) is what a party missed of what it was sent, by its RTCP, or what is missing of what it sent, if
    RTPengine has decoded it. Nothing tells which (10.5, 12.5: `ssrc.c`, `codec.c`).
    """
    found = []
    for tag, who in parties:
        try:
            stats = tags[tag]["medias"][0]["streams"][0]["stats"]
            numbers = {name: int(stats[key]) for name, key in _NAMES}
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        found.append({"who": who, **numbers})
    return found


_NAMES = ("packets", "packets"), ("octets", "bytes"), ("errors", "errors")
