"""The addresses of a web application's name. What was found last counts while no name server answers (RFC 8767).

Otherwise every call failed while an application is well that only can't be looked up. Carriers' names are kept in the
same way.

The C library asks a silent name server for ten seconds or more, and can't be stopped. uvloop has two threads for that,
which each new connection needs too, and its end waits for them. So each look-up has a thread of its own, and nothing
else waits for it. Names that are not found take only each other's places.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

import structlog
from aiohappyeyeballs import AddrInfoType

from callinteractive.remember import keep

LOG = structlog.get_logger()
RESOLVED_S = 10.0
"""How long the addresses of a name count, as in aiohttp."""
PATIENCE_S = 1.0
"""How long new addresses are awaited where old ones are known. Who asks later in the same look-up waits no more."""
_GONE = (socket.EAI_NONAME, socket.EAI_NODATA)
"""A name server has said that there is no such name. All other failures say nothing about the name."""
_MOST_NAMES = 1024
MOST_AT_ONCE = 16
"""Look-ups of names that were found last time, of those that were not, and of those that are new."""
PLACE_S = 10.0
"""How long a look-up waits for a place among them: as long as a request may."""


def resolve(host: str, port: int, flags: int = 0) -> Sequence[AddrInfoType]:
    """Raises socket.gaierror."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """Raises socket.gaierror."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[AddrInfoType]] = loop.create_future()

    def tell(say: Callable[[Any], None], what: Any) -> None:
        if not found.done():
            say(what)

    def work() -> None:
        with suppress(RuntimeError):  # the loop is closed
            try:
                addresses = resolve(host, port)
            except Exception as error:
                loop.call_soon_threadsafe(tell, found.set_exception, error)
            else:
                loop.call_soon_threadsafe(tell, found.set_result, addresses)

    try:
        Thread(target=work, name="look-up", daemon=True).start()
    except RuntimeError as error:  # there is no memory for one now
        raise socket.gaierror(socket.EAI_AGAIN, str(error)) from None
    return await found


class Addresses:
    """Of all names that are asked for."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], _Name] = {}
        self._places = {was_found: asyncio.Semaphore(MOST_AT_ONCE) for was_found in (True, False, None)}

    async def of(self, host: str, port: int, most_s: float = math.inf) -> Sequence[AddrInfoType]:
        """Looked up once for all that ask at the same time or soon after. Raises socket.gaierror.

        A failure does not count for the next who asks, unless there are old addresses. most_s: how long the connection
        may take. At least half of it is left where old addresses are known.
        """
        key = host, port
        name = self._names.get(key) or keep(self._names, _MOST_NAMES, key, _Name(host, port, self._places))
        return await name.addresses(min(PATIENCE_S, most_s / 2))


class _Name:
    """`found`: its addresses, which count until `until`; none where the last look-up has not found any."""

    def __init__(self, host: str, port: int, places: Mapping[bool | None, asyncio.Semaphore]) -> None:
        self._host = host
        self._port = port
        self._places = places
        self._was_found: bool | None = None
        """By the last look-up; None: there was none."""
        self._found: Sequence[AddrInfoType] = ()
        self._until = self._asked_at = 0.0
        self._asking: asyncio.Task[Sequence[AddrInfoType]] | None = None
        self._is_old = False
        """Whether it was told that the addresses are old ones."""

    async def addresses(self, patience_s: float) -> Sequence[AddrInfoType]:
        loop = asyncio.get_running_loop()
        if self._found and loop.time() < self._until:
            return self._found
        asking = self._asking
        if asking is None:
            self._asked_at = loop.time()
            asking = self._asking = loop.create_task(self._look_up())
            asking.add_done_callback(self._on_done)
        if self._found and (left_s := self._asked_at + patience_s - loop.time()) > 0:
            await asyncio.wait([asking], timeout=left_s)
        if self._found:
            return self._found
        return await asyncio.shield(asking)

    async def _look_up(self) -> Sequence[AddrInfoType]:
        with suppress(socket.gaierror):  # a name
            return resolve(self._host, self._port, socket.AI_NUMERICHOST)
        place = self._places[self._was_found]
        try:
            async with asyncio.timeout(PLACE_S):
                await place.acquire()
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are looked up") from None
        try:
            return await look_up(self._host, self._port)
        finally:
            place.release()

    def _on_done(self, asking: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        self._asking = None
        if asking.cancelled():  # the process ends
            return
        self._until = asking.get_loop().time() + RESOLVED_S
        error = asking.exception()
        self._was_found = error is None
        if error is None:
            self._found, self._is_old = asking.result(), False
        elif isinstance(error, socket.gaierror) and error.errno in _GONE:
            self._found = ()
        elif self._found and not self._is_old:
            self._is_old = True
            LOG.warning(
                "no name server answers: the addresses that were found last are used",
                host=self._host,
                reason=getattr(error, "strerror", None) or str(error),
            )
