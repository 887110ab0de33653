"""Many phones behind one UDP port, as behind a carrier: they call, are called, hold, answer re-INVITEs and hang up.

A call that its network loses for a moment goes on: requests are sent again (RFC 3261 17.1), a repeated 200 gets its
ACK again (13.2.2.4), and a repeated request its old answer (17.2).
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from tests.chaos.voice import Mute, Voice
from tests.integration.kemi_support import Message
from tests.support.rtp import RtpEndpoint

T1_S, T2_S, TIMER_B_S = 0.5, 4.0, 32.0
RINGS_S = 60.0
"""The most that an INVITE may ring."""
SILENT = 408
"""In place of a status that never came."""
ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE"

Address = tuple[str, int]


class Leg:
    """One side of a call, as its phone sees it. Times are of the event loop's clock.

    `number` is what was dialled. `invite` is what it sent or got; `status` is that of its final response.
    """

    def __init__(self, exchange: Exchange, number: str, invite: Message) -> None:
        self.exchange, self.number, self.invite = exchange, number, invite
        self.voice = exchange.voice_for(invite)
        self.call_id = invite.get("Call-ID")
        self.local = self.remote = self.target = ""
        self.routes: list[str] = []
        self.cseq = 1
        self.began_s, self.final_s, self.ended_s = exchange.now(), 0.0, 0.0
        self.status = 0
        self.provisional: list[int] = []
        self.final, self.acked, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.offers = 0
        """How many re-INVITEs it got."""
        self.is_cancelled = False

    @property
    def tag(self) -> str:
        return self.local.rpartition("tag=")[2]

    @property
    def next_hop(self) -> Address:
        return _address(self.routes[0] if self.routes else self.target)

    async def has_final(self, within_s: float) -> int:
        """Wait for the final response of its INVITE. Returns its status; 0 if there is none yet."""
        await happens(self.final, within_s)
        return self.status

    async def is_over(self, within_s: float) -> bool:
        """Whether the other side hangs up, or has."""
        return await happens(self.ended, within_s)

    def answer(self) -> None:
        """Pick up. The 200 is sent again until its ACK comes (RFC 3261 13.3.1.4)."""
        if not self.status and not self.is_cancelled:
            self.status, self.final_s = 200, self.exchange.now()
            self.final.set()
            self.exchange.start(self._answer())

    async def reoffer(self, direction: str) -> int:
        """Send a re-INVITE, for example to hold. Returns the final status."""
        answer = await self._ask("INVITE", self.voice.sdp(direction))
        if answer and answer.status == 200:
            self._learn(answer)
            self._acknowledge(answer)
        return answer.status if answer else SILENT

    async def hang_up(self) -> int:
        """Returns the status that the BYE got; 200 if the other side was quicker."""
        if self.ended.is_set():
            return 200
        self.end()
        answer = await self._ask("BYE")
        return answer.status if answer else SILENT

    def end(self) -> None:
        self.ended_s = self.exchange.now()
        self.ended.set()

    # -- as caller

    async def run(self) -> None:
        """The INVITE's client transaction, until the final response."""
        answer = await self.exchange.ask(self.invite, self.next_hop, self.provisional)
        if answer and answer.status == 200:
            self.remote = answer.get("To")
            self.routes = _uris(answer.all("Record-Route"))[::-1]
            self._learn(answer)
            self._acknowledge(answer)
        else:
            self.end()
        self.status, self.final_s = (answer.status if answer else SILENT), self.exchange.now()
        self.final.set()

    # -- as callee

    def take(self, invite: Message) -> None:
        """Its first INVITE: ring."""
        self.local, self.remote = f"{invite.get('To')};tag={uuid.uuid4().hex[:8]}", invite.get("From")
        self.routes = _uris(invite.all("Record-Route"))
        self.cseq = 100
        self._learn(invite)
        self.exchange.respond(invite, self.response(invite, "180 Ringing"))

    async def _answer(self) -> None:
        for pause_s in _pauses():
            self.exchange.respond(self.invite, self.response(self.invite, "200 OK", self.voice.sdp()))
            if await happens(self.acked, pause_s) or self.ended.is_set():
                return

    def on_request(self, request: Message) -> None:
        """A request of the other side in this dialog."""
        match request.method:
            case "ACK":
                self.acked.set()
                if request.body:
                    self.voice.send_to(request.body)
            case "BYE":
                self.end()
                self.exchange.respond(request, self.response(request, "200 OK"))
            case "INVITE":
                self.offers += 1
                self._learn(request)
                direction = {"sendonly": "recvonly", "inactive": "inactive"}.get(_direction(request.body), "sendrecv")
                self.exchange.respond(request, self.response(request, "200 OK", self.voice.sdp(direction)))
            case _:
                self.exchange.respond(request, self.response(request, "200 OK"))

    def on_cancel(self, cancel: Message) -> None:
        self.exchange.respond(cancel, self.response(cancel, "200 OK"))
        if not self.status:
            self.is_cancelled, self.status = True, 487
            self.exchange.respond(self.invite, self.response(self.invite, "487 Request Terminated"))
            self.final.set()
            self.end()

    def response(self, request: Message, status: str, sdp: str = "") -> Message:
        return response_to(request, status, self.local, sdp, self.exchange)

    # -- both

    def _learn(self, message: Message) -> None:
        """Where its requests and its sound go from now on (RFC 3261 12.2.1.2)."""
        if contact := message.get("Contact"):
            self.target = _uris([contact])[0]
        if message.body:
            self.voice.send_to(message.body)

    async def _ask(self, method: str, sdp: str = "") -> Message | None:
        self.cseq += 1
        return await self.exchange.ask(self.request(method, sdp), self.next_hop)

    def _acknowledge(self, answer: Message) -> None:
        ack = self.request("ACK")
        ack.set("CSeq", answer.get("CSeq").replace("INVITE", "ACK"))
        self.exchange.keep_ack(answer, ack, self.next_hop)

    def request(self, method: str, sdp: str = "") -> Message:
        message = Message(f"{method} {self.target} SIP/2.0", body=sdp)
        message.headers = [
            ("Via", f"SIP/2.0/UDP {self.exchange.host}:{self.exchange.port};branch=z9hG4bK{uuid.uuid4().hex}"),
            *[("Route", f"<{uri}>") for uri in self.routes],
            ("Max-Forwards", "70"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
            ("Contact", f"<sip:phone@{self.exchange.host}:{self.exchange.port}>"),
            *([("Content-Type", "application/sdp")] if sdp else []),
        ]
        return message


class Exchange(asyncio.DatagramProtocol):
    """``async with Exchange(host, port) as exchange``. `callers` and `callees` are its legs, in the order they came."""

    def __init__(self, host: str, port: int = 0, *, on_call: Callable[[Leg], None] | None = None) -> None:
        """on_call: told of each call that comes; it rings until somebody says `answer`."""
        self.host, self.port = host, port
        self.callers: list[Leg] = []
        self.callees: list[Leg] = []
        self.is_mute: dict[str, bool] = {}
        """By caller: its call has no sound, on either side."""
        self._on_call = on_call
        self._legs: dict[tuple[str, str], Leg] = {}
        """By Call-ID and our tag."""
        self._by_branch: dict[str, Leg] = {}
        """Callees, by the branch of their INVITE."""
        self._replies: dict[str, asyncio.Queue[Message]] = {}
        """For our client transactions, by branch."""
        self._answers: dict[tuple[str, str], tuple[bytes, Address]] = {}
        """By branch and method: what a request that is sent again gets."""
        self._acks: dict[tuple[str, str], tuple[bytes, Address]] = {}
        self._sources: dict[str, Address] = {}
        """Of requests, by branch."""
        self._tasks: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Exchange:
        self._loop = asyncio.get_running_loop()
        self._sink = RtpEndpoint(self.host)
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for leg in [*self.callers, *self.callees]:
            await self.forget(leg)
        self._sink.close()
        self._transport.close()

    def now(self) -> float:
        return self._loop.time()

    def voice_for(self, invite: Message) -> Voice:
        """Its caller's number tells whether the call has sound."""
        caller = invite.get("From").partition("sip:")[2].partition("@")[0]
        # A Mute has of a Voice what a leg needs.
        return Mute(self._sink) if self.is_mute.get(caller) else Voice(self.host)  # type: ignore[return-value]

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call(self, target: Address, number: str, caller: str) -> Leg:
        """Send an INVITE for `number` from `caller`."""
        local = f"<sip:{caller}@{self.host}>;tag={uuid.uuid4().hex[:8]}"
        leg = Leg(self, number, Message("", [("Call-ID", uuid.uuid4().hex), ("From", local)]))
        leg.local = local
        leg.target = f"sip:{number}@{target[0]}:{target[1]}"
        leg.remote = f"<{leg.target}>"
        leg.invite = leg.request("INVITE", leg.voice.sdp())
        self._add(leg, self.callers)
        self.start(leg.run())
        return leg

    async def called(self, number: str, within_s: float, after: int = 0) -> Leg | None:
        """Wait for a call to `number`, beyond the first `after`. None if there is none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(found := self.calls_to(number)) <= after:
                    await asyncio.sleep(0.02)
                return found[after]
        return None

    def calls_to(self, number: str) -> list[Leg]:
        return [leg for leg in self.callees if leg.number == number]

    async def forget(self, leg: Leg) -> None:
        """Close its sound."""
        for legs in (self.callers, self.callees):
            with suppress(ValueError):
                legs.remove(leg)
        self._legs.pop((leg.call_id, leg.tag), None)
        self._by_branch.pop(_branch(leg.invite), None)
        await leg.voice.__aexit__(None, None, None)

    # -- transactions

    async def ask(self, request: Message, to: Address, provisional: list[int] | None = None) -> Message | None:
        """Send a request until its final response comes. None if it does not."""
        branch, is_invite = _branch(request), request.method == "INVITE"
        replies = self._replies[branch] = asyncio.Queue()
        try:
            for pause_s in _pauses(longest_s=TIMER_B_S if is_invite else T2_S):
                self._transport.sendto(bytes(request), to)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s) as waiting:
                        while (reply := await replies.get()).status < 200:
                            if provisional is not None:
                                provisional.append(reply.status)
                            if is_invite:
                                waiting.reschedule(self.now() + RINGS_S)
                        if is_invite and reply.status >= 300:
                            self._transport.sendto(bytes(_ack_of_failure(request, reply)), to)
                        return reply
                if is_invite and provisional:
                    return None
            return None
        finally:
            del self._replies[branch]

    def respond(self, request: Message, response: Message) -> None:
        data, to = bytes(response), self._sources[_branch(request)]
        self._answers[_branch(request), request.method] = data, to
        self._transport.sendto(data, to)

    def keep_ack(self, answer: Message, ack: Message, to: Address) -> None:
        """Send the ACK of a 200, and again whenever that 200 comes again."""
        self._acks[answer.get("Call-ID"), answer.get("CSeq")] = bytes(ack), to
        self._transport.sendto(bytes(ack), to)

    def datagram_received(self, data: bytes, source: Address) -> None:
        message = Message.parse(data)
        if message.status:
            self._on_response(message)
        elif known := self._answers.get((_branch(message), message.method)):
            self._transport.sendto(*known)
        else:
            self._on_request(message, source)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there now: the request is sent again."""

    def _on_response(self, message: Message) -> None:
        ack = self._acks.get((message.get("Call-ID"), message.get("CSeq")))
        if replies := self._replies.get(_branch(message)):
            replies.put_nowait(message)
        elif ack and message.status == 200:
            self._transport.sendto(*ack)

    def _on_request(self, request: Message, source: Address) -> None:
        leg = self._legs.get((request.get("Call-ID"), request.get("To").partition("tag=")[2]))
        self._sources[_branch(request)] = source
        if request.method == "CANCEL" and (called := self._by_branch.get(_branch(request))):
            called.on_cancel(request)
        elif leg:
            leg.on_request(request)
        elif request.method == "INVITE" and "tag=" not in request.get("To"):
            called = Leg(self, request.uri.partition(":")[2].partition("@")[0], request)
            called.take(request)
            self._by_branch[_branch(request)] = called
            self._add(called, self.callees)
            if self._on_call:
                self._on_call(called)
        elif request.method != "ACK":
            status = "200 OK" if request.method == "OPTIONS" else "481 Call/Transaction Does Not Exist"
            self.respond(request, response_to(request, status, f"{request.get('To')};tag=x", "", self))

    def _add(self, leg: Leg, legs: list[Leg]) -> None:
        legs.append(leg)
        self._legs[leg.call_id, leg.tag] = leg
        self.start(leg.voice.__aenter__())


async def happens(event: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()


def response_to(request: Message, status: str, to: str, sdp: str, exchange: Exchange) -> Message:
    copied = [pair for pair in request.headers if pair[0].lower() in ("via", "record-route", "from", "call-id", "cseq")]
    message = Message(f"SIP/2.0 {status}", body=sdp)
    message.headers = [
        *copied,
        ("To", request.get("To") if "tag=" in request.get("To") else to),
        ("Contact", f"<sip:phone@{exchange.host}:{exchange.port}>"),
        ("Allow", ALLOW),
        *([("Content-Type", "application/sdp")] if sdp else []),
    ]
    return message


def _ack_of_failure(invite: Message, reply: Message) -> Message:
    """RFC 3261 17.1.1.3."""
    ack = Message(invite.start.replace("INVITE", "ACK", 1))
    kept = ("via", "route", "max-forwards", "from", "call-id")
    ack.headers = [pair for pair in invite.headers if pair[0].lower() in kept]
    ack.headers += [("To", reply.get("To")), ("CSeq", invite.get("CSeq").replace("INVITE", "ACK"))]
    return ack


def _pauses(longest_s: float = T2_S) -> Iterator[float]:
    """Between the times that something is sent, until Timer B or F or H (RFC 3261 17.1.1.1)."""
    waited_s, pause_s = 0.0, T1_S
    while waited_s < TIMER_B_S:
        yield pause_s
        waited_s += pause_s
        pause_s = min(2 * pause_s, longest_s)


def _branch(message: Message) -> str:
    found = re.search(r";branch=([^;,\s]+)", message.get("Via"))
    return found[1] if found else ""


def _uris(values: list[str]) -> list[str]:
    return [uri for value in values for uri in re.findall(r"<([^>]+)>", value)]


def _address(uri: str) -> Address:
    host, _, port = uri.partition(";")[0].rpartition("@")[2].removeprefix("sip:").partition(":")
    return host, int(port or 5060)


def _direction(sdp: str) -> str:
    found = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", sdp, re.MULTILINE)
    return found[1] if found else "sendrecv"
