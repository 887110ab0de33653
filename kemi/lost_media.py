"""An RTPengine has died, or was started again: the anchored calls whose media it has lost end by BYE.

Nobody else would end them: no sidecar is in them (`kemi.anchored`), and both sides only hear silence. What may tell a
restart, however short, is a TCP connection to the control port, which ends with the process; and the pings of
`kemi.engines`. Then RTPengine is asked for each call that it had. Those that it does not know are lost; those that it
has read again (`rtpengine.redis`), or that a party has offered anew meanwhile, are not.

Each side gets its BYE as if the other side had sent it to us: so it takes the same way as any request of the dialog,
and what ends with a call ends here too. All this runs in one process beside the workers, and waits for nothing.
"""

from __future__ import annotations

import errno
import json
import re
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from callinteractive.model import Address
from kemi import ksr
from kemi.anchored import AnchoredCall, AnchoredCalls
from kemi.engines import PREFIX, Pings

GRACE_S = 1.0
"""How long after its return an RTPengine is asked. By then a sidecar has offered anew the calls that it is in."""
GONE_S = 4.0
"""An RTPengine that has ended or is silent must be back by then, or its calls end: nobody hears silence for more than
5 s. A hung one is restarted before; where it is only silent, its host may be gone."""
ASKED_AT_ONCE = 100
ENDED_AT_ONCE = 25
"""A tick; there are four in a second."""
AGAIN_S = 0.5
"""When a question or a BYE is sent again. The way is short: it is lost where its receiver is busy."""
MOST_SENT = 6
SWEEP_S = 3600.0
"""How often the files of calls that are too old are removed."""
REASON = 'SIP;cause=503;text="Media lost"'
"""Of the BYEs (RFC 3326)."""
_CONNECTING = (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK)
_CONNECTING_S = 1.0
_FINAL = re.compile(rb"SIP/2\.0 [2-6]")
_BRANCH = re.compile(rb";branch=z9hG4bK-ci-([0-9a-f]{16})")
Clock = Callable[[], float]


class LostMedia:
    """Of all RTPengines. `own`: our address of SIP that BYEs are sent to."""

    def __init__(self, calls: AnchoredCalls, own: Address, clock: Clock = time.monotonic) -> None:
        self._calls = calls
        self._clock = clock
        self._engines: dict[int, _Suspect] = {}
        self._ending = Ending(own, clock)
        self._sweep_s = clock() + SWEEP_S

    def on_tick(self, pings: Sequence[Pings]) -> None:
        """Called by `kemi.engines.Watch` every quarter of a second, in its process."""
        for each in pings:
            suspect = self._engines.get(each.set)
            if suspect is None:
                suspect = self._engines[each.set] = _Suspect(each, self._calls, self._clock)
            suspect.on_tick()
            while suspect.lost and self._ending.has_room():
                self._end(suspect.lost.popleft(), each.name)
        for media in self._ending.on_tick():
            self._calls.forget(media)
        if self._clock() >= self._sweep_s:
            self._sweep_s = self._clock() + SWEEP_S
            self._calls.forget_old()

    def _end(self, media: str, engine: str) -> None:
        call = self._calls.read(media)
        if call is None:
            self._calls.forget(media)
            return
        ksr.log_warning(f"call {call.call_id[:128]} ends: RTPengine {engine} has lost its media")
        self._ending.begin(media, call)


class _Suspect:
    """One RTPengine: whether it may have lost calls, and which."""

    def __init__(self, pings: Pings, calls: AnchoredCalls, clock: Clock) -> None:
        self.lost: deque[str] = deque()
        """The media that it does not know any more."""
        self._pings = pings
        self._calls = calls
        self._clock = clock
        self._prefix = f"{PREFIX}{pings.set:06x}"
        self._connection = _Connection(pings.address, clock)
        self._questions = _Questions(pings.address, clock)
        self._doubted_s: float | None = clock()  # what happened before Kamailio was started
        self._back_s: float | None = None
        self._is_given_up = False

    def on_tick(self) -> None:
        now = self._clock()
        if self._connection.has_ended() or self._pings.is_silent:
            self._doubted_s = now if self._doubted_s is None else self._doubted_s
            self._back_s = None
        elif self._doubted_s is not None and self._pings.has_answered:
            self._back_s = now if self._back_s is None else self._back_s
            self._is_given_up = False
            if now >= self._back_s + GRACE_S:
                self._doubted_s = self._back_s = None
                self._questions.ask(self._calls.names(self._prefix))
        if self._is_gone(now) and not self._is_given_up:
            self._is_given_up = True
            self._questions.forget()
            self.lost.extend(self._calls.names(self._prefix))
        self.lost.extend(self._questions.on_tick())

    def _is_gone(self, now: float) -> bool:
        if self._doubted_s is None or self._back_s is not None:
            return False
        return now >= self._doubted_s + GONE_S


class _Connection:
    """To the control port, only to see it end. RTPengine tells every digit on it: that is thrown away."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._socket: socket.socket | None = None
        self._since_s = 0.0
        self._is_open = False

    def has_ended(self) -> bool:
        """Whether it has ended since the last time. Opens it again."""
        if self._socket is None:
            self._open()
            return False
        try:
            while data := self._socket.recv(65_536):
                self._is_open = self._is_open or bool(data)
        except BlockingIOError:
            return self._go_on()
        except OSError:
            pass
        ended, self._is_open = self._is_open, False
        self._close()
        return ended

    def _go_on(self) -> bool:
        """Nothing to read: it is open, or on its way."""
        assert self._socket is not None
        if not self._is_open:
            with suppress(OSError):
                self._socket.getpeername()  # fails until it is connected
                self._is_open = True
        if not self._is_open and self._clock() > self._since_s + _CONNECTING_S:
            self._close()
        return False

    def _open(self) -> None:
        try:
            made = socket.socket(socket.AF_INET6 if ":" in self._address.host else socket.AF_INET, socket.SOCK_STREAM)
        except OSError:  # none is free: with the next tick
            return
        made.setblocking(False)
        if made.connect_ex(self._address) in (0, *_CONNECTING):
            self._socket, self._since_s = made, self._clock()
        else:
            made.close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Asked(NamedTuple):
    media: str
    sent: int
    again_s: float


class _Questions:
    """Whether RTPengine knows a call (`query` of its NG protocol), a bounded number at once."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._socket: socket.socket | None = None
        self._waiting: deque[str] = deque()
        self._asked: dict[bytes, _Asked] = {}

    def ask(self, names: Iterable[str]) -> None:
        """All of these, anew."""
        self.forget()
        self._waiting.extend(names)

    def forget(self) -> None:
        self._waiting.clear()
        self._asked.clear()

    def on_tick(self) -> list[str]:
        """Ask and hear. Returns those that it does not know."""
        if not self._waiting and not self._asked:
            return []
        with suppress(OSError):
            lost = self._hear(self._opened())
            self._send(self._opened())
            return lost
        return []

    def _send(self, opened: socket.socket) -> None:
        now = self._clock()
        for cookie, (media, sent, again_s) in list(self._asked.items()):
            if now >= again_s:
                del self._asked[cookie]
                if sent < MOST_SENT:  # else it is silent: when it is back, all is asked anew
                    self._send_one(opened, cookie, _Asked(media, sent + 1, now + AGAIN_S))
        while self._waiting and len(self._asked) < ASKED_AT_ONCE:
            cookie = secrets.token_hex(8).encode()
            self._send_one(opened, cookie, _Asked(self._waiting.popleft(), 1, now + AGAIN_S))

    def _send_one(self, opened: socket.socket, cookie: bytes, asked: _Asked) -> None:
        self._asked[cookie] = asked
        command = json.dumps({"command": "query", "call-id": asked.media}).encode()
        with suppress(OSError):
            opened.send(cookie + b" " + command)

    def _hear(self, opened: socket.socket) -> list[str]:
        lost = []
        with suppress(OSError):  # also when nothing is left
            while True:
                cookie, _, reply = opened.recv(65_536).partition(b" ")
                asked = self._asked.pop(cookie, None)
                if asked is not None and b"unknown call-id" in reply.lower():
                    lost.append(asked.media)
        return lost

    def _opened(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connected(self._address)
        return self._socket


class _Bye(NamedTuple):
    media: str
    text: bytes
    sent: int
    again_s: float


class Ending:
    """Sends both BYEs of a call to our own Kamailio, which passes them on and answers when the side has."""

    def __init__(self, own: Address, clock: Clock = time.monotonic) -> None:
        self._own = own
        self._clock = clock
        self._socket: socket.socket | None = None
        self._byes: dict[bytes, _Bye] = {}
        self._room = ENDED_AT_ONCE
        self._is_told = False

    def has_room(self) -> bool:
        """Whether one more call may be ended in this tick."""
        if not self._room:
            return False
        try:
            self._opened()
        except OSError as error:
            if not self._is_told:
                ksr.log_error(f"calls whose media is lost can't be ended yet: {error}")
            self._is_told = True
            return False
        self._is_told = False
        return True

    def begin(self, media: str, call: AnchoredCall) -> None:
        """Only where there is room. Raises OSError."""
        self._room -= 1
        opened = self._opened()
        via = "SIP/2.0/UDP {};rport;branch=z9hG4bK-ci-{}"
        for to_caller in (True, False):
            branch = secrets.token_hex(8)
            text = call.bye(via.format(Address(*opened.getsockname()[:2]), branch), REASON, to_caller=to_caller)
            self._send(branch.encode(), _Bye(media, text, 0, 0.0))

    def on_tick(self) -> list[str]:
        """Hear and send again. Returns the media of those BYEs that are over."""
        self._room = ENDED_AT_ONCE
        if not self._byes:
            return []
        over = self._hear()
        now = self._clock()
        for branch, bye in list(self._byes.items()):
            if now < bye.again_s:
                continue
            del self._byes[branch]
            if bye.sent < MOST_SENT:
                self._send(branch, bye)
            else:
                over.append(bye.media)
        return over

    def _send(self, branch: bytes, bye: _Bye) -> None:
        # tm answers when the other side does, and sends to it again and again by itself.
        wait_s = AGAIN_S * 2**bye.sent
        self._byes[branch] = bye._replace(sent=bye.sent + 1, again_s=self._clock() + wait_s)
        with suppress(OSError):
            self._opened().send(bye.text)

    def _hear(self) -> list[str]:
        over = []
        with suppress(OSError):
            while True:
                reply = self._opened().recv(65_536)
                branch = _BRANCH.search(reply) if _FINAL.match(reply) else None
                if branch and (bye := self._byes.pop(branch[1], None)):
                    over.append(bye.media)
        return over

    def _opened(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connected(self._own)
        return self._socket


def _connected(address: Address) -> socket.socket:
    """UDP, that does not wait. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made
