"""A real Kamailio for a test, and SIP end points that do exactly what a test says.

Every pytest worker has a loopback net of its own, so that tests may run at the same time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sysconfig
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import ClassVar, Self

from callinteractive.config import load_site
from cli.kamailio import kamailio_spec
from cli.process import Process, ProcessSpec
from cli.programs import locate
from tests.support.timing import PATIENT_S
from tests.support.workers import WORKER

NET = f"{os.environ.get('CALLINTERACTIVE_KAMAILIO_NET', '127.12')}.{WORKER}"
"""The loopback /24 of this worker; another /16 lets two runs share a machine."""
KAMAILIO = (f"{NET}.1", 22000)
TRUNK = f"{NET}.33"
TRUNK_GATEWAYS = ((f"{NET}.33", 22080), (f"{NET}.34", 22080))
EXTENSION = f"{NET}.65"
STRANGER = f"{NET}.99"
SIDECAR = f"{NET}.9"
SIDECARS = ((SIDECAR, 22070), (SIDECAR, 22071))

TESTED_WORKERS = 2
"""On any machine, so that what one worker of Kamailio keeps for another is tested."""

PACKAGES = sysconfig.get_path("purelib")

SITE = f"""
node: 3584705175
sip: {{listen: ["udp:{KAMAILIO[0]}:{KAMAILIO[1]}", "tcp:{KAMAILIO[0]}:{KAMAILIO[1]}"]}}
trunks:
  - {{name: carrier, from: ["{TRUNK}/32"], to: "sip:{TRUNK_GATEWAYS[0][0]}:{TRUNK_GATEWAYS[0][1]}"}}
extensions:
  - {{number: "000*306", id: 134, contact: "sip:306@{EXTENSION}:22090"}}
sidecars: {{count: 2, host: {SIDECAR}, base_port: 22070}}
"""

IVR = """
ivrs:
  - {number: "000*332", id: 145, dids: ["+78123210001"], entry_context: 1}
contexts:
  1: {name: main, options: {start: [hangup]}}
"""

SDP = dedent(
    f"""\
    v=0
    o=- 1 1 IN IP4 {TRUNK}
    s=-
    c=IN IP4 {TRUNK}
    t=0 0
    m=audio 22500 RTP/AVP 8
    """
).replace("\n", "\r\n")


@dataclass
class Message:
    """A SIP message as text lines. Values are as on the wire."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Message:
        head, _, body = data.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return cls(start, headers, body)

    def __bytes__(self) -> bytes:
        kept = [(name, value) for name, value in self.headers if name != "Content-Length"]
        body = self.body.encode("utf-8", "surrogateescape")
        lines = [self.start, *(f"{name}: {value}" for name, value in (*kept, ("Content-Length", str(len(body)))))]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body

    @property
    def method(self) -> str:
        """Of a request; empty for a reply."""
        return "" if self.start.startswith("SIP/2.0") else self.start.split(" ")[0]

    @property
    def status(self) -> int:
        """Of a reply; 0 for a request."""
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0") else 0

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def set(self, name: str, value: str) -> None:
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()] + [(name, value)]

    def private(self) -> list[str]:
        return [name for name, _ in self.headers if name.lower().startswith("x-ci-")]


class Endpoint(asyncio.DatagramProtocol):
    """A UDP SIP end point. By itself it answers only OPTIONS, while `options_status` is set, and Kamailio's
    reports of calls (`kemi.reports`).

    Tests share addresses, one after the other. What still comes of an earlier test's call is dropped.
    """

    _calls: ClassVar[set[str]] = set()
    _calls_of_others: ClassVar[set[str]] = set()

    @classmethod
    def forget_calls(cls) -> None:
        """The test is over."""
        cls._calls_of_others |= cls._calls
        cls._calls.clear()

    def __init__(self) -> None:
        self.reports: list[Message] = []
        """What Kamailio has told of calls (E1), each of which got 200."""
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.options_status = "200 OK"

    @classmethod
    @asynccontextmanager
    async def at(cls, host: str, port: int) -> AsyncIterator[Self]:
        loop = asyncio.get_running_loop()
        transport, endpoint = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        endpoint._transport = transport
        endpoint.host, endpoint.port = host, port
        try:
            yield endpoint
        finally:
            endpoint.close()

    _transport: asyncio.DatagramTransport
    host: str
    port: int

    def close(self) -> None:
        """Close the port, as when a process dies."""
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        message = Message.parse(data)
        if message.method == "OPTIONS":
            if self.options_status:
                self._transport.sendto(bytes(reply(message, self.options_status)), addr)
        elif message.method == "MESSAGE":
            self.reports.append(message)
            self._transport.sendto(bytes(reply(message, "200 OK")), addr)
        elif message.get("Call-ID") not in self._calls_of_others:
            self._note(message)
            self.inbox.put_nowait(message)

    def _note(self, message: Message) -> None:
        if not message.get("CSeq").endswith("REGISTER"):  # a phone registers again with the same Call-ID
            self._calls.add(message.get("Call-ID"))

    def send(self, message: Message | bytes, to: tuple[str, int] = KAMAILIO) -> None:
        if isinstance(message, Message):
            self._note(message)
        self._transport.sendto(bytes(message), to)

    async def receive(self, what: str | int | None = None, timeout_s: float = PATIENT_S) -> Message:
        """The next message. With a method or status: the next message of that kind; others are dropped."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self.inbox.get()
                if what in (None, message.method, message.status):
                    return message

    async def receive_only(self, what: str | int, timeout_s: float = PATIENT_S) -> Message:
        """The next message, which must be of that method or status."""
        message = await self.receive(timeout_s=timeout_s)
        assert what in (message.method, message.status), message
        return message

    @property
    def uri_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def request(self, method: str, uri: str, *, body: str = "", **headers: str) -> Message:
        """A request outside any dialog. Header names are written with _ for -; an empty value leaves one out."""
        message = Message(f"{method} {uri} SIP/2.0", body=body)
        values = {
            "Via": f"SIP/2.0/UDP {self.uri_host}:{self.port};branch=z9hG4bK{uuid.uuid4().hex}",
            "Max-Forwards": "70",
            "From": f"<sip:caller@{self.uri_host}>;tag={uuid.uuid4().hex[:8]}",
            "To": f"<{uri}>",
            "Call-ID": uuid.uuid4().hex,
            "CSeq": f"1 {method}",
            "Contact": f"<sip:me@{self.uri_host}:{self.port}>",
            **({"Content-Type": "application/sdp"} if body else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        message.headers = [(name, value) for name, value in values.items() if value]
        return message

    def invite(self, number: str, *, body: str = SDP, **headers: str) -> Message:
        return self.request("INVITE", f"sip:{number}@{KAMAILIO[0]}:{KAMAILIO[1]}", body=body, **headers)

    async def expect_silence(self, seconds: float) -> None:
        try:
            message = await self.receive(timeout_s=seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected: {message}")


def reply(request: Message, status: str, *, tag: str = "", body: str = "", **headers: str) -> Message:
    """A reply to `request`; `tag` is added to To."""
    copied = [
        pair for pair in request.headers if pair[0].lower() in ("via", "from", "to", "call-id", "cseq", "record-route")
    ]
    if tag:
        copied = [(name, f"{value};tag={tag}" if name.lower() == "to" else value) for name, value in copied]
    extra = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if body:
        extra.append(("Content-Type", "application/sdp"))
    return Message(f"SIP/2.0 {status}", copied + extra, body)


def cancel_of(invite: Message) -> Message:
    """RFC 3261 9.1."""
    names = ("via", "max-forwards", "from", "to", "call-id", "route")
    headers = [pair for pair in invite.headers if pair[0].lower() in names]
    return Message(f"CANCEL {invite.uri} SIP/2.0", [*headers, ("CSeq", invite.get("CSeq").split()[0] + " CANCEL")])


def ack_of_failure(invite: Message, answer: Message) -> Message:
    """RFC 3261 17.1.1.3."""
    names = ("via", "max-forwards", "from", "call-id", "route")
    headers = [pair for pair in invite.headers if pair[0].lower() in names]
    sequence = invite.get("CSeq").split()[0] + " ACK"
    return Message(f"ACK {invite.uri} SIP/2.0", [*headers, ("To", answer.get("To")), ("CSeq", sequence)])


@dataclass
class Dialog:
    """One side of an established dialog, to make in-dialog requests with."""

    endpoint: Endpoint
    call_id: str
    local: str
    remote: str
    target: str
    routes: list[str]
    sequence: itertools.count[int]

    @classmethod
    def of_caller(cls, endpoint: Endpoint, invite: Message, answer: Message) -> Dialog:
        routes = _split(answer.all("Record-Route"))[::-1]
        call_id, local, remote = invite.get("Call-ID"), invite.get("From"), answer.get("To")
        return cls(endpoint, call_id, local, remote, _uri(answer.get("Contact")), routes, itertools.count(2))

    @classmethod
    def of_callee(cls, endpoint: Endpoint, invite: Message, answer: Message) -> Dialog:
        routes = _split(invite.all("Record-Route"))
        call_id, local, remote = invite.get("Call-ID"), answer.get("To"), invite.get("From")
        return cls(endpoint, call_id, local, remote, _uri(invite.get("Contact")), routes, itertools.count(900))

    def request(self, method: str, *, body: str = "", **headers: str) -> Message:
        number = 1 if method == "ACK" else next(self.sequence)
        basic = {"From": self.local, "To": self.remote, "Call-ID": self.call_id, "CSeq": f"{number} {method}"}
        message = self.endpoint.request(method, self.target, body=body, **{**basic, **headers})
        message.headers[1:1] = [("Route", route) for route in self.routes]
        return message


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",")]


def _uri(contact: str) -> str:
    return contact.partition("<")[2].partition(">")[0]


@dataclass
class RunningKamailio:
    """A Kamailio that answers, its log so far and its run directory."""

    process: Process
    log: list[str]
    run_dir: Path

    async def rpc(self, *command: str) -> str:
        """What kamcmd prints."""
        kamcmd = (locate("kamcmd"), "-s", f"unix:{self.run_dir}/ctl", *command)
        child = await asyncio.create_subprocess_exec(*kamcmd, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENT_S):
            out, _ = await child.communicate()
        return out.decode()

    async def logged(self, *words: str) -> str:
        """The first line of its log with all these words, once it is there: `Process` hands lines on after a moment."""
        async with asyncio.timeout(PATIENT_S):
            while True:
                for line in self.log:
                    if all(word in line for word in words):
                        return line
                await asyncio.sleep(0.05)

    async def until_flagged(self, flags: str, *addresses: tuple[str, int]) -> None:
        """Wait until the dispatcher has these flags (``AP`` alive, ``IP`` not) for all the addresses."""
        wanted = [re.compile(rf"URI: sip:(?:[^@\s]*@)?{host}:{port}\s+FLAGS: {flags}\b") for host, port in addresses]
        await self.until(
            "dispatcher.list", shows=lambda out: all(pattern.search(out) for pattern in wanted), timeout_s=2 * PATIENT_S
        )

    async def until(self, *command: str, shows: Callable[[str], bool], timeout_s: float = PATIENT_S) -> str:
        """Ask until the answer is as wanted."""
        async with asyncio.timeout(timeout_s):
            while not shows(out := await self.rpc(*command)):
                await asyncio.sleep(0.05)
        return out


@asynccontextmanager
async def running_kamailio(
    folder: Path,
    site: str = SITE,
    ivr: str = IVR,
    *,
    wrap: Callable[[ProcessSpec, Path], ProcessSpec] = lambda spec, _folder: spec,
    edge: str = "",
    **environment: str,
) -> AsyncIterator[RunningKamailio]:
    """Start Kamailio as `callinteractive run` does, wait until it answers, stop it.

    `wrap` may change how it is started; it gets a folder for what it needs. `edge` is its name, if there are several.
    """
    site_path, ivr_path = folder / "site.yaml", folder / "ivr.yaml"
    site_path.write_text(site)
    ivr_path.write_text(ivr)
    read = load_site(site, str(site_path))
    own = next((one for one in read.edges if one.name == edge), read.edges[0])
    two = replace(read, kamailio=replace(read.kamailio, workers=read.kamailio.workers or TESTED_WORKERS))
    spec = kamailio_spec(two, site_path, ivr_path, folder, edge=own)
    spec.env.update(environment)  # type: ignore[attr-defined]
    spec = wrap(spec, folder)
    log: list[str] = []
    process = await Process.start(spec, lambda _name, *lines: log.extend(lines))
    try:
        await process.wait_ready(30)
        yield RunningKamailio(process, log, folder)
    finally:
        await process.stop(5)
        print(*log, sep="\n")  # shown by pytest where the test failed


@asynccontextmanager
async def sidecars_with_one_inbox(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    """The first sidecar, which gets the second one's messages too: for tests that don't care which is chosen."""
    async with Endpoint.at(*SIDECARS[0]) as first, Endpoint.at(*SIDECARS[1]) as second:
        second.inbox, second.reports = first.inbox, first.reports
        await kamailio.until_flagged("AP", *SIDECARS)
        yield first
