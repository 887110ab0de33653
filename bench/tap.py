"""When the last digit arrived and when the next request left, read off the loopback interface with its own clock.

RTPengine's digit event and the HTTP request both name the call, so nothing in the stack has to help. Needs root.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct
import threading

_ETH_P_IP = 0x0800
_SO_TIMESTAMPNS = 35
_SO_ATTACH_FILTER = 26
_EVENT = re.compile(rb"6:callid\d+:\S*?([0-9a-f]{32})")
_REQUEST = re.compile(rb"GET [^ ]*CallID=([0-9a-f]{32})")


class Tap:
    """``with Tap(ng_port, http_port) as tap``, then `delays_ms`. Raises PermissionError without root."""

    def __init__(self, ng_port: int, http_port: int) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        _attach_filter(self._socket, ng_port, http_port)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.settimeout(0.1)
        self._digit_at: dict[bytes, float] = {}
        self._request_at: dict[bytes, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def delays_ms(self) -> list[float]:
        """Milliseconds from the last digit event of each call to the HTTP request that follows it."""
        return [(self._request_at[call] - at) * 1000 for call, at in self._digit_at.items() if call in self._request_at]

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                packet, control, _, _ = self._socket.recvmsg(2048, 128)
            except TimeoutError:
                continue
            seconds, nanos = struct.unpack("@qq", next(data for _, kind, data in control if kind == _SO_TIMESTAMPNS))
            at = seconds + nanos / 1e9
            if event := _EVENT.search(packet):
                if event[1] not in self._request_at:
                    self._digit_at[event[1]] = at
            elif request := _REQUEST.search(packet):
                self._request_at.setdefault(request[1], at)


def _attach_filter(sock: socket.socket, from_port: int, to_port: int) -> None:
    """A classic BPF filter for TCP from the one or to the other port: we never receive the calls' audio."""
    program = [
        *((0x30, 0, 0, 9), (0x15, 0, 6, socket.IPPROTO_TCP)),  # A = protocol
        *((0xB1, 0, 0, 0), (0x48, 0, 0, 0), (0x15, 2, 0, from_port)),  # X = length of the IP header; A = source port
        *((0x48, 0, 0, 2), (0x15, 0, 1, to_port)),  # A = destination port
        *((0x06, 0, 0, 65535), (0x06, 0, 0, 0)),
    ]
    buffer = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))
