"""Everything that reads what others wrote takes linear time: twice the input, less than three times the CPU (S2).

Each parser gets long runs of what makes patterns try again: blanks, quotes, brackets, separators, half-read escapes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest

import tests.unit.kemi.conftest  # noqa: F401  # KSR exists inside Kamailio only
from callinteractive import charset, dialled, multipart, request, response, sdes, sdp
from callinteractive.config import load_ivr_file, load_site
from callinteractive.headers import CallHeader, StateHeader, TransferHeader
from callinteractive.identity import Identity
from callinteractive.signature import SignatureHeader
from kemi import checks, contacts, facts, places
from kemi import sdp as kemi_sdp
from kemi.record_route import _WRITTEN as RECORD_ROUTE
from sidecar.media import bencode
from sidecar.media import sdp as sidecar_sdp
from sidecar.media.event_reader import EventReader
from sidecar.sip.dialog.info import parse_digit
from sidecar.sip.message import headers, parser, uri

N = 20_000
RUNS = 3
TRIES = 4
"""Somebody else may have the processor's caches meanwhile; what is not linear fails each time."""
SHORT_S = 0.002
"""What takes no longer tells nothing about growth."""
MOST_S = 2.0

UNITS = (" ", '"', "\\", "<", "[", "(", ",", ";", "%", "%4", "=", "a=", ";a", ":", "@", "1", "-", "\t", "\r\n", "\n ",
         ".", "a ", ", <", '"a" <', "\\\"", "&a=", "+", "~", "é", "{", "- ", "l", "d", "i1e", "1:")  # fmt: skip

Parser = Callable[[str], Any]


def octets(parse: Callable[[bytes], Any]) -> Parser:
    return lambda text: parse(text.encode())


def around(before: str, after: str, parse: Parser) -> Parser:
    return lambda text: parse(f"{before}{text}{after}")


def a_part(parse: Parser) -> Parser:
    """The operator's own files: read once, by a slow library.

    It looks 1,024 characters ahead for what nested brackets are, in quadratic time (0.2 s); so the texts are longer.
    """
    return lambda text: parse(text[: len(text) // 10])


SIP = "INVITE sip:332@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"
SDP = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
PARSERS: dict[str, Parser] = {
    # --- kemi
    "From": facts.parse_address,
    "From, name before": around("", "b <sip:7@h>", facts.parse_address),
    "From, quoted": around('"', '" <sip:7@h>', facts.parse_address),
    "From, unclosed": around('"', "<sip:7@h>", facts.parse_address),
    "From, user": around("<sip:", "@h>", facts.parse_address),
    "P-Asserted-Identity": lambda text: facts.find_identity("<sip:anonymous@h>", lambda: f"a{text}b"),
    "Request-URI": around("sip:", "@h", facts.parse_dialled),
    "Request-URI, tel": around("tel:", "", facts.parse_dialled),
    "URI parameters": around("sip:1;", "@h", facts.uri_parameters),
    "user part": facts.decode_user,
    "next hop": around("sip:", "@h", places.host_of),
    "next hop, host": around("sip:a@", "", places.host_of),
    "Route": around("<sip:h;ci=", ">", RECORD_ROUTE.findall),
    "option tag": checks._is_token,
    "Contacts": lambda text: contacts.split_contacts([text]),
    "a Contact's name": around('"', "", lambda text: contacts.split_contacts([text])),
    "Contact, host": around("sip:", "", contacts.host_of),
    "Contact, parameters": around("sip:h;", "", contacts.parameters_of),
    "SDP, kemi": around(SDP, "", kemi_sdp.screen),
    # --- core
    "name": lambda text: Identity.of(text, text),
    "X-CI-Call": CallHeader.parse,
    "X-CI-Transfer": around("to=", "&early_media=0", TransferHeader.parse),
    "X-CI-State": around("zlib=", "", StateHeader.parse),
    "X-CI-Signature": around("t=1;v1=", "", SignatureHeader.parse),
    "form": request.decode_form,
    "number": dialled.is_dialled_number,
    "SDP lines": around(SDP, "", sdp.read_lines),
    "SDP address": around("IN IP4 ", "", sdp.connection_address),
    "SDES": around("1 AES_CM_128_HMAC_SHA1_80 inline:", "", lambda text: sdes.read_keys([text])),
    "Content-Type": lambda text: multipart.session_description(f"multipart/mixed; boundary={text}", b"--a\r\n"),
    "multipart": lambda text: multipart.session_description("multipart/mixed; boundary=a", f"--a\r\n{text}".encode()),
    "charset": lambda text: charset.decode(b"a", f"text/xml; charset={text}"),
    "XML": around("<Response>", "</Response>", octets(response.parse)),
    "XML, declaration": around("<?xml", "?><Response/>", octets(response.parse)),
    "XML, attribute": around('<Response><Play file="', '"/></Response>', octets(response.parse)),
    "site.yaml": a_part(around("node: ", "", lambda text: load_site(text, "site.yaml"))),
    "site.yaml, URI": a_part(around('trunks: [{to: "sip:', '"}]', lambda text: load_site(text, "site.yaml"))),
    "ivr.yaml": a_part(around('ivrs: [{number: "', '"}]', lambda text: load_ivr_file(text, "ivr.yaml"))),
    # --- sidecar
    "SIP message": around(SIP, "\r\n\r\n", octets(parser.parse)),
    "SIP header": around(f"{SIP}From: ", "\r\n\r\n", octets(parser.parse)),
    "name-addr": headers.read_name_addr,
    "name-addr, before": around("", "<sip:a@h>;tag=1", headers.read_name_addr),
    "name-addr, parameters": around("<sip:a@h>;", "", headers.read_name_addr),
    "values": headers.split_values,
    "parameters": around(";", "", headers.parse_params),
    "Via": around("SIP/2.0/UDP h;", "", headers.parse_via),
    "CSeq": headers.parse_cseq,
    "Session-Expires": around("90;", "", headers.parse_session_expires),
    "URI": around("sip:", "@h", uri.parse_uri),
    "SDP, sidecar": around(SDP, "", sidecar_sdp.parse),
    "SDP, seen before": around(SDP, "", sidecar_sdp.read_audio),
    "SDP, origin": around("v=0\r\no=", SDP[5:], sidecar_sdp.read_audio),
    "SDP, formats": around(SDP + "a=rtpmap:0 ", "\r\n", sidecar_sdp.parse),
    "INFO digit": around("Signal=", "", octets(parse_digit)),
    "bencoded reply": octets(bencode.decode),
    "bencoded reply, inside": around("d1:a", "e", octets(bencode.decode)),
    "digit event": lambda text: list(EventReader().feed(text.encode())),
}  # fmt: skip


def cpu_s(parse: Parser, text: str) -> float:
    """The least of several runs."""
    spent = []
    for run in range(RUNS):
        text = f"{text[:-1]}{run}"  # a parser may remember its last texts
        began = time.process_time()
        with suppress(Exception):  # most of this is refused, each parser in its own way
            parse(text)
        spent.append(time.process_time() - began)
        if spent[-1] > MOST_S:
            break
    return min(spent)


def growth(parse: Parser, units: Iterable[str]) -> list[str]:
    """What grows too fast."""
    found = []
    for unit in units:
        for _ in range(TRIES):
            once, twice = (cpu_s(parse, unit * (size // len(unit))) for size in (N, 2 * N))
            if twice <= max(SHORT_S, 3 * once):
                break
        else:
            found.append(f"{unit!r}: {once * 1e3:.1f} ms, then {twice * 1e3:.1f} ms")
    return found


@pytest.mark.parametrize("name", PARSERS)
def test_twice_the_input_takes_less_than_three_times_the_time_s2(name: str) -> None:
    assert growth(PARSERS[name], UNITS) == []


def test_it_finds_what_is_not_linear() -> None:
    cubic = re.compile(r"\s*(?:a|[^<,]*?\s*)<")
    assert growth(lambda text: cubic.match(text[: len(text) // 100]), [" "])
