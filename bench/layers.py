"""`python -m bench.layers`: what each layer of a sidecar, and of `kemi/`, costs, in microseconds of CPU.

No other process takes part.

The call is that of the dip: an INVITE, its private headers, the answer, one request, the hang-up. A figure is the
lowest of many rounds: other work on the machine only adds to it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import structlog
import uvloop

from bench import routing
from callinteractive.config import load_ivr_file
from callinteractive.events import Fetched
from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader, EntryHeader
from callinteractive.model import Address, RtpEngine
from callinteractive.request import HttpRequest
from callinteractive.response import parse as parse_answer
from callinteractive.script import CallScript, Note
from callinteractive.signature import SignatureHeader
from cli.partlog import PartLog
from sidecar import log, sip
from sidecar.call.telling import Telling
from sidecar.media import bencode
from sidecar.media.call_media import CallMedia
from sidecar.media.engines import Engines
from sidecar.media.sdp import parse as parse_sdp
from sidecar.media.sdp import read_audio
from sidecar.outcomes import Outcomes
from sidecar.sip.message.check import find_fault
from sidecar.sip.message.message import Request
from sidecar.sip.message.parser import parse
from sidecar.sip.transaction.timers import Timers
from sidecar.story import Stories

ROUNDS, TIMES = 40, 200
PROXY, LOCAL = Address("127.15.0.1", 25060), Address("127.15.0.1", 25070)
CALL_ID = "5205dc5cc5a411e5ab9eb3691b90ea15"
FACTS = CallFacts(CALL_ID, f"1:{CALL_ID}", "+15550100", "", "000*900", "000*900", 900)
KEY = bytes(32)
XML = b"<Response><Hangup/></Response>"
URL = "http://127.15.0.9:25080/hangup"
SDP = (
    "v=0\r\no=user1 53655765 2353687637 IN IP4 127.15.0.2\r\ns=-\r\nc=IN IP4 127.15.0.2\r\nt=0 0\r\n"
    "m=audio 50000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
PRIVATE = {CallHeader.NAME: str(CallHeader(FACTS)), EntryHeader.NAME: str(EntryHeader("000*900", "dip", "start"))}
SIGNATURE = SignatureHeader.sign(KEY, 1_000_000_000, "1-1@127.15.0.2", PRIVATE)
NG_REPLY = bencode.encode({"sdp": SDP, "result": "ok"})


def request(method: str, number: int | str, to_tag: str = "") -> bytes:
    """What Kamailio sends on of the call's caller."""
    private = "".join(f"{name}: {value}\r\n" for name, value in PRIVATE.items())
    only_invite = f"{private}{SIGNATURE.NAME}: {SIGNATURE}\r\nContent-Type: application/sdp\r\n"
    body = SDP if method == "INVITE" else ""
    return (
        f"{method} sip:000*900@{LOCAL} SIP/2.0\r\nRecord-Route: <sip:{PROXY};lr;ftag=1>\r\n"
        f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bK{number}.{method}.0\r\n"
        f"Via: SIP/2.0/UDP 127.15.0.2:25100;branch=z9hG4bK-{number}\r\n"
        f"From: <sip:+15550100@127.15.0.2>;tag={number}\r\n"
        f"To: <sip:000*900@{PROXY}>{to_tag and ';tag=' + to_tag}\r\nCall-ID: {number}-1@127.15.0.2\r\n"
        f"CSeq: 1 {method}\r\nContact: <sip:+15550100@127.15.0.2:25100>\r\nMax-Forwards: 69\r\n"
        f"{only_invite if body else ''}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


INVITE, ACK, ANSWER = request("INVITE", "NUMBER"), request("ACK", "NUMBER", "TAG"), SDP.encode()


class Line:
    """A wire that keeps what was sent last. By its clock 1,000 calls come in a second, so that old transactions end."""

    def __init__(self) -> None:
        self.sent = b""
        self.time_s = 0.0

    def now(self) -> float:
        return self.time_s

    def send(self, data: bytes, _destination: Address) -> None:
        self.sent = data

    def wake_at(self, when: float) -> None:
        """`Dialogs` ticks by itself."""


def timers() -> Callable[[], object]:
    """One of 64*T1 that is stopped soon, as most are, beside those of 5,000 calls."""
    running = Timers(lambda: 0.0, lambda _when: None)
    for number in range(5_000):
        running.start(32 + number / 1000, print)
    return lambda: running.stop(running.start(37, print))


class Dialogs:
    """The user agent alone: each call is answered, acknowledged, ended by us, and that is confirmed."""

    def __init__(self) -> None:
        self._line = Line()
        self.agent = sip.UserAgent(LOCAL, self._on_invite, sip.UaConfig(trying_delay_s=0.03), self._line)
        self._number = 0

    def _on_invite(self, leg: sip.UasLeg, _invite: sip.IncomingInvite) -> None:
        self._leg = leg

    def run(self) -> None:
        self._number += 1
        number = b"%d" % self._number
        self._line.time_s += 0.001
        self.agent.tick()
        self.agent.receive(INVITE.replace(b"NUMBER", number), PROXY)
        self._leg.answer(ANSWER)
        sent = self._line.sent
        begin = sent.index(b";tag=", sent.index(b"\r\nTo: ")) + 5
        to_tag = sent[begin : sent.index(b"\r\n", begin)]
        self.agent.receive(ACK.replace(b"NUMBER", number).replace(b"TAG", to_tag), PROXY)
        self._leg.bye()
        self.agent.receive(b"SIP/2.0 200 OK\r\n" + self._line.sent.partition(b"\r\n")[2], PROXY)


def answers() -> Callable[[], bytes]:
    """The XML of an answer that nobody has given before."""
    number = count()
    return lambda: b"<Response><!-- %d --><Hangup/></Response>" % next(number)


def script(answer: Callable[[], bytes]) -> Callable[[], object]:
    """A script from its start to its end, with the answer's XML."""
    ivr_file = load_ivr_file(Path(__file__).with_name("ivr.yaml").read_text("utf-8"), "ivr.yaml")
    ivr = next(ivr for ivr in ivr_file.ivrs if ivr.number == "000*900")

    def run() -> None:
        one = CallScript(ivr_file, ivr, FACTS)
        one.start(0.0)
        one.handle(Fetched(200, answer(), "application/xml"), 1.0)

    return run


def supervisor() -> Callable[[], object]:
    """The part of `callinteractive run` in the lines of a call: they are read, counted, and written with their part."""
    line = {"call_id": CALL_ID, "call_api_id": FACTS.call_api_id, "action": "CallInteractive", "url": URL}
    line |= {"event": "action", "level": "info", "timestamp": "2026-11-26T08:50:01.234567Z"}
    lines = [json.dumps(line, separators=(",", ":"))] * 7
    log_of_parts = PartLog(io.StringIO(), "json", clock=count().__next__)
    return lambda: log_of_parts("sidecar-0", *lines)


def records() -> Callable[[], object]:
    """What a call tells of itself, as the sidecar's metrics hear it; nobody reads the records."""
    stories, outcomes, number = Stories(), Outcomes(), count()
    stories.watch(outcomes.EVENTS, outcomes.take)
    request = HttpRequest("GET", "http://127.15.0.9:25080/hangup?CallID=1", id=f"{CALL_ID}-1")
    notes = (
        Note("info", "option", {"context": "dip", "option": "start"}),
        Note("info", "action", {"action": "CallInteractive", "url": "http://127.15.0.9:25080/hangup", "method": "GET"}),
        Note("info", "webhook", {"outcome": "ok", "actions": 1, "application": "127.15.0.9:25080", "took_ms": 1}),
        Note("info", "action", {"action": "Hangup"}),
        Note("info", "hangup", {"cause": "Hangup"}),
    )

    def run() -> None:
        facts = replace(FACTS, call_id=f"{next(number):032x}")
        telling = Telling(stories.begin(facts))
        telling.story.tell("call.started", ivr=facts.called_extension, **facts.shown())
        telling.story.tell("call.answered")
        for note in notes[:2]:
            telling.note(note)
        telling.fetched(request, 1_000_000_000.0, Fetched(200, XML, "application/xml"))
        for note in notes[2:]:
            telling.note(note)
        telling.end("script", 200)

    return run


def ng_report() -> bytes:
    """What RTPengine 10.5 tells as it deletes the call."""
    at: dict[str, Any] = {"family": "IPv4", "address": "127.15.0.2", "port": 50000}
    stats = {"packets": 50, "bytes": 8600, "errors": 0}
    stream: dict[str, Any] = {"local port": 40000, "local address": "127.15.0.3", "family": "IPv4", "endpoint": at}
    stream |= {"advertised endpoint": at, "last packet": 1_700_000_000, "flags": ("RTP", "filled", "strict source")}
    media = {"index": 1, "type": "audio", "protocol": "RTP/AVP", "streams": [stream | {"stats": stats}] * 2}
    media["flags"] = ("initialized", "send", "recv")
    talk = [{"tag": "caller", "type": "offer/answer"}]
    party = {"tag": "caller", "via-branch": "ivr", "created": 1_700_000_000, "subscriptions": talk, "subscribers": talk}
    tags = {tag: party | {"medias": [media]} for tag in ("caller", "ivr")}
    totals = {"RTP": stats, "RTCP": stats}
    times = {"created": 1_700_000_000, "created_us": 1, "last signal": 1_700_000_000}
    return bencode.encode({**times, "SSRC": {}, "tags": tags, "totals": totals, "result": "ok"})


class Media:
    """A call's sound at an RTPengine that answers at once: offer, answer, delete. The event loop does not run."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._engines = Engines([RtpEngine()])
        (engine,) = self._engines
        engine.is_alive = engine.is_clean = True
        engine.tells_at_delete = False
        self._ng = engine.ng
        self._ng._loop = self._loop
        self._ng._transport = cast("asyncio.DatagramTransport", self)
        self._ng._quiet = cast("socket.socket", self)
        self._sent: list[bytes] = []
        self._report = ng_report()

    def sendto(self, datagram: bytes) -> None:
        self._sent.append(datagram)

    send = sendto

    def recv(self, _most: int) -> bytes:
        raise BlockingIOError

    def run(self) -> None:
        asyncio._set_running_loop(self._loop)
        call = self._call()
        with suppress(StopIteration):
            while True:
                call.send(None)
                sent, self._sent = self._sent, []
                for datagram in sent:
                    reply = self._report if b"7:command6:delete" in datagram else NG_REPLY
                    self._ng.on_datagram(b"%b %b" % (datagram.partition(b" ")[0], reply))
                self._ng._tell_company()
        asyncio._set_running_loop(None)

    async def _call(self) -> None:
        media = CallMedia(self._engines, f"0-{CALL_ID}", "127.15.0.2")
        await media.answer(SDP)
        await media.delete()
        assert media.totals()


def layers() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    logger = structlog.get_logger().bind(call_id=CALL_ID, call_api_id=FACTS.call_api_id)
    invite, new_answer = request("INVITE", 1), answers()
    read = parse(invite)
    assert isinstance(read, Request)
    command: dict[str, Any] = {"command": "offer", "sdp": SDP}
    report = ng_report()
    return {
        "read an INVITE": lambda: parse(invite),
        "read and check an INVITE": lambda: find_fault(parse(invite)),  # type: ignore[arg-type]
        "check its signature": lambda: SIGNATURE.is_valid(KEY, 1_000_000_000.0, "1-1@127.15.0.2", PRIVATE),
        "read its facts": lambda: CallHeader.parse(PRIVATE[CallHeader.NAME]),
        "read its session description": lambda: parse_sdp(SDP),
        "read one of a phone that was seen before": lambda: read_audio(SDP),
        "a dialog: transactions, answer, ACK, BYE": Dialogs().run,
        "start and stop a timer": timers(),
        "write a response": lambda: read.reply(200, to_tag="1", headers=[("Contact", "<sip:a@h>")], body=SDP.encode()),
        "an NG command and its reply": lambda: (bencode.encode(command), bencode.decode(NG_REPLY)),
        "the reply to the last one": lambda: bencode.decode(report),
        "a call's sound: offer, answer, delete": Media().run,
        "a script and its answer": script(lambda: XML),
        "a script and a new answer": script(answers()),
        "a call's records": records(),
        "the answer's XML": lambda: parse_answer(new_answer()),
        "a log line": lambda: logger.info("action", action="call_interactive", url=URL),
        "seven log lines in the supervisor": supervisor(),
    }


def lowest_us(act: Callable[[], object]) -> float:
    """What it costs, in microseconds of this thread's CPU time."""
    lowest = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(TIMES):
            act()
        lowest = min(lowest, time.thread_time() - began)
    return lowest / TIMES * 1e6


def main() -> None:
    out = sys.stdout
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # the log's, until the end
    log.set_up("json")
    from bench import dip  # it uses what is here  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        os.environ["CALLINTERACTIVE_RUN_DIR"] = folder
        for name, act in (dip.rows() | layers() | routing.rows()).items():
            out.write(f"{lowest_us(act):8.1f} us  {name}\n")
            out.flush()


if __name__ == "__main__":
    main()
