"""The web application of the benchmark, as cheap as Python allows: its CPU is not what we measure.

`python -m bench.webapp HOST PORT`. The path says what is answered.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

_XML = "<Response>{}</Response>"
_ACTIONS = {
    b"/hangup": "<Hangup/>",
    b"/prompt": "<PlaySound>two-seconds.wav</PlaySound><Hangup/>",
    b"/transfer": "<SimpleTransfer>000*306</SimpleTransfer>",
    b"/slow": "<Hangup/>",
}
SLOW_S = 1.0


def _response(actions: str) -> bytes:
    body = _XML.format(actions).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_RESPONSES = {path: _response(actions) for path, actions in _ACTIONS.items()}
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Connection(asyncio.Protocol):
    """Serves GET requests, one after the other, on a kept-alive connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            path = self._buffer[: self._buffer.index(b"\r\n")].split(b" ")[1].partition(b"?")[0]
            self._buffer = self._buffer[end + 4 :]
            response = _RESPONSES.get(path, _NOT_FOUND)
            if path == b"/slow":
                asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, response)  # type: ignore[attr-defined]
            else:
                self._transport.write(response)  # type: ignore[attr-defined]


async def serve(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, host, port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
