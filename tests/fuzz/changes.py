"""Messages of calls that are changed in some place, and what may be put into them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.fuzz.test_fuzz import RICH_SDP, SDP_TOKENS, SIP_TOKENS
from tests.fuzz.test_kamailio import mutated
from tests.integration.kemi_support import Message

FLAT_SDP = "v=0\r\no=- 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
EVENTS = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
MEDIA = (
    *("m=audio 41000 RTP/AVP 0 101\r\n" + EVENTS, "m=audio 41000 RTP/AVP 8 101\r\n" + EVENTS) * 3,
    "m=audio 41000 RTP/AVP 0 101\r\n" + EVENTS + "a=sendonly\r\n",
    "m=audio 41000 RTP/AVP 0 101\r\n" + EVENTS + "a=inactive\r\n",
    "m=audio 41002 RTP/AVP 3 0\r\n",
    "m=audio 41000 RTP/SAVP 0 101\r\n" + EVENTS + KEY,
    "m=audio 41000 RTP/AVP 9 101\r\n" + EVENTS + "m=video 42000 RTP/AVP 31\r\n",
    "m=video 42000 RTP/AVP 31\r\nm=audio 41000 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\n",
    "m=audio 0 RTP/AVP 0\r\n",
    "m=audio 41000 RTP/AVP 0 101\r\na=rtcp-mux\r\n" + EVENTS,
)
REQUESTS = (
    *("INVITE",) * 6, *("UPDATE",) * 3, *("INFO",) * 3, "BYE", "ACK", "ACK", "PRACK", "REFER", "REFER", "NOTIFY",
    "NOTIFY", "CANCEL", "OPTIONS", "SUBSCRIBE", "MESSAGE", "PUBLISH", "REGISTER", "FOO",
)  # fmt: skip
STATUSES = (
    "100 Trying", "180 Ringing", "183 Session Progress", "199 Early Dialog Terminated", "200 OK", "200 OK",
    "202 Accepted", "302 Moved Temporarily", "305 Use Proxy", "380 Alternative Service", "401 Unauthorized",
    "403 Forbidden", "404 Not Found", "407 Proxy Authentication Required", "408 Request Timeout",
    "415 Unsupported Media Type", "420 Bad Extension", "422 Session Interval Too Small", "481 Call Does Not Exist",
    "486 Busy Here", "487 Request Terminated", "488 Not Acceptable", "491 Request Pending", "493 Undecipherable",
    "500 Server Internal Error", "503 Service Unavailable", "600 Busy", "603 Decline", "606 Not Acceptable", "699 x",
    "700 x", "099 x", "2000 x",
)  # fmt: skip
ODD_HEADERS = (
    ("Require", "100rel"), ("Require", "x"), ("Supported", "timer, 100rel, replaces"), ("Session-Expires", "90"),
    ("Session-Expires", "90;refresher=uas"), ("Session-Expires", "1"),
    ("Session-Expires", "4294967296;refresher=uac"), ("Session-Expires", "x;refresher="), ("Min-SE", "4294967295"),
    ("Min-SE", "-1"), ("RSeq", "1"), ("RSeq", "0"), ("RSeq", "99999999999"), ("RAck", "1 1 INVITE"), ("RAck", "x"),
    ("Refer-To", "<sip:000*307@x>"), ("Refer-To", "<sip:000*307@x?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>"),
    ("Refer-To", "tel:+1555"), ("Refer-To", "<"), ("Refer-To", "<sip:" + "9" * 3000 + "@x>"), ("Refer-Sub", "false"),
    ("Replaces", "a;to-tag=b;from-tag=c"), ("Event", "refer"), ("Event", "x;id=1"),
    ("Subscription-State", "terminated;reason=x"), ("Subscription-State", ""), ("Retry-After", "99999999999"),
    ("Retry-After", "0 (x);duration=y"), ("Reason", "SIP;cause=x;text=\"\\\""), ("Contact", "*"),
    ("Contact", "<sip:a@[::1]:1>"), ("Contact", "<sip:a@x.invalid>"), ("Contact", "<sip:a@127.0.0.1:1>"),
    ("Contact", "<tel:1>, <sip:b@c>"), ("Record-Route", "<sip:1.2.3.4;lr>"), ("Route", "<sip:1.2.3.4;lr>"),
    ("Content-Type", "x"), ("Content-Type", "multipart/mixed; boundary="),
    ("Content-Type", "multipart/mixed; boundary=b1"), ("Content-Type", ""), ("Content-Encoding", "gzip"),
    ("Content-Disposition", "render"), ("Content-Disposition", "x;handling=required"), ("Info-Package", "x"),
    ("Proxy-Authenticate", 'Digest realm="r", nonce="n"'), ("WWW-Authenticate", "Digest"), ("Unsupported", "x"),
    ("Allow", ""), ("Allow", "INVITE, ACK, BYE"), ("Allow", "INVITE, ACK, BYE, UPDATE"), ("Accept", "x"),
    ("Max-Forwards", "0"), ("Max-Forwards", "x"), ("Expires", "0"), ("Warning", "370 x"),
    ("Via", "SIP/2.0/UDP 1.2.3.4"), ("X-CI-Call", "x"), ("X-CI-State", "{}"), ("X-CI-Transfer", "numbers=1"),
    ("Privacy", "id"), ("To", "<sip:a@b>;tag=a;tag=b"), ("CSeq", "4294967296 INVITE"), ("CSeq", "2147483646 INVITE"),
    ("CSeq", "0 BYE"), ("CSeq", "x"), ("Call-ID", ""),
)  # fmt: skip
DIGIT_BODIES = (
    "Signal=5\r\nDuration=160\r\n",
    "Signal=1",
    "5",
    "Signal=\r\n",
    "Signal= # \r\nDuration=x",
    "\0",
    "Signal=" + "1" * 999,
)
FIXED = frozenset(("via", "route", "from", "to", "call-id", "cseq", "max-forwards", "content-length"))


def description(chance: random.Random, host: str) -> str:
    return FLAT_SDP.format(host=host, version=chance.randrange(9)) + chance.choice(MEDIA)


def changed_text(chance: random.Random, text: bytes, tokens: Sequence[bytes]) -> bytes:
    """Lines left out, doubled, exchanged or changed; octets changed."""
    for _ in range(chance.randint(1, 3)):
        lines = text.split(b"\r\n")
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        line, token = lines[at], chance.choice(tokens) * chance.choice((1, 1, 1, 2, 40, 700))
        place = chance.randint(0, len(line))
        match chance.randrange(7):
            case 0:
                del lines[at]
            case 1:
                lines[at:at] = [line] * chance.choice((1, 1, 30))
            case 2:
                lines[at], lines[other] = lines[other], line
            case 3:
                lines[at] = line[:place] + token + line[place + chance.randrange(3) :]
            case 4:
                lines[at] = line[:place]
            case 5 if line:
                lines[at] = flipped(chance, line)
            case _:
                lines[at] = line.replace(b"0", chance.choice((b"", b"9" * 12, b"-1", b"65536", b"%00", b"x")))
        text = b"\r\n".join(lines)
    return text[:40_000]


def flipped(chance: random.Random, data: bytes) -> bytes:
    octets = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return bytes(octets)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def changed(chance: random.Random, message: Message, others: Sequence[Message]) -> bytes:
    """One of the changes; its lengths are right where only its body or a header's value is another one."""
    message = Message(message.start, list(message.headers), message.body)
    match chance.choice(
        ("lines", "body", "body", "body", "values", "values", "odd", "odd", "odd", "foreign", "bits", "sound")
    ):
        case "lines":
            return mutated(chance, message)
        case "body" if message.body:
            body = message.body.encode("utf-8", "surrogateescape")
            message.body = text_of(changed_text(chance, chance.choice((body, body, *RICH_SDP)), SDP_TOKENS))
        case "values":
            places = [at for at, (name, _) in enumerate(message.headers) if name.lower() not in FIXED]
            if places:
                at = chance.choice(places)
                name, value = message.headers[at]
                value = text_of(changed_text(chance, value.encode("utf-8", "surrogateescape"), SIP_TOKENS))
                message.headers[at] = name, value
        case "foreign" if others:
            name = chance.choice(("Call-ID", "From", "To", "Route", "Contact", "CSeq", "Via"))
            for value in chance.choice(others).all(name)[:1]:
                message.set(name, value)
        case "bits":
            return flipped(chance, bytes(message))
        case _:
            for name, value in chance.choices(ODD_HEADERS, k=chance.choice((1, 1, 2, 5))):
                if chance.random() < 0.5:
                    message.set(name, value)
                else:
                    message.headers.append((name, value))
    return bytes(message)
