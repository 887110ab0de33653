"""A carrier that calls all the time and knows several edges: what one refuses, the next one gets (RFC 3263 4.3)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

Address = tuple[str, int]
SDP = "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
SILENT_S = 2.0
"""After so long without any answer the next edge is tried."""
TRIES, PAUSE_S = 2, 0.15
"""At each edge: a busy machine refuses a call for a moment, and has then nothing to do with what is tested."""
CALL_S = 20.0
T1_S = 0.5
ANSWERED = "answered, and hung up by its script"


class Carrier(asyncio.DatagramProtocol):
    """``async with``: places calls inside the block, and waits for their ends after it. `results` counts them."""

    def __init__(self, local: Address, edges: Sequence[Address], number: str, rate: float) -> None:
        self._local, self._edges, self._number, self._rate = local, edges, number, rate
        self._inboxes: dict[str, asyncio.Queue[str]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self.results: Counter[str] = Counter()
        self.tried_again = 0

    async def __aenter__(self) -> Carrier:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._local)
        self._placing = asyncio.create_task(self._place())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._placing.cancel()
        await asyncio.wait([self._placing])
        if self._calls:
            await asyncio.wait(self._calls, timeout=2 * CALL_S)
        self._transport.close()

    def datagram_received(self, data: bytes, _source: object) -> None:
        text = data.decode("utf-8", "replace")
        if inbox := self._inboxes.get(_header(text, "Call-ID")):
            inbox.put_nowait(text)

    async def _place(self) -> None:
        for number in range(1_000_000):
            task = asyncio.create_task(self._call(number))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            await asyncio.sleep(1 / self._rate)

    async def _call(self, number: int) -> None:
        first = number % len(self._edges)
        result = "no edge"
        for edge in (*self._edges[first:], *self._edges[:first]) * TRIES:
            call_id = f"{number}-{edge[0]}-{time.time_ns()}"
            self._inboxes[call_id] = asyncio.Queue()
            try:
                async with asyncio.timeout(CALL_S):
                    result = await self._one(edge, call_id, number)
            except TimeoutError:
                result = "never ended"
            finally:
                del self._inboxes[call_id]
            if result not in ("503", "silence"):
                break
            self.tried_again += 1
            await asyncio.sleep(PAUSE_S)
        self.results[result] += 1

    async def _one(self, edge: Address, call_id: str, number: int) -> str:
        host, port = self._local
        body = SDP.format(host=host)
        invite = self._request("INVITE", f"sip:{self._number}@{edge[0]}:{edge[1]}", call_id, f"i{number}", "", (
            f"Contact: <sip:carrier@{host}:{port}>", "Content-Type: application/sdp",
        ), body)  # fmt: skip
        answer = await self._answer_to(invite, edge, call_id)
        if answer is None:
            return "silence"
        status = answer.split(" ", 2)[1]
        to = _header(answer, "To")
        if status != "200":
            self._send(self._request("ACK", f"sip:{self._number}@{edge[0]}:{edge[1]}", call_id, f"i{number}", to), edge)
            return status
        routes = [value for line in _headers(answer, "Record-Route") for value in line.split(", ")]
        route = [f"Route: {value}" for value in reversed(routes)]
        contact = _header(answer, "Contact").partition("<")[2].partition(">")[0]
        ack = self._request("ACK", contact, call_id, f"a{number}", to, route)
        self._send(ack, edge)
        while True:
            text = await self._inboxes[call_id].get()
            if text.startswith("SIP/2.0 200"):
                self._send(ack, edge)  # it was lost (RFC 3261 13.2.2.4)
            elif text.startswith("BYE "):
                copied = (
                    f"{name}: {value}"
                    for name in ("Via", "From", "To", "Call-ID", "CSeq")
                    for value in _headers(text, name)
                )
                self._send("\r\n".join(("SIP/2.0 200 OK", *copied, "Content-Length: 0", "", "")), edge)
                return ANSWERED

    async def _answer_to(self, invite: str, edge: Address, call_id: str) -> str | None:
        """The final response; None where there is none at all."""
        began, pause_s, has_heard = time.monotonic(), T1_S, False
        self._send(invite, edge)
        while True:
            try:
                async with asyncio.timeout(None if has_heard else pause_s):
                    text = await self._inboxes[call_id].get()
            except TimeoutError:
                if time.monotonic() > began + SILENT_S:
                    return None
                self._send(invite, edge)
                pause_s *= 2
                continue
            has_heard = True
            if not text.startswith("SIP/2.0 1"):
                return text

    def _request(
        self, method: str, uri: str, call_id: str, branch: str, to: str = "", more: Sequence[str] = (), body: str = ""
    ) -> str:
        host, port = self._local
        lines = (
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch}-{call_id}",
            "Max-Forwards: 70",
            f"From: <sip:+15550177@{host}>;tag={branch[1:]}",
            f"To: {to or f'<{uri}>'}",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            *more,
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join((*lines, "", body))

    def _send(self, text: str, edge: Address) -> None:
        self._transport.sendto(text.encode(), edge)


def _headers(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}: *(.*?)\r?$", text.partition("\r\n\r\n")[0], re.MULTILINE | re.IGNORECASE)


def _header(text: str, name: str) -> str:
    return next(iter(_headers(text, name)), "")
