"""The Record-Route that keeps us in a dialog's path, and tells our dialogs from forged ones.

Its parameter signs the Call-ID, the caller's tag, when the dialog is over at the latest, and where the requests of
each side may lead. Without it anybody could write a Route that makes us an open relay, or use the one of an old call to
ring somebody else. If the dialog's media is anchored, the parameter also names the media's call in RTPengine. Another
parameter, encrypted, says whom each side sees calling (`kemi.seal`). It is signed too: a callee writes the Record-Route
of its reply, and without that parameter the caller's requests would show the caller's own From. So Kamailio keeps
nothing of a dialog, and the dialog outlives a restart. Neither side can change any of it. The other side's address is
hashed: it must not be learned here.
"""

from __future__ import annotations

import hashlib
import re
import time
from functools import lru_cache
from typing import Final, NamedTuple

from callinteractive.model import Address
from callinteractive.remember import LONGEST, keep
from kemi import ksr
from kemi.guesses import has_proved
from kemi.ksr import From, Match
from kemi.places import SIDECAR, Places, host_of
from kemi.seal import Seal, Views

LONGEST_S = 86_400
"""No dialog lives longer."""
MOST_EARLIER = 8
"""Configurations, as many as `kemi.sidecars` knows."""
_PLACE_DIGITS = 8
_HEX = r"[0-9a-f]"
REPORTED = rf"{_HEX}{{36}}"
"""How a call is named whose end is reported."""
MOST_REPORTED = 4
"""Calls that end with one dialog: an IVR whose transfer leads to another IVR, and so on."""
_WRITTEN = re.compile(
    rf";ci=({_HEX}{{8}}\.{_HEX}{{8}}\.((?:{_HEX}{{8}}){{1,3}})(?:\.s[1-9])?)\.({_HEX}{{16}})"
    rf"(?:\.([0-9a-z-]{{1,64}}))?(?![0-9a-z.-])"
    rf"(?:;cx=({_HEX}{{8}})\.({_HEX}{{16}}))?"
    r"(?:;cf=([0-9A-Za-z_-]{1,1024}))?"
    rf"(?:;ct=((?:{REPORTED}){{1,{MOST_REPORTED}}})\.({_HEX}{{16}}))?",
    re.ASCII,
)
_MOST_TRIED = 4
"""How many of our marks in one header are looked at."""
_LONGEST_ROUTE = 4096
_MOST_KNOWN: Final = 512
"""Hashes that are remembered."""


class Mark(NamedTuple):
    """What our parameter says of the request at hand.

    `media` names its media in RTPengine, empty if it is not anchored. `is_from_caller`: the side that made the dialog
    sends it. `targets` are hashes of the places that it may lead to. `shift`: by how much the callee knows the caller's
    CSeq higher than the caller does (`kemi.cseq`). `caller_tag` is that side's tag, and `call_id` the dialog's.
    `views`: whom both sides see calling; None if that is the same. `reported`: the calls whose end is reported, and to
    whom (`kemi.reports`), one after the other; empty for none.
    """

    media: str
    is_from_caller: bool
    targets: tuple[str, ...]
    shift: int
    caller_tag: str
    call_id: str
    views: Views | None = None
    reported: str = ""


class Addition(NamedTuple):
    """What `ksr.add_to_record_route` has added: `more`, behind the parameter that begins with `written`."""

    written: str
    more: str

    def add_to(self, routes: str) -> str:
        """The same in the text of these headers."""
        return re.sub(rf"({re.escape(self.written)}[.0-9a-z-]*)", rf"\1{self.more}", routes)


class RecordRoute:
    """Writes and reads our Record-Route. `views_key` encrypts whom each side sees calling."""

    def __init__(self, key: bytes, views_key: bytes, places: Places, before: RecordRoute | None = None) -> None:
        """`before`: of the configuration before this one. Dialogs from then keep the parties that they began with."""
        self._places = places
        self._earlier: tuple[Places, ...] = (before._places, *before._earlier)[:MOST_EARLIER] if before else ()
        self.seal = Seal(views_key)
        self._signatures = _Hashes(hashlib.blake2s(key=key, digest_size=8))
        self._hashes = _Hashes(hashlib.blake2s(key=key, digest_size=_PLACE_DIGITS // 2, person=b"place"))

    def on_branch(self, media: str = "", shift: int = 0, shown: From | None = None, reported: str = "") -> None:
        """Branch route, for a branch that does not spiral. `media` names its call in RTPengine, if any.

        `shown`: the From that it sees, if not the INVITE's own. `reported`: as in `Mark`.
        """
        caller_tag, call_id = ksr.from_tag(), ksr.call_id()
        until = _hex(int(time.time()) + LONGEST_S)
        callee = self._hash(call_id, self._places.of(host_of(ksr.next_hop())).name)
        callers = "".join([self._hash(call_id, name) for name in self._places_of_caller()])
        said = f"{until}.{callee}.{callers}{f'.s{shift}' if shift else ''}"
        sealed = self.seal.close(_dialog(call_id, caller_tag), Views(ksr.from_address(), shown)) if shown else ""
        more = (media and f".{media}") + (sealed and f";cf={sealed}")
        if reported:  # with a signature of its own: an edge of an earlier release reads the rest
            more += f";ct={reported}.{self._sign(call_id, caller_tag, reported, '')}"
        ksr.record_route(f";ci={said}.{self._sign(call_id, caller_tag, said, media, sealed)}{more}")

    def on_reply(self) -> Addition | None:
        """Reply route of a branch: a carrier's Contact, or a proxy of its, may be elsewhere than its INVITE went.

        It may not be the address of another party of ours. Returns what was added to the Record-Route.
        """
        sender = ksr.source()
        if not self._places.is_trunk(sender):
            return None
        source = self._places.of(sender)
        routes = ksr.record_routes()[:_LONGEST_ROUTE]
        mark = _WRITTEN.search(routes)
        if not mark:
            return None
        # A proxy behind us has written its own before ours (RFC 3261 16.6, 12.1.2).
        proxies = routes[: mark.start()].rpartition("<")[0].rstrip(" ,\t").rpartition(",")[2]
        place = self._places.of(_host_in((proxies or ksr.header("Contact"))[:_LONGEST_ROUTE]))
        if not place.name or place == source or place.is_known:
            return None
        call_id = ksr.call_id()
        if not mark[5] and self._is_ours(mark, call_id, ksr.from_tag()):
            more = self._hash(call_id, place.name)
            added = Addition(f";ci={mark[1]}", f";cx={more}.{self._sign(call_id, mark[3], more, '')}")
            ksr.add_to_record_route(*added)
            return added
        return None

    @staticmethod
    def report_nothing() -> None:
        """Reply route of a second branch that answers: its caller ends that dialog at once, and the call goes on."""
        ksr.take_from_record_route(f";ct=({REPORTED})+[.]{_HEX}{{16}}")

    def read(self, routes: str) -> Mark | None:
        """What our mark says of the message at hand; None if it is not ours, is over, or of another dialog.

        `routes` holds the message's Route or Record-Route.
        """
        call_id, from_tag = ksr.call_id(), ksr.from_tag()
        routes, end = routes[:_LONGEST_ROUTE], 0
        for _ in range(_MOST_TRIED):
            match = _WRITTEN.search(routes, end)
            if match is None:
                return None
            # rr writes the caller's tag beside our mark. It only tells which side to try first.
            is_from_caller = f";ftag={from_tag};" in routes
            tag = from_tag if is_from_caller else ksr.to_tag()
            if not self._is_ours(match, call_id, tag):
                is_from_caller = not is_from_caller
                tag = from_tag if is_from_caller else ksr.to_tag()
                tag = tag if self._is_ours(match, call_id, tag) else ""
            if tag and int(match[1][:8], 16) > time.time():
                return self._mark(match, call_id, tag, is_from_caller=is_from_caller)
            end = match.end()
        return None

    def is_stray_reply(self) -> bool:
        """Whether the reply at hand is of no transaction, and not to an INVITE from before Kamailio was started.

        Kamailio would send it wherever its second Via says, and even connect there. RFC 6026 7.3 lets nobody pass on a
        reply of no transaction, and one to another method than its request's is such a reply (RFC 3261 17.1.3). But
        replies to an INVITE from before Kamailio was started shall reach their caller: those of our parties, and of our
        dialogs; of a stranger also those of no dialog (`kemi.ringing`), as a refusal. Other requests are sent again.
        """
        is_invite = ksr.method() == "INVITE"
        if is_invite:
            source = ksr.source()
            if self._places.of(source).is_known or has_proved(source.host):
                return False
        if ksr.match_transaction() is not Match.NEW:
            return False
        return not is_invite or self.read(ksr.record_routes()) is None

    def may_lead_to(self, mark: Mark, address: Address) -> bool:
        """Whether the sender of the request at hand may reach that address in its dialog."""
        return any(
            self._hash(mark.call_id, places.of(address).name) in mark.targets
            for places in (self._places, *self._earlier)
        )

    def _mark(self, match: re.Match[str], call_id: str, caller_tag: str, *, is_from_caller: bool) -> Mark:
        said, _, signature, media, added, its_signature, sealed, reported, report_signature = match.groups("")
        _, callee, callers, *shift = said.split(".")
        if not is_from_caller:
            targets = tuple([callers[at : at + _PLACE_DIGITS] for at in range(0, len(callers), _PLACE_DIGITS)])
        elif added and its_signature == self._sign(call_id, signature, added, ""):
            targets = (callee, added)
        else:
            targets = (callee,)
        views = self.seal.open(_dialog(call_id, caller_tag), sealed) if sealed else None
        if reported and report_signature != self._sign(call_id, caller_tag, reported, ""):
            reported = ""
        shifted = int(shift[0][1:]) if shift else 0
        return Mark(media, is_from_caller, targets, shifted, caller_tag, call_id, views, reported)

    def _places_of_caller(self) -> list[str]:
        """Where the INVITE at hand came from, and its Contact, unless that is another party of ours."""
        source = ksr.source()
        place = self._places.of(source)
        if place.name == SIDECAR:
            return [SIDECAR]
        # Requests to the caller go to the proxy before us, if it stays in the path, else to the Contact.
        contact = (ksr.header("Record-Route") or ksr.header("Contact"))[:_LONGEST_ROUTE]
        names = [place.name]
        for address in _addresses_in(contact) if contact else ():
            more = self._places.of(address)
            if more.name not in names and (not more.is_known or self._places.are_ours(source)):
                names.append(more.name)
        return names

    def _is_ours(self, match: re.Match[str], call_id: str, caller_tag: str) -> bool:
        said, media, sealed = match.group(1, 4, 7)
        return bool(caller_tag) and match[3] == self._sign(call_id, caller_tag, said, media or "", sealed or "")

    def _hash(self, call_id: str, place: str) -> str:
        """Of a place in this dialog."""
        return self._hashes.of(f"{call_id}\n{place}")

    def _sign(self, call_id: str, caller_tag: str, said: str, media: str, sealed: str = "") -> str:
        # None of them can have a line's end in it.
        return self._signatures.of(f"{call_id}\n{caller_tag}\n{said}\n{media}" + (sealed and f"\n{sealed}"))


class _Hashes:
    """Of texts, with a key. The last ones are remembered: an ACK asks for what its INVITE has asked for.

    `empty`: has the key. To copy it costs less than to make another.
    """

    def __init__(self, empty: hashlib.blake2s) -> None:
        self._empty = empty
        self._known: dict[str, str] = {}

    def of(self, text: str) -> str:
        known = self._known.get(text)
        return self._make(text) if known is None else known

    def _make(self, text: str) -> str:
        hashing = self._empty.copy()
        hashing.update(text.encode("utf-8", "surrogateescape"))
        made = hashing.hexdigest()
        return keep(self._known, _MOST_KNOWN, text, made) if len(text) <= LONGEST else made


@lru_cache(maxsize=4)
def _hex(seconds: int) -> str:
    """All calls of a second have the same."""
    return f"{seconds:08x}"


def _dialog(call_id: str, caller_tag: str) -> str:
    return f"{call_id}\n{caller_tag}"


@lru_cache(maxsize=512)
def _addresses_in(contact: str) -> tuple[Address, ...]:
    """Where a Contact or a Record-Route leads, and where the INVITE came from, if an earlier pass has noted that."""
    alias = _alias(contact)
    return (_host_in(contact), Address(alias, 0)) if alias else (_host_in(contact),)


def _host_in(address: str) -> Address:
    """Of a Contact or a Record-Route; of the first, if there are several."""
    before, bracket, behind = address.partition("<")
    return host_of((behind if bracket else before).strip())


def _alias(contact: str) -> str:
    """The address that nathelper has noted in the Contact; empty for none."""
    return contact.partition(";alias=")[2].partition("~")[0][:45].strip("[]")
