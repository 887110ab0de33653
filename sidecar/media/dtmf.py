"""Digits: RTPengine's digit events, shared by the sidecars of one host, and the rule that no digit counts twice.

RTPengine has one destination for all its digit events (`--dtmf-log-dest`), a UDP port, and reports each digit once,
at its end, whether it came as RFC 4733 event or as tones. The sidecars of one host share that port: each has a socket
of one SO_REUSEPORT group, and a classic BPF program picks the socket by the first character of the event's call-id,
which is the sidecar's index (`media_id` starts with it).
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from callinteractive.events import DIGITS
from callinteractive.limits import MAX_SIDECARS

CALLER_TAG = "caller"  # RTPengine's name for the caller's leg of every call; only its digits count

_LARGEST_EVENT = 4096
_RECEIVE_BUFFER = 1024 * 1024
_LONGEST_DIGIT_MS = 60_000

# RTPengine writes the keys in this order, without white space.
_EVENT_START = b'{"callid":"'

_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; not in Python's socket module
# classic BPF (linux/filter.h): code, jump true, jump false, k
_BPF_PROGRAM = (
    (0x30, 0, 0, len(_EVENT_START)),  # A = payload[k], one byte
    (0x14, 0, 0, ord("0")),  # A = A - k
    (0x16, 0, 0, 0),  # return A: the index of the socket; one out of range falls back to a hash
)


@dataclass(frozen=True, slots=True)
class DigitEvent:
    """One digit, complete. duration_ms as the sender told it (RFC 4733) or as measured (tones)."""

    digit: str
    duration_ms: int


DigitListener = Callable[[DigitEvent], None]


class DigitSource(Enum):
    """Where a digit came from. RTPengine's events cover both of its kinds: a caller has one or the other."""

    RTP = "rtp"  # RFC 4733, or in-band tones found by RTPengine
    INFO = "info"  # SIP INFO


class DigitFilter:
    """Phones may send one key press several ways; the first way that delivers is the call's way from then on."""

    def __init__(self) -> None:
        self._source: DigitSource | None = None

    def accepts(self, source: DigitSource) -> bool:
        """Whether a digit from this source counts."""
        if self._source is None:
            self._source = source
        return source is self._source


def parse_event(datagram: bytes) -> tuple[str, DigitEvent] | None:
    """The call's media id and its digit, or None for anything but a caller's digit. Never raises."""
    if len(datagram) > _LARGEST_EVENT:
        return None
    try:
        event: Any = json.loads(datagram)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("type") != "DTMF" or event.get("source_tag") != CALLER_TAG:
        return None
    media_id, code, duration = event.get("callid"), event.get("event"), event.get("duration")
    if type(media_id) is not str or type(code) is not int or not 0 <= code < len(DIGITS):
        return None
    if type(duration) is not int:
        duration = 0
    return media_id, DigitEvent(DIGITS[code], min(max(duration, 0), _LONGEST_DIGIT_MS))


def open_dtmf_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """One socket for each of `count` sidecars, all on the same UDP port; socket i gets the events of index i.

    The parent opens them and hands them down, so that a restarted sidecar gets its own again: the index of
    a socket is its place in the order of opening. Raises OSError when the port is taken (by another program: the group
    cannot be joined by another user's) and ValueError for a count that one digit cannot tell apart.
    """
    if not 1 <= count <= MAX_SIDECARS:
        raise ValueError(f"1 to {MAX_SIDECARS} sidecars can share a DTMF port, not {count}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sockets.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            opened.bind((host, port))
        _attach_filter(sockets[0])
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _attach_filter(group_member: socket.socket) -> None:
    instructions = b"".join(struct.pack("=HBBI", *step) for step in _BPF_PROGRAM)
    buffer = ctypes.create_string_buffer(instructions)
    # struct sock_fprog: unsigned short len; struct sock_filter *filter (aligned as the machine aligns it)
    program = struct.pack("@HP", len(_BPF_PROGRAM), ctypes.addressof(buffer))
    group_member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


class DtmfReceiver:
    """Reads one sidecar's digit events and hands each to the call it belongs to."""

    def __init__(self, receiving: socket.socket) -> None:
        """receiving: a bound UDP socket, ours from here on."""
        receiving.setblocking(False)
        self._socket = receiving
        self._listeners: dict[str, DigitListener] = {}
        self.received = 0  # datagrams, for the metrics endpoint
        self.ignored = 0  # of which: not understood, or of a call that is over

    def open(self) -> None:
        """Start reading, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._on_readable)

    def close(self) -> None:
        """Stop reading and close the socket."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def subscribe(self, media_id: str, listener: DigitListener) -> None:
        """From now on the listener gets the call's digits, in order; one listener a call."""
        self._listeners[media_id] = listener

    def unsubscribe(self, media_id: str) -> None:
        """Forget the call; does nothing for one that is not there."""
        self._listeners.pop(media_id, None)

    @property
    def subscribers(self) -> int:
        """Calls that listen now."""
        return len(self._listeners)

    def _on_readable(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                datagram = self._socket.recv(_LARGEST_EVENT + 1)
            except OSError:  # BlockingIOError: all read
                return
            self.received += 1
            parsed = parse_event(datagram)
            listener = self._listeners.get(parsed[0]) if parsed else None
            if parsed is None or listener is None:
                self.ignored += 1
            else:
                listener(parsed[1])
