"""Fuzzers of everything that takes apart what strangers write: `make fuzz`.

`FUZZ_S` is the time for each target in seconds. An input must be taken or refused as its reader promises, soon.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from callinteractive import charset, multipart, response
from callinteractive.config import load_ivr_file, load_site
from callinteractive.errors import ConfigError, HeaderError, ResponseError, ScriptStateError
from callinteractive.facts import CallFacts
from callinteractive.headers import (
    AnchorHeader,
    AnsweredHeader,
    CallerHeader,
    CallHeader,
    EntryHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from callinteractive.model import RtpEngine
from callinteractive.script import CallScript
from callinteractive.signature import SIGNED, SignatureHeader
from cli import partline
from kemi import contacts, facts
from kemi import sdp as kemi_sdp
from kemi.refusal import Refused
from sidecar.media import sdp
from sidecar.media.dtmf import Digits, digit_of
from sidecar.media.engines import Engine
from sidecar.media.errors import MediaError
from sidecar.media.event_reader import EventReader, NotAnEventError
from sidecar.media.ng_failures import NgFailure
from sidecar.rtpengine_metrics import RtpengineMetrics
from tests.fuzz.mutate import fuzz
from tests.unit.media.test_dtmf import SEEN, event
from tests.unit.sip.test_torture import ACCEPTED, ANSWERED, DROPPED, INVITE, OPTIONS, lines
from tests.unit.sip.world import LOCAL, OUR_SDP, SDP, Callee, Caller, World, respond

ROOT = Path(__file__).parents[2]

BRACKETS = tuple(char.encode() for char in "[]{}()<>\"'\\,;:=&?%#@/*$!|.-+ \t\r\n\0")
PIECES = (b"\r\n", b"\r\n ", b"%00", b"%0d%0a", b"\xff\xfe", b"\xed\xa0\x80", b"9" * 20, b"-1", b"0", b"1e999")
NESTED = (b"[" * 3000, b'{"a":' * 2000, b"(" * 3000, b"<a>" * 3000, b"l" * 3000)
TOKENS = BRACKETS + PIECES + NESTED
SIP_TOKENS = (
    *TOKENS, b";tag=", b";lr", b"sip:", b"sips:", b"tel:+1", b"Via: ", b"Contact: ", b"Content-Length: 5\r\n",
    b"SIP/2.0", b"Record-Route: ", b"Require: x\r\n", b"Session-Expires: 0", b"z9hG4bK", b"<sip:a@b>", b"t:",
    b"application/sdp",
)  # fmt: skip
SDP_TOKENS = (
    *TOKENS, b"m=audio ", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:", b"a=rtpmap:", b"a=fmtp:", b"c=IN IP4 ",
    b"a=sendonly\r\n", b"RTP/AVP", b"IP6", b"|2^31|1:4", b"a=rtcp-mux\r\n", b"v=0\r\n",
)  # fmt: skip
RICH_SDP = (
    SDP,
    b"v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\na=sendonly\r\nm=video 9 RTP/AVP 31\r\n"
    b"m=audio 41000/2 RTP/SAVP 0 8 96 101\r\nc=IN IP4 127.0.0.2/127\r\na=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4\r\n"
    b"a=rtcp:41001 IN IP4 127.0.0.2\r\na=ptime:20\r\n",
)


def text_of(data: bytes) -> str:
    """As the sidecars and Kamailio's Python get the text of a message."""
    return data.decode("utf-8", "surrogateescape")


# SIP


class Failures(logging.Handler):
    """The user agent answers what it fails on, and logs it: here it counts as a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise AssertionError(record.getMessage()) from (record.exc_info[1] if record.exc_info else None)


@contextmanager
def no_failure() -> Iterator[None]:
    handler, logger = Failures(), logging.getLogger("sidecar.sip")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def sip_corpus() -> list[bytes]:
    world = World()
    caller = Caller(world, ["<sip:127.10.0.2;lr;ftag=1>"])
    methods = [caller.request("INVITE", sdp=SDP), caller.request("BYE"), caller.request("OPTIONS")]
    methods.append(caller.request("INFO", headers=[("Content-Type", "application/dtmf-relay")], body=b"Signal=5\r\n"))
    return [
        *methods,
        lines(INVITE, "Subject: a, b", "Supported: timer", "k: 100rel", "Session-Expires: 90;refresher=uac", body=SDP),
        lines(OPTIONS, "Accept: */*"),
        *ACCEPTED.values(),
        *DROPPED.values(),
        *[data for data, _ in ANSWERED.values()],
    ]


def new_messages(data: bytes) -> None:
    """Whatever comes, it is answered or dropped, and in the end nothing is left of it."""
    world = World()
    world.plan = lambda leg, _invite: leg.answer(OUR_SDP)
    with no_failure():
        world.receive(data)
        world.receive(data)
        end(world)


def end(world: World) -> None:
    for leg, _ in world.calls:
        leg.bye()
    world.advance(1)
    for leg in world.agent._core.legs.copy():
        leg.bye()  # type: ignore[attr-defined]
    world.assert_nothing_left()


class Dialogs:
    """A call in and a call out; then messages in them, changed."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        for method in ("BYE", "UPDATE", "INFO", "INVITE", "OPTIONS", "PRACK"):
            _, caller, _ = self._called()
            self.requests.append(self._fixed(caller.request(method, sdp=SDP if method == "INVITE" else b""), caller))
        _, callee = self._calling()
        assert callee.invite is not None
        contact = [("Contact", "<sip:a@127.10.0.9:5090>")]
        self.responses = [
            respond(callee.invite, status, "tag", contact, SDP if status in (183, 200) else b"")
            for status in (100, 180, 183, 200, 302, 404, 422, 486, 503, 600)
        ]
        self.branch = callee.invite.get("Via").encode()

    @staticmethod
    def _called() -> tuple[World, Caller, Any]:
        world = World()
        caller = Caller(world)
        caller.invite()
        leg = world.calls[0][0]
        leg.answer(OUR_SDP)
        caller.to_tag = world.sent[-1].to_tag
        caller.ack()
        return world, caller, leg

    @staticmethod
    def _calling() -> tuple[World, Callee]:
        world = World()
        callee = Callee(world)
        callee.call()
        return world, callee

    @staticmethod
    def _fixed(request: bytes, caller: Caller) -> bytes:
        names = ((caller.call_id, "CALLID"), (caller.tag, "FROMTAG"), (caller.to_tag, "TOTAG"))
        for name, fixed in names:
            request = request.replace(name.encode(), fixed.encode())
        return request

    def request(self, data: bytes) -> None:
        world, caller, _ = self._called()
        world.plan = lambda leg, _invite: leg.answer(OUR_SDP)  # without its To tag an INVITE is a new call
        names = ((b"CALLID", caller.call_id), (b"FROMTAG", caller.tag), (b"TOTAG", caller.to_tag))
        for fixed, name in names:
            data = data.replace(fixed, name.encode())
        with no_failure():
            world.receive(data)
            world.advance(5)
            world.receive(data)
            end(world)

    def response(self, data: bytes) -> None:
        world, callee = self._calling()
        assert callee.invite is not None
        data = data.replace(self.branch, callee.invite.get("Via").encode())
        with no_failure():
            world.receive(data)
            world.advance(5)
            world.receive(data)
            end(world)


def kemi_facts(data: bytes) -> None:
    text = text_of(data)
    for read in (facts.parse_dialled, facts.uri_parameters, facts.parse_address, facts.decode_user):
        with suppress(Refused):
            read(text)
    for uri in contacts.split_contacts([text]):
        contacts.address_of(contacts.host_of(uri))
        contacts.parameters_of(uri)


ADDRESSES = (
    b'"Ann \\"B\\" C" <sip:+15550100@example.org;user=phone>;tag=1',
    b"WIRELESS CALLER (US) <sip:+15550100@h>;tag=1",
    b"sip:a%20b;phone-context=+1555@[::1]:5060;transport=tcp?x=y",
    b"<tel:+1-555-0199;phone-context=example.org>, <sip:b@c>",
    b"Jos\xe9 <sip:1@h>",
)


# Sound


def descriptions(data: bytes) -> None:
    text = text_of(data)
    with suppress(MediaError):
        audio = sdp.find_audio(sdp.parse(text))
        assert sdp.read_audio(text) == audio == sdp.read_audio(text)
        described = sdp.describe_party(audio, "127.0.0.1", 4000)
        assert "\n" not in described.replace("\r\n", ""), "what RTPengine gets has lines as RFC 8866 wants them"
        again = sdp.find_audio(sdp.parse(described))
        assert again.codec.encoding == audio.codec.encoding
    kemi_sdp.screen(text)


MULTIPART = tuple(
    b"multipart/mixed; boundary=b1\n--b1\r\nContent-Type: application/sdp\r\n\r\n" + body + b"\r\n--b1\r\n"
    b"Content-Type: application/isup\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x02\r\n--b1--\r\n"
    for body in RICH_SDP
)


def bodies(data: bytes) -> None:
    content_type, _, body = data.partition(b"\n")
    multipart.session_description(text_of(content_type), body)
    multipart.unsupported_part(text_of(content_type), body)


def digits(data: bytes) -> None:
    whole, pieces = [], []
    for found, cuts in ((whole, (0,)), (pieces, (0, len(data) // 3, len(data) // 2))):
        reader = EventReader()
        with suppress(NotAnEventError):
            for start, end_ in zip(cuts, (*cuts[1:], len(data)), strict=True):
                for each in reader.feed(data[start:end_]):
                    found.append(digit_of(each))
    assert whole == pieces, "however the stream is cut"


DEEP = b'{"result": ' + b"[" * 3000 + b"]" * 3000 + b"}"
NG_REPLIES = tuple(
    json.dumps(reply).encode()
    for reply in (
        {"result": "ok", "sdp": SDP.decode()},
        {"result": "pong"},
        {"result": "error", "error-reason": "Unknown call-id"},
        {"result": "load limit", "message": "Parallel session limit reached"},
        {"result": "ok", "calls": ["a", "b"], "duration": 3000},
        {
            "result": "ok",
            "statistics": {
                "currentstatistics": {"sessionsown": 3},
                "totalstatistics": {"uptime": "12"},
                "interfaces": [{"name": "d", "address": "::1", "ports": {"used": 1}}],
            },
        },
    )
)


class Wire:
    """Where the client's command goes: nowhere. Its cookie is remembered."""

    cookie = b""

    def sendto(self, datagram: bytes) -> None:
        self.cookie = datagram.partition(b" ")[0]

    async def sent(self) -> bytes:
        """Wait for the next command; returns its cookie."""
        while not self.cookie:
            await asyncio.sleep(0)
        cookie, self.cookie = self.cookie, b""
        return cookie

    def close(self) -> None: ...


def ng_replies(data: bytes) -> None:
    async def exchange() -> None:
        engine = Engine(RtpEngine(), Digits())
        engine.is_alive, client = True, engine.ng
        client._loop = asyncio.get_running_loop()
        wire = Wire()
        client._transport = wire  # type: ignore[assignment]
        metrics = RtpengineMetrics([engine])
        asking = asyncio.create_task(metrics.refresh())
        cookie = await wire.sent()
        client.on_datagram(data)
        client.on_datagram(cookie + b" " + data)
        await asking
        registry = CollectorRegistry()
        registry.register(metrics)
        assert b"rtpengine_up" in generate_latest(registry)
        with suppress(NgFailure):
            pending = asyncio.create_task(client.command("offer", "c", {"sdp": ""}))
            client.on_datagram(await wire.sent() + b" " + data)
            await pending
        client.close()

    asyncio.run(exchange())


# The core


IVR = """
ivrs: [{number: "000*332", id: 145, dids: ["+15550199"], entry_context: 1}]
contexts:
  1:
    timeout: 3000
    options:
      start: [{play_sound: {file: a.wav}}, {simple_transfer: {to: ["000*306"], final: no}}]
      "1": [{set_var: {name: a, value: b}}, {call_interactive: {url: "http://h/?a=$a", method: POST}}, hangup]
      timeout: [{jump: {context: "1"}}]
"""
SITE = (
    b'node: 1\nsip: {listen: ["udp:127.0.0.1:5060", "tcp:[::1]:5060"]}\n'
    b'trunks: [{name: c, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080", identity: [from, pai]}]\n'
    b'extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]\n'
    b'rtpengine: {ng: "127.0.0.1:22222", ports: [30000, 34999]}\nsidecars: {count: 2, pools: {vip: [1]}}\n'
)
FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)
HEADERS = (
    CallHeader,
    EntryHeader,
    StateHeader,
    ResultHeader,
    TransferHeader,
    CallerHeader,
    AnchorHeader,
    AnsweredHeader,
    SignatureHeader,
)
IVR_FILE = load_ivr_file(IVR, "ivr.yaml")


def header_corpus() -> list[bytes]:
    script = CallScript(IVR_FILE, IVR_FILE.ivrs[0], FACTS, context="1", option="start")
    script.start(0)
    signature = SignatureHeader.sign(bytes(32), 1, "a", dict.fromkeys(SIGNED, ""))
    state = script.to_json()
    written = [str(CallHeader(FACTS)), str(EntryHeader("000*332", "1", "start")), str(StateHeader(state)), state]
    deep = '{"ivr": ' + "[" * 3000 + "]" * 3000 + "}"
    return [text.encode() for text in (*written, deep, str(signature), "code=486&number=306", "a=1&b=%D0%98&a=2")]


def private_headers(data: bytes) -> None:
    text = text_of(data)
    for header in HEADERS:
        with suppress(HeaderError):
            read = header.parse(text)
            assert not text.isascii() or header.parse(str(read)) == read, "what is written is read again"
            if isinstance(read, StateHeader):
                state(read.script)
    state(text)


def state(text: str) -> None:
    with suppress(ScriptStateError):
        CallScript.from_json(text, IVR_FILE).to_json()


XML = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<Response><PlaySound where="background">a.wav</PlaySound>'
    b'<Pause length="2"/><SimpleTransfer timeout="5"><Number>306</Number></SimpleTransfer><Hangup/></Response>',
    "<?xml version='1.0' encoding='utf-16'?><Response/>".encode("utf-16"),
    b"<Response><SetVar name='a'>b</SetVar><RecordDigits max='3' variable='x'/><!-- c --><![CDATA[x]]></Response>",
    b"<Response>" + b"<a>" * 3000 + b"</a>" * 3000 + b"</Response>",
    b"<!DOCTYPE r [<!ENTITY a 'b'>]><Response>&a;</Response>",
)
XML_TOKENS = (
    *TOKENS, b"<Response>", b"</Response>", b"<Hangup/>", b"&amp;", b"&#0;", b"&#x110000;", b"<!ENTITY x SYSTEM 'file:///'>",
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?xml ", b" encoding='utf-32'", b"<a>", b"xmlns:x='y'",
)  # fmt: skip


def responses(data: bytes) -> None:
    charset.is_markup(data)
    for content_type in (None, "text/xml; charset=latin-1", text_of(data[:40])):
        with suppress(ResponseError):
            response.parse(data, content_type)


YAML_TOKENS = (
    *TOKENS, b"&a ", b"*a", b"<<: ", b"!!python/object:os.system ", b"!!binary ", b"? ", b"- ", b"|\n", b"~", b"0x1",
    b"1_0", b"2001-01-01", b".inf", b"yes", b"node: ", b"options: ", b"\n    ", b"{a: b}", b"[[", b"'",
)  # fmt: skip


def configurations(data: bytes) -> None:
    # PyYAML takes 0.25 s for the deepest brackets. The file is the operator's own.
    text = data[: 4 * 1024].decode("utf-8", "replace")
    for load in (load_site, load_ivr_file):
        with suppress(ConfigError):
            load(text, "file.yaml")


PART_LINES = (
    b'{"event": "call", "level": "info", "timestamp": "2026-01-01T00:00:00Z"}',
    b'{ "idx": 1, "pid": 7, "level": "ERROR", "module": "core", "file": "core/x.c", "line": 12, '
    b'"function": "receive_msg", "logprefix": "{127.0.0.5 1 a@b} ", '
    b'"message": "core parsing of SIP message failed (127.0.0.5:5060/1)\\n" }',
    b"[1795652388.001604] ERR: [c10]: [core] Failed to get 2 consecutive ports",
    b"Traceback (most recent call last):",
    b'{"event": ' + b"[" * 3000 + b"]" * 3000 + b"}",
)


def log_lines(data: bytes) -> None:
    line = text_of(data)
    for part in ("kamailio", "rtpengine", "sidecar-0"):
        read = partline.read(part, line)
        entry = json.loads(read.as_json(part, "now"))
        assert entry["part"] == part, "a line can't say that it is another part's"
        assert "\n" not in read.as_json(part, "now")
        assert all(shown.isprintable() for shown in read.as_text())


DIALOGS = Dialogs()
TARGETS = {
    "SIP: new messages": (new_messages, sip_corpus(), SIP_TOKENS),
    "SIP: requests in a dialog": (DIALOGS.request, DIALOGS.requests, SIP_TOKENS),
    "SIP: responses": (DIALOGS.response, DIALOGS.responses, SIP_TOKENS),
    "SIP: callers and numbers": (kemi_facts, ADDRESSES, SIP_TOKENS),
    "SDP": (descriptions, RICH_SDP, SDP_TOKENS),
    "bodies of several parts": (bodies, MULTIPART, (*TOKENS, b"--b1", b"--b1--", b"Content-Type: ", b"boundary=")),
    "digit events": (digits, (SEEN, event(), event() + SEEN), (*TOKENS, b"d", b"l", b"e", b"i5e", b"3:abc", b"99:")),
    "RTPengine's replies": (ng_replies, (*NG_REPLIES, DEEP), (*TOKENS, b"null", b"true", b"1e400", b'"\\ud800"')),
    "private headers": (private_headers, header_corpus(), (*TOKENS, b"null", b"true", b"%ff", b"%u0000", b'{"')),
    "XML": (responses, XML, XML_TOKENS),
    "YAML": (configurations, (SITE, IVR.encode(), b"node: " + b"[" * 3000, b"{a: " * 3000), YAML_TOKENS),
    "log lines": (log_lines, PART_LINES, (*TOKENS, b'"part": "x", ', b'"message": "', b'" }', b"\\u0000", b"\x1b[2J")),
}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_harm(name: str) -> None:
    target, corpus, tokens = TARGETS[name]
    assert fuzz(target, corpus, tokens, *([3.0] if name == "YAML" else [])) > 20


def test_the_user_agent_that_is_tried_is_ours() -> None:
    """Else everything is dropped unread."""
    caller = Caller(World())
    assert str(LOCAL) in caller.request("INVITE").decode()
