"""Which RTPengine takes the media of a proxied call (`kemi.anchor`), and which of them live.

Each RTPengine is a set of its own in Kamailio's module. The name of a branch's media begins with the number of its set,
so all that concerns it goes to the same RTPengine, from any worker and any edge, also after a restart. The number comes
from the address: it stays the same when others are added to site.yaml. The name also tells the address family of each
side.

A process of its own pings them (`Watch`), and tells the workers who is silent: a worker must never wait for one.
"""

from __future__ import annotations

import random
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from callinteractive.fleet import inner_addresses
from callinteractive.media_sets import set_of
from callinteractive.model import RtpEngine
from kemi import ksr
from kemi.places import host_of, is_address

PREFIX = "anchored-"  # a sidecar's calls begin with a digit
_NAME = re.compile(rf"{PREFIX}([0-9a-f]{{6}})([046])([046])")
_CONNECTION = re.compile(r"^c=IN IP([46]) ", re.M)
SILENT_AFTER = 2
"""How many pings without an answer keep new calls away. They are a quarter of a second apart."""
GONE_AFTER = 8
"""How many keep everything away: a worker that asks would wait in vain. A busy machine may take a second."""
_GONE = "!"
MOST_TRIED = 3
"""How many RTPengines an offer is given to, before the branch fails."""


class Families(NamedTuple):
    """The address family of each side: "4", "6", or "0" where it is not known."""

    caller: str = "0"
    callee: str = "0"


class Engines:
    """Chooses among the RTPengines of a site."""

    def __init__(self, engines: Sequence[RtpEngine], pick: Callable[[], float] = random.random) -> None:
        """`pick`: a random number from 0 to 1."""
        self._engines = engines
        self._pick = pick
        self.inner_addresses = inner_addresses(engines)
        self.bridges = any(len(families_of(engine)) > 1 for engine in engines)
        """Whether calls between IPv4 and IPv6 can be bridged."""

    def names(self, families: Families) -> Iterator[str]:
        """New names of media, each at another RTPengine that lives: the one that takes it by weight, then the others.

        If none lives, one is named nevertheless: it may be back.
        """
        silent = silent_sets()
        wanted = set(families) - {"0"}
        fitting = [engine for engine in self._engines if wanted <= families_of(engine)] or list(self._engines)
        left = [engine for engine in fitting if set_of(engine) not in silent] or fitting[:1]
        for _ in range(min(len(left), MOST_TRIED)):
            engine = self._choose(left)
            left.remove(engine)
            yield f"{PREFIX}{set_of(engine):06x}{families.caller}{families.callee}{secrets.token_hex(8)}"

    def _choose(self, engines: list[RtpEngine]) -> RtpEngine:
        at = self._pick() * sum(engine.weight for engine in engines)
        for engine in engines:
            at -= engine.weight
            if at < 0:
                return engine
        return engines[-1]

    def needs_bridge(self, uri: str) -> bool:
        """Whether what the INVITE at hand offers is of another family than the target."""
        return self.bridges and {self.offered_family(), family_of(uri)} == {"4", "6"}

    def families(self, uri: str) -> Families:
        """Of a branch to `uri` of the INVITE at hand."""
        return Families(self.offered_family(), family_of(uri)) if self.bridges else Families()

    @staticmethod
    def offered_family() -> str:
        """That of the description of the INVITE at hand; without one, that of its sender."""
        found = _CONNECTION.search(ksr.body_leniently()) if ksr.has_body() else None
        return found[1] if found else "6" if ":" in ksr.source_host() else "4"


class Watch:
    """Pings the RTPengines. For one process, which does nothing else; it does not wait for any either."""

    def __init__(
        self, engines: Sequence[RtpEngine], when_ticked: Callable[[Sequence[Pings]], None] | None = None
    ) -> None:
        """`when_ticked`: told each time."""
        self._pings = [Pings(engine) for engine in engines]
        self._when_ticked = when_ticked
        self._told = ""

    def on_tick(self) -> None:
        """Called every quarter of a second (kamailio.cfg)."""
        for pings in self._pings:
            was_silent = pings.is_silent
            pings.ping()
            if pings.is_silent != was_silent:
                now = "is silent: new anchored calls go elsewhere" if pings.is_silent else "answers again"
                ksr.log_notice(f"RTPengine {pings.name} at {pings.address} {now}")
        silent = [f"{each.set:06x}{_GONE if each.is_gone else ''}" for each in self._pings if each.is_silent]
        if (told := ",".join(silent)) != self._told:
            self._told = told
            ksr.share_silent_media(told)
        if self._when_ticked is not None:
            self._when_ticked(self._pings)


class Pings:
    """Of one RTPengine."""

    def __init__(self, engine: RtpEngine) -> None:
        self.name, self.address, self.set = engine.name, engine.ng, set_of(engine)
        self.lost = 0
        """How many in a row have no answer."""
        self.is_heard = False
        """Whether it has ever answered."""
        self._socket: socket.socket | None = None
        self._sent = 0

    @property
    def is_silent(self) -> bool:
        """Whether it gets no new calls."""
        return self.lost >= SILENT_AFTER

    @property
    def has_answered(self) -> bool:
        """Whether it has answered the last ping."""
        return self.is_heard and self.lost == 0

    @property
    def is_gone(self) -> bool:
        """Whether it is not even asked about its own calls."""
        return self.lost >= GONE_AFTER

    def ping(self) -> None:
        """Look what has come since the last time, and ping again."""
        try:
            opened = self._opened()
        except OSError:  # no way there: its host or a link is down
            self.lost += 1
            return
        self.lost = self._take(opened)
        self._sent += 1
        with suppress(OSError):  # refused: then no answer comes either
            opened.send(b'w%d {"command":"ping"}' % self._sent)

    def _take(self, opened: socket.socket) -> int:
        """How many pings are lost now."""
        lost = self.lost + 1 if self._sent else self.lost
        while True:
            try:
                opened.recv(4096)
                lost, self.is_heard = 0, True
            except BlockingIOError:
                return lost
            except OSError:  # nobody listens
                lost = max(lost, SILENT_AFTER)

    def _opened(self) -> socket.socket:
        """Made in the process that uses it. Raises OSError."""
        if self._socket is None:
            made = socket.socket(socket.AF_INET6 if ":" in self.address.host else socket.AF_INET, socket.SOCK_DGRAM)
            try:
                made.connect(self.address)
            except OSError:
                made.close()
                raise
            made.setblocking(False)
            self._socket = made
        return self._socket


def use(name: str) -> bool:
    """The commands that follow are for the RTPengine of this media. False if it is gone, or not in site.yaml."""
    match = _NAME.match(name)
    if match is None:
        return False
    number = int(match[1], 16)
    return f"{match[1]}{_GONE}" not in ksr.silent_media() and ksr.use_media_set(number)


def silent_sets() -> set[int]:
    """Those that `Watch` hears nothing of."""
    return {int(each.rstrip(_GONE), 16) for each in ksr.silent_media().split(",") if each}


def family_flag(name: str, *, of_caller: bool) -> str:
    """RTPengine's flag for an offer to that side, after a blank. Empty where its family is not known."""
    match = _NAME.match(name)
    family = (match[2] if of_caller else match[3]) if match else "0"
    return "" if family == "0" else f" address-family=IP{family}"


def families_of(engine: RtpEngine) -> set[str]:
    return {family[-1] for family in engine.families}


def family_of(uri: str) -> str:
    """Of a SIP URI's host; "0" for a name."""
    host = host_of(uri).host
    return ("6" if ":" in host else "4") if is_address(host) else "0"
