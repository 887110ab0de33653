"""Which sidecar serves a call at a (context, option) of an IVR, and the next one if that fails (A4, C1).

Each pool of sidecars is one dispatcher group, which tells us who lives. The hosts of a pool get calls in turn. Of a
host the first sidecar gets them, until it says that it is busy (`sidecar.load`), then the second, and so on. While all
are busy they get calls in turn. One process costs a fifth less for each call than two that have half of them each.

A sidecar that lives says 100 at once, and again every second until it has decided. We pass over a sidecar that says
nothing for `PROVISIONAL_MS`, or later for `ALIVE_MS`: another one starts the same step again. We also pass over one
that answers 503, because it drains or has too much to do. It gets no other call for `REST_S`. While all sidecars of a
pool rest, we refuse its new calls ourselves. This costs a tenth of asking them, and an overloaded machine needs that
time.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from callinteractive.dispatcher import sidecar_groups
from callinteractive.errors import HeaderError
from callinteractive.headers import AttemptHeader, BusyHeader, EntryHeader, GenerationHeader
from callinteractive.limits import OVERLOAD_WAIT_S
from callinteractive.model import IvrFile, Sidecar, pools_of
from callinteractive.signature import SignatureHeader
from kemi import ksr, memory, nat
from kemi.anchor import MediaAnchor
from kemi.ksr import Route
from kemi.refusal import Unavailable
from kemi.transaction import Branch, transaction

PROVISIONAL_MS = 300
ALIVE_MS = 3_000
DECISION_MS = 60_000
"""The most that a sidecar may take to answer, or to say what else becomes of a call."""
MOST_EARLIER = 8
"""Configurations, as many as the sidecars know (`sidecar.generations`)."""
REST_S = OVERLOAD_WAIT_S
"""The sidecars' admission limit (`sidecar.admission`): by then their queues have drained."""
SILENT_S = 1.0
"""How long one that said nothing gets no call that another can take. The dispatcher's probes are as far apart."""


class _Pool:
    """The sidecars of a pool, by their addresses. `group`: the dispatcher's. `name`: None where it has none."""

    def __init__(self, name: str | None, group: int, sidecars: Sequence[Sidecar]) -> None:
        self.name = name
        self.group = group
        self.members = [str(sidecar.address) for sidecar in sidecars]
        self._hosts: dict[str, list[str]] = {}
        for sidecar in sidecars:
            self._hosts.setdefault(sidecar.address.host, []).append(str(sidecar.address))
        turns = [(index, sidecar.address.host) for index, sidecar in enumerate(sidecars)]
        random.shuffle(turns)  # else all workers would begin with the same host
        self.turns = itertools.cycle(turns)
        """Without end: the index of the sidecar whose turn it is, and its host."""

    def from_host(self, host: str) -> Iterator[str]:
        """All members by hosts, that one first. Mostly the first member is all that is asked for."""
        yield from self._hosts[host]
        for other, members in self._hosts.items():
            if other != host:
                yield from members

    def from_index(self, index: int) -> list[str]:
        """All members, that one first."""
        return self.members[index:] + self.members[:index]


class Sidecars:
    """The pools that calls enter by, of all hosts.

    `ivr_file` says which pool serves a context. `key` signs what a sidecar gets. `before`: of the configuration before
    this one; calls that began with it may still come back.
    """

    def __init__(
        self,
        sidecars: Sequence[Sidecar],
        ivr_file: IvrFile,
        key: bytes,
        media: MediaAnchor,
        before: Sidecars | None = None,
    ) -> None:
        self._media = media
        self._key = key
        self._generation = str(GenerationHeader(ivr_file.generation))
        self._pools = {name: context.pool for name, context in ivr_file.contexts.items()}
        self._earlier: tuple[Mapping[str, str | None], ...] = ()
        if before:
            self._earlier = (before._pools, *before._earlier)[:MOST_EARLIER]
        groups = sidecar_groups(sidecars)
        self._members = {name: _Pool(name, groups[name], members) for name, members in pools_of(sidecars).items()}
        self._addresses = frozenset(str(sidecar.address) for sidecar in sidecars)
        self._rests_until: dict[str, float] = {}
        """By the sidecar's address, in seconds of the monotonic clock. Each worker finds out by itself."""
        self._spared_until: dict[str, float] = {}
        """The same, of those that are busy or said nothing: they get a call that no other takes."""

    def has_context(self, name: str) -> bool:
        """Whether the present configuration, or one before it, has it."""
        return any(name in pools for pools in (self._pools, *self._earlier))

    def _pool_of(self, context: str) -> str | None:
        return next(pools[context] for pools in (self._pools, *self._earlier) if context in pools)

    def check_load(self, context: str) -> None:
        """Raises Unavailable where each sidecar that serves the context has just refused a call."""
        if self._rests_until and all(map(self._is_resting, self._members[self._pools[context]].members)):
            raise Unavailable

    def enter(self, user: str, entry: EntryHeader, headers: Mapping[str, str]) -> None:
        """Send the INVITE at hand to a sidecar that serves the context of `entry`. Raises Refused.

        `headers`: the private headers beside `entry`, values by name. `user`, escaped, is that of the Request-URI.
        """
        pool = self._members[self._pool_of(entry.context)]
        if not pool.members:
            raise Unavailable  # never another pool: it would send the call back
        # Added in the branch route, so that they stay off any other branch this INVITE may get.
        values = {GenerationHeader.NAME: self._generation, **headers, entry.NAME: _text_of(entry)}
        signature = SignatureHeader.sign(self._key, int(time.time()), ksr.call_id(), values)
        values[signature.NAME] = str(signature)
        transaction.sidecar_headers = "".join([f"{name}: {value}\r\n" for name, value in values.items()])
        sidecar = self._choose(pool, ())
        ksr.set_lifetime(DECISION_MS)
        _ask(user, pool, [sidecar])

    @staticmethod
    def generation_of_call() -> dict[str, str]:
        """The header that named the ivr.yaml when the call first entered: it keeps that to its end."""
        lines = (line.partition(": ") for line in transaction.sidecar_headers.split("\r\n"))
        return {name: value for name, _, value in lines if name == GenerationHeader.NAME}

    def on_branch(self) -> str:
        """Branch route: only the sidecar gets its header lines.

        Returns the name of the branch's media in RTPengine, empty where that is not anchored.
        """
        index = ksr.branch_index()
        transaction.branches_used = index + 1
        media = ""
        if self._media.is_there and (sides := transaction.sidecar_sides):
            media = self._media.on_branch(sides, early_media=True)
            transaction.branches[index] = Branch("sidecar", media)
            if not media:
                ksr.drop()
        nat.on_branch()
        lines = transaction.sidecar_headers
        if index:
            lines += f"{AttemptHeader.NAME}: {AttemptHeader(index)}\r\n"
        ksr.append_headers(lines)
        return media

    @staticmethod
    def on_sign_of_life() -> None:
        """Reply route: the sidecar says 100, so it lives. From here it has `ALIVE_MS` to say so again."""
        ksr.set_timers(ALIVE_MS, PROVISIONAL_MS)

    def on_refusal(self) -> None:
        """Reply route: the sidecar says 503."""
        transaction.refused_by = ksr.branch_index() + 1
        self._rests_until[str(ksr.source())] = time.monotonic() + REST_S

    def on_busy(self, busy: str) -> None:
        """Reply route: somebody says X-CI-Busy. It counts where it is a sidecar."""
        source = str(ksr.source())
        if source in self._addresses:
            with suppress(HeaderError):  # of another release: the rest of its reply counts all the same
                self._spared_until[source] = time.monotonic() + BusyHeader.parse(busy).milliseconds / 1000

    def ask_next(self) -> None:
        """Failure route: the next sidecar of the pool. Raises Refused where all were asked."""
        # Where an earlier one was silent, tm shows us its 408 and not the 503 of the last one: the lower class counts
        # more (RFC 3261 16.7 step 6). So the last one is known by what it said.
        is_silent = ksr.branch_timed_out() and not 0 < transaction.refused_by == transaction.branches_used
        name, *asked = transaction.asked.split("\n")
        pool = self._members.get(name or None)
        if pool is None or not pool.members:
            raise Unavailable  # a reload has removed or emptied it meanwhile
        if is_silent:
            ksr.mark_silent(pool.group, f"sip:{asked[-1]}")
            self._spared_until[asked[-1]] = time.monotonic() + SILENT_S
        _ask(transaction.user, pool, [*asked, self._choose(pool, asked)])

    def _choose(self, pool: _Pool, asked: Sequence[str]) -> str:
        """The sidecar that gets the call, after those in `asked`. Raises Unavailable where none may.

        A call that comes back is not new: one that rests is asked too.
        """
        index, host = next(pool.turns)
        for sidecar in pool.from_host(host):
            if not (self._is_resting(sidecar) or self._is_spared(sidecar)) and _may_be_asked(pool, sidecar, asked):
                return sidecar
        living = [sidecar for sidecar in pool.from_index(index) if _may_be_asked(pool, sidecar, asked)]
        if not living and not asked:
            # All are out. More likely the machine was busy for a moment than the whole pool is dead.
            living = [pool.members[index]]
        is_new = not transaction.returns
        for sidecar in living:
            if not (is_new and self._is_resting(sidecar)):
                return sidecar
        raise Unavailable

    def _is_resting(self, sidecar: str) -> bool:
        return bool(self._rests_until) and time.monotonic() < self._rests_until.get(sidecar, 0.0)

    def _is_spared(self, sidecar: str) -> bool:
        return bool(self._spared_until) and time.monotonic() < self._spared_until.get(sidecar, 0.0)


@lru_cache(maxsize=1024)
def _text_of(entry: EntryHeader) -> str:
    """Most calls enter where others did."""
    return str(entry)


def _may_be_asked(pool: _Pool, sidecar: str, asked: Sequence[str]) -> bool:
    return sidecar not in asked and ksr.is_alive(pool.group, f"sip:{sidecar}")


def _ask(user: str, pool: _Pool, asked: list[str]) -> None:
    """Send the INVITE to the last of `asked`."""
    transaction.asked = "\n".join([pool.name or "", *asked])
    ksr.set_request_uri(f"sip:{user}@{asked[-1]}")
    ksr.set_timers(ALIVE_MS, PROVISIONAL_MS)
    ksr.arm_branch(Route.TO_SIDECAR)
    ksr.arm_reply(Route.SIDECAR_REPLIED)
    ksr.arm_failure(Route.SIDECAR_FAILED)
    if not ksr.relay():
        raise Unavailable(memory.advice())
