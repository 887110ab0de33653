"""`state: valkey://…`: one Valkey or Redis, Sentinels with theirs, or a cluster; for sidecars on several hosts."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from valkey.asyncio import Valkey
from valkey.asyncio.cluster import ClusterNode, ValkeyCluster
from valkey.asyncio.retry import Retry
from valkey.asyncio.sentinel import Sentinel
from valkey.backoff import NoBackoff
from valkey.exceptions import NoScriptError, ValkeyError

from callinteractive.secret import Secret, SecretError
from callinteractive.state import State
from sidecar.state import valkey_scripts as scripts
from sidecar.state.store import (
    LEASE_S,
    MOVED_S,
    SETTLE_S,
    STALE_S,
    Answer,
    Batch,
    Begun,
    News,
    Owner,
    StoreError,
    SupersededError,
)

ANSWER_S = 1.0
"""For a connection and an answer. Then another connection is tried."""
SET_S = 0.5
"""By so much the server's clock must differ from ours between two answers, or it was set."""
_LONGEST_REASON = 200
_T = TypeVar("_T")


class ValkeyStore:
    """A `Store`. `read` reads a password, or raises SecretError."""

    def __init__(self, state: State, owner: Owner, read: Callable[[Secret], str], ca: str | None = None) -> None:
        """`ca`: the file of `state.ca`."""
        self._state = state
        self._owner = owner
        self._read = read
        self._ca = ca
        self._client: Valkey | ValkeyCluster | None = None
        self._renewed: tuple[str, float] | None = None
        """When our lease ends, as the server has said last, and when it has said so by our clock."""
        self._losses = 0
        self._settled_at = -math.inf
        self._base = f"ci:{{{owner.name.rpartition('-')[0]}}}:"
        info = f"{owner.incarnation} {owner.version} {owner.pool}"
        times = (int(seconds * 1000) for seconds in (LEASE_S, STALE_S, MOVED_S))
        self._common = (owner.name, info, owner.pool, *times)

    async def begin(self) -> Begun:
        return await self._run(lambda answer: Begun(_pairs(answer[0]), frozenset(answer[1])), scripts.BEGIN)

    async def write(self, batch: Batch) -> Answer:
        me = self._owner
        counts = (len(batch.told), len(batch.drops), len(batch.puts))
        return await self._run(
            self._read_answer,
            scripts.WRITE,
            *(secrets.token_hex(8), me.oldest, me.version, *counts, int(batch.renews), int(batch.retires)),
            *(me.next_version, int(batch.asks)),
            *(*batch.told, *batch.drops, *_flat(batch.puts)),
        )

    def _read_answer(self, answer: Any) -> Answer:
        epoch, lost, ours, *news = answer
        told = self._news(*news) if news else None
        return Answer(f"{epoch} {self._losses}", frozenset(lost), told, ours)

    def _news(self, dead: Collection[str], others: int, before: str, until: str) -> News:
        """before, until: when our lease ended until now, and when it ends.

        The library does not tell that it has connected anew. So a server that was started again from a snapshot between
        two questions shows only by what it knows of us. Then, and where its clock was set, leases say little.
        """
        now, renewed = time.monotonic(), self._renewed
        self._renewed = until, now
        if renewed is not None:
            has_lost = before != renewed[0]
            self._losses += has_lost
            if has_lost or abs((float(until) - float(before)) / 1000 - (now - renewed[1])) > SET_S:
                self._settled_at = now + SETTLE_S
        is_sure = now >= self._settled_at
        return News(dead if is_sure else (), others, is_sure)

    async def take(self, dead: str, most: int) -> Mapping[str, str]:
        return await self._run(_pairs, scripts.TAKE, dead, most)

    async def give_up(self) -> None:
        await self._run(str, scripts.GIVE_UP)

    async def close(self) -> None:
        client, self._client, self._renewed = self._client, None, None
        if client is not None:
            with suppress(Exception):
                await client.aclose()

    async def _run(self, read: Callable[[Any], _T], script: str, *args: Any) -> _T:
        """What `read` makes of the script's answer. Raises StoreError and SupersededError.

        After any failure the connection is closed: what comes on it later may be the answer to something else.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._ask(script, (*self._common, *args))
            if answer != "superseded":
                return read(answer)
        except Exception as error:  # whatever it answers, and whatever the library makes of that
            await self.close()
            raise StoreError(_reason(error)) from None
        except BaseException:
            await self.close()
            raise
        raise SupersededError

    async def _ask(self, script: str, args: tuple[Any, ...]) -> Any:
        if self._client is None:
            self._client = self._made()
        try:
            return await self._client.evalsha(_sha(script), 1, self._base, *args)  # type: ignore[misc]
        except NoScriptError:  # this server has not seen it yet
            return await self._client.eval(script, 1, self._base, *args)  # type: ignore[misc]

    def _made(self) -> Valkey | ValkeyCluster:
        """Raises SecretError."""
        state = self._state
        options: dict[str, Any] = {
            "username": state.user or None,
            "password": self._read(state.password) if state.password else None,
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": ANSWER_S,
            "decode_responses": True,
            "encoding_errors": "surrogateescape",  # what is no text must not cost the calls that come with it
        }
        if state.is_tls:
            options |= {"ssl": True, "ssl_ca_certs": self._ca, "ssl_check_hostname": True}
        if state.form == "cluster":
            nodes = [ClusterNode(*server) for server in state.servers]
            return ValkeyCluster(startup_nodes=nodes, cluster_error_retry_attempts=1, **options)
        options |= {"db": state.number, "retry": Retry(NoBackoff(), 0)}
        if state.form == "single":
            server = state.servers[0]
            return Valkey(host=server.host, port=server.port, **options)
        of_sentinels = {name: value for name, value in options.items() if name not in ("username", "password", "db")}
        if state.sentinel_password:
            of_sentinels["password"] = self._read(state.sentinel_password)
        servers = list(state.servers)
        sentinel = Sentinel(servers, sentinel_kwargs=of_sentinels, **options)  # type: ignore[no-untyped-call]
        client: Valkey = sentinel.master_for(state.master)
        return client


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _flat(pairs: Mapping[str, str]) -> Iterator[str]:
    for pair in pairs.items():
        yield from pair


def _reason(error: Exception) -> str:
    """For one line of a log."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_S:g} s"
    text, name = str(error), type(error).__name__
    text = text if text and isinstance(error, ValkeyError | OSError | SecretError) else f"{name}: {text}"
    return "".join(char if char.isprintable() else "?" for char in text)[:_LONGEST_REASON]
