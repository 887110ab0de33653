"""An artificial world for the sans-IO user agent: a clock that tests turn, a wire they read, and scripted peers.

Peers build and read messages as text on purpose: the code under test must not check itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from sidecar.sip import Address, Event, IncomingInvite, UacLeg, UaConfig, UasLeg, UserAgent

LOCAL = Address("127.10.0.1", 20000)
PROXY = Address("127.10.0.2", 5060)
CALLER_CONTACT = "<sip:caller@127.10.0.3:5062>"
SDP = b"v=0\r\no=- 1 1 IN IP4 127.10.0.3\r\ns=-\r\nc=IN IP4 127.10.0.3\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
OUR_SDP = SDP.replace(b"127.10.0.3", b"127.10.0.1")
NO_SESSION_TIMER = UaConfig(session_expires_s=None)

_numbers = itertools.count(1)


class Seen:
    """A message that the user agent sent, read naively."""

    def __init__(self, data: bytes, destination: Address, at: float) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.data, self.destination, self.at = data, destination, at
        self.start, *self.lines = head.decode("utf-8", "surrogateescape").split("\r\n")

    def all(self, name: str) -> list[str]:
        return [line.partition(": ")[2] for line in self.lines if line.lower().startswith(name.lower() + ":")]

    def get(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return "" if self.status else self.start.split(" ")[0]

    @property
    def to_tag(self) -> str:
        found = re.search(r";tag=([^;]+)", self.get("To"))
        return found[1] if found else ""

    def __repr__(self) -> str:
        return f"<{self.start!r} {self.get('CSeq')} at {self.at:.1f}>"


class World:
    """The wire of one user agent. `calls` holds the legs that came in, `events` what each leg's listener heard."""

    def __init__(self, config: UaConfig = NO_SESSION_TIMER) -> None:
        self.time = 1000.0
        self.sent: list[Seen] = []
        self.config = config
        self.calls: list[tuple[UasLeg, IncomingInvite]] = []
        self.events: list[Event] = []
        self.plan = lambda _leg, _invite: None
        self.agent = UserAgent(LOCAL, self._on_invite, config, self)

    def _on_invite(self, leg: UasLeg, invite: IncomingInvite) -> None:
        leg.listener = self.events.append
        self.calls.append((leg, invite))
        self.plan(leg, invite)

    def now(self) -> float:
        return self.time

    def send(self, data: bytes, destination: Address) -> None:
        self.sent.append(Seen(data, destination, self.time))

    def wake_at(self, when: float) -> None:
        assert when >= self.time

    def advance(self, seconds: float) -> None:
        """Turn the clock, firing each timer at its time."""
        until = self.time + seconds
        while (due := self.agent.next_timer()) is not None and due <= until:
            self.time = max(due, self.time)
            self.agent.tick()
        self.time = until

    def receive(self, data: bytes | str, source: Address = PROXY) -> list[Seen]:
        """Deliver a datagram; returns what was sent at once."""
        before = len(self.sent)
        self.agent.receive(data.encode() if isinstance(data, str) else data, source)
        return self.sent[before:]

    def take(self) -> list[Seen]:
        """What was sent since the last take."""
        taken, self.sent = self.sent, []
        return taken

    def statuses(self) -> list[int]:
        return [seen.status for seen in self.take()]

    @property
    def alive(self) -> tuple[int, int, int, int]:
        counters = self.agent.counters
        return (counters.legs, counters.dialogs, counters.transactions, counters.timers)

    def assert_nothing_left(self) -> None:
        """After every transaction's time nothing may be left."""
        self.advance(200)
        assert self.alive == (0, 0, 0, 0)
        assert not self.agent._core.transactions.merged
        assert not self.agent._core.transactions.giving_way
        assert not self.agent._core.transactions.unanswered


def message(start: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    lines = [start, *[f"{name}: {value}" for name, value in headers], f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Caller:
    """A caller behind the proxy, calling the user agent."""

    def __init__(self, world: World, record_routes: Sequence[str] = ()) -> None:
        number = next(_numbers)
        self.world = world
        self.call_id = f"call-{number}@caller"
        self.tag = f"from{number}"
        self.to_tag = ""
        self.cseq = 0
        self.branch = ""
        self.contact = CALLER_CONTACT
        self.record_routes = record_routes
        self.target = f"sip:332@{LOCAL}"

    def request(
        self,
        method: str,
        *,
        cseq: int | None = None,
        branch: str | None = None,
        to_tag: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        sdp: bytes = b"",
        body: bytes = b"",
    ) -> bytes:
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        self.branch = branch or f"z9hG4bK{next(_numbers)}"
        tag = self.to_tag if to_tag is None else to_tag
        fields = [
            ("Via", f"SIP/2.0/UDP {PROXY};branch={self.branch}"),
            ("Via", "SIP/2.0/UDP 127.10.0.3:5062;branch=z9hG4bKfar;received=127.10.0.3"),
            *[("Record-Route", value) for value in self.record_routes],
            ("Max-Forwards", "69"),
            ("From", f'"Caller, The" <sip:caller@example.org>;tag={self.tag}'),
            ("To", "<sip:332@example.org>" + (f";tag={tag}" if tag else "")),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
            *headers,
        ]
        if method in ("INVITE", "UPDATE"):
            fields.append(("Contact", self.contact))
        if sdp:
            fields.append(("Content-Type", "application/sdp"))
        return message(f"{method} {self.target} SIP/2.0", fields, sdp or body)

    def send(self, method: str, **keywords: object) -> list[Seen]:
        """Send a request; returns what came back at once, and learns the To tag."""
        answers = self.world.receive(self.request(method, **keywords))  # type: ignore[arg-type]
        for answer in answers:
            if 100 < answer.status < 300 and not self.to_tag and "INVITE" in answer.get("CSeq"):
                self.to_tag = answer.to_tag
        return answers

    def invite(self, sdp: bytes = SDP, **keywords: object) -> list[Seen]:
        return self.send("INVITE", sdp=sdp, **keywords)

    def ack(self, sdp: bytes = b"", cseq: int | None = None, **keywords: object) -> list[Seen]:
        return self.send("ACK", cseq=self.cseq if cseq is None else cseq, sdp=sdp, **keywords)

    def ack_refusal(self, branch: str, to_tag: str) -> list[Seen]:
        return self.send("ACK", cseq=self.cseq, branch=branch, to_tag=to_tag)

    def reply(
        self, request: Seen, status: int, headers: Sequence[tuple[str, str]] = (), sdp: bytes = b""
    ) -> list[Seen]:
        """Answer a request that the user agent sent within the dialog."""
        return self.world.receive(respond(request, status, "", headers, sdp))


def respond(
    request: Seen,
    status: int,
    to_tag: str = "",
    headers: Sequence[tuple[str, str]] = (),
    sdp: bytes = b"",
) -> bytes:
    """The bytes of a response to what the user agent sent."""
    to = request.get("To")
    fields = [("Via", value) for value in request.all("Via")]
    fields += [
        ("From", request.get("From")),
        ("To", f"{to};tag={to_tag}" if to_tag and ";tag=" not in to else to),
        ("Call-ID", request.get("Call-ID")),
        ("CSeq", request.get("CSeq")),
        *headers,
    ]
    if sdp:
        fields.append(("Content-Type", "application/sdp"))
    return message(f"SIP/2.0 {status} Reason", fields, sdp)


class Callee:
    """Answers what the user agent's `UacLeg` sends; each To tag is a fork."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[Event] = []

    def call(self, **keywords: object) -> UacLeg:
        keywords.setdefault("route", f"sip:{PROXY};lr")
        leg = self.world.agent.invite("sip:306@127.10.0.9:5090", SDP, self.events.append, **keywords)  # type: ignore[arg-type]
        self.invite = self.world.sent[-1] if self.world.sent else None
        return leg

    def reply(
        self,
        status: int,
        tag: str = "",
        headers: Sequence[tuple[str, str]] = (),
        sdp: bytes = b"",
        request: Seen | None = None,
    ) -> list[Seen]:
        if status < 300 and tag:
            headers = [("Contact", f"<sip:{tag}@127.10.0.9:5090>"), *headers]
        request = request or self.invite
        assert request is not None
        return self.world.receive(respond(request, status, tag, headers, sdp))
