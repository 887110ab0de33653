"""Which of the last SIP messages are of a call, and what nobody may read in them."""

from __future__ import annotations

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader
from callinteractive.model import Address
from sidecar.sip.transport import Sighting
from sidecar.sip_trace import HIDDEN, MOST_MESSAGES, MOST_TEXT, masked, messages_of

PEER = Address("127.0.0.1", 5060)
ID, OTHER = "a" * 32, "b" * 32


def invite(sip_call_id: str, call_id: str = ID, name: str = "Call-ID") -> bytes:
    facts = CallFacts(call_id, f"1:{call_id}", "306", "Ann", "332", "000*332", 145)
    head = f"INVITE sip:332@127.0.0.1 SIP/2.0\r\n{name}: {sip_call_id}\r\n{CallHeader.NAME}: {CallHeader(facts)}\r\n"
    return f"{head}CSeq: 1 INVITE\r\n\r\nv=0\r\n".encode()


def reply(status: str, sip_call_id: str) -> bytes:
    return f"SIP/2.0 {status}\r\ni:{sip_call_id}\r\nCSeq: 1 INVITE\r\n\r\n".encode()


def seen(*messages: tuple[bool, bytes]) -> list[Sighting]:
    return [(1000.0 + at, is_sent, data, PEER) for at, (is_sent, data) in enumerate(messages)]


def of(known: list[Sighting], call_id: str = ID, *, is_ours: bool = False, hides_digits: bool = False):
    return messages_of(known, call_id, is_ours=is_ours, hides_digits=hides_digits)


def test_the_messages_of_a_call_and_of_whom_it_calls():
    known = seen(
        (False, invite("one@x")), (True, reply("100 Trying", "one@x")), (False, invite("strange@x", OTHER)),
        (True, reply("100 Trying", "strange@x")), (True, invite("two@x")), (False, reply("180 Ringing", "two@x")),
        (True, invite("three@x", name="CALL-ID")), (False, reply("486 Busy Here", "three@x")),
        (True, reply("200 OK", "one@x")),
    )  # fmt: skip
    assert [(each["leg"], each["sent"], each["title"]) for each in of(known)] == [
        (0, False, "INVITE sip:332@127.0.0.1"), (0, True, "100 Trying"),
        (1, True, "INVITE sip:332@127.0.0.1"), (1, False, "180 Ringing"),
        (2, True, "INVITE sip:332@127.0.0.1"), (2, False, "486 Busy Here"), (0, True, "200 OK"),
    ]  # fmt: skip
    assert of(known)[0]["at"] == "1970-01-01T00:16:40.000Z"
    assert of(known)[0]["peer"] == "127.0.0.1:5060"
    assert of(known, "c" * 32) == []


def test_the_first_that_we_call_is_the_caller_of_a_call_that_we_make():
    known = seen((True, invite("one@x")), (True, invite("two@x")))
    assert [each["leg"] for each in of(known, is_ours=True)] == [0, 1]
    assert [each["leg"] for each in of(known)] == [1, 2], "the caller's INVITE is too old"


@pytest.mark.parametrize("where", ["body", "other header", "beginning"])
def test_a_call_id_elsewhere_makes_no_message_of_the_call(where: str):
    """A stranger may write what he likes into his own messages."""
    head = b"INVITE sip:x@y SIP/2.0\r\nCall-ID: strange@x\r\n"
    text = CallHeader.NAME.encode() + b": call_id=" + ID.encode()
    data = {
        "body": head + b"\r\n" + text, "other header": head + b"Subject: " + text, "beginning": head + b"X-" + text,
    }[where]  # fmt: skip
    assert of(seen((False, data))) == []


def test_a_call_id_that_is_part_of_another_one():
    known = seen((False, invite("one@x")), (False, reply("200 OK", "one@x1")), (False, reply("200 OK", "xone@x")))
    assert len(of(known)) == 1


def test_it_is_bounded():
    many = seen((False, invite("one@x")), *[(True, reply("180 Ringing", "one@x"))] * (2 * MOST_MESSAGES))
    assert len(of(many)) == MOST_MESSAGES
    [message] = of(seen((False, invite("one@x") + b"x" * 60_000)))
    assert len(message["text"]) < MOST_TEXT + 100
    assert "… and more" in message["text"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("X-CI-State: secret", f"X-CI-State: {HIDDEN}"),
        ("x-ci-call :secret", f"x-ci-call: {HIDDEN}"),
        ("X-CI-State: a\r\n secret\r\n\tsecret\r\nTo: b", f"X-CI-State: {HIDDEN}\nTo: b"),
        ("Proxy-Authorization: Digest secret", f"Proxy-Authorization: {HIDDEN}"),
        ("AUTHORIZATION:secret", f"AUTHORIZATION: {HIDDEN}"),
        ("X-CI-State: a\x0bsecret\x85secret\u2028secret", f"X-CI-State: {HIDDEN}"),
        ("To: a\r\n b", "To: a\n b"),
        ("To: a\r\n\r\na=crypto:1 AES inline:secret\r\na=x", f"To: a\n\na=crypto:{HIDDEN}\na=x"),
        ("To: a\r\n\r\na=ice-pwd:secret", f"To: a\n\na=ice-pwd:{HIDDEN}"),
        ("To: a\r\n\r\nk=clear:secret", f"To: a\n\nk={HIDDEN}"),
        ("CSeq: 2 INFO\r\n\r\nSignal=secret", f"CSeq: 2 INFO\n\n{HIDDEN}"),
        ("CSeq: 2 INFO\n\nsecret", f"CSeq: 2 INFO\n\n{HIDDEN}"),
    ],
)
def test_what_nobody_may_read(written: str, shown: str):
    assert masked(f"ACK sip:a SIP/2.0\r\n{written}".encode(), hides_digits=False) == f"ACK sip:a SIP/2.0\n{shown}"


def test_numbers_are_hidden_where_digits_are():
    text = "INVITE sip:1234;p=1@h SIP/2.0\r\nTo: <sips:1234@h>\r\nP: <tel:1234;x>\r\nVia: h"
    assert "1234" in masked(text.encode(), hides_digits=False)
    assert masked(text.encode(), hides_digits=True).count(HIDDEN) == 3
    assert "1234" not in masked(text.encode(), hides_digits=True)


def test_octets_that_are_no_text():
    assert masked(b"\xff\x00 \r\n\r\n\xfe", hides_digits=False)
    assert of(seen((False, b""), (False, b"\xff"), (False, invite("one@x") + b"\xff")))
