"""Requests and the responses made from them (RFC 3261 8.2.6, 18.2, RFC 3581)."""

import pytest

from callinteractive.model import Address
from sidecar.sip.message.message import Request, Response
from sidecar.sip.message.parser import parse
from tests.unit.sip.test_torture import INVITE, lines
from tests.unit.sip.world import SDP

SOURCE = Address("127.10.0.2", 5060)
SOUND = lines(INVITE, "Subject: a, b", "Supported: timer", "k: 100rel", body=SDP)


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def response(data: bytes) -> Response:
    message = parse(data)
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("via", "stamped", "reply_to"),
    [
        ("127.10.0.2:5060;branch=z", "127.10.0.2:5060;branch=z", ("127.10.0.2", 5060)),
        ("127.10.0.2;branch=z", "127.10.0.2;branch=z", ("127.10.0.2", 5060)),
        ("127.10.0.2:99;branch=z", "127.10.0.2:99;branch=z", ("127.10.0.2", 99)),
        ("proxy.example.com:77;branch=z", "proxy.example.com:77;branch=z;received=127.10.0.2", ("127.10.0.2", 77)),
        ("10.9.9.9:77;rport;branch=z", "10.9.9.9:77;rport=5060;branch=z;received=127.10.0.2", ("127.10.0.2", 5060)),
        ("10.9.9.9:77;branch=z; RPORT", "10.9.9.9:77;branch=z;rport=5060;received=127.10.0.2", ("127.10.0.2", 5060)),
    ],
)
def test_rfc_3261_18_2_and_rfc_3581_4_replies_go_where_the_request_came_from(
    via: str, stamped: str, reply_to: tuple[str, int]
) -> None:
    below = "SIP/2.0/UDP far.example.com;branch=z9hG4bKfar;rport"
    message = request(lines(INVITE, Via=f"Via: SIP/2.0/UDP {via}, {below}"))
    message.received_from(SOURCE)
    assert message.reply_to == reply_to
    assert response(message.reply(200)).header("via") == f"SIP/2.0/UDP {stamped}, {below}"


def test_rfc_3261_8_2_6_2_a_reply_copies_what_it_must() -> None:
    message = request(SOUND)
    reply = response(message.reply(486, None, "t1", [("X-Y", "z")]))
    assert (reply.status, reply.reason) == (486, "Busy Here")
    assert reply.headers("via") == message.headers("via")
    assert reply.header("to") == "<sip:b@example.com>;tag=t1"
    assert [reply.header(name) for name in ("from", "call-id", "cseq", "x-y")] == [
        message.header("from"),
        message.header("call-id"),
        message.header("cseq"),
        "z",
    ]


def test_a_reply_adds_a_to_tag_only_where_there_is_none() -> None:
    message = request(lines(INVITE, To="t: <sip:b@example.com>;tag=theirs"))
    assert response(message.reply(200, None, "ours")).header("to") == "<sip:b@example.com>;tag=theirs"


def test_a_request_of_our_own_has_the_same_accessors() -> None:
    message = Request("INVITE", "sip:a@b", [("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"), ("m", "<sip:c@d>")])
    assert (message.via.branch, message.header("Contact"), message.headers("contact")) == (
        "z9hG4bK1",
        "<sip:c@d>",
        ["<sip:c@d>"],
    )


def test_8_1_3_1_a_response_of_our_own_to_our_own_request() -> None:
    fields = [("Via", "v"), ("Max-Forwards", "70"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("CSeq", "1 BYE")]
    made = Request("BYE", "sip:a@b", fields, b"x").local_response(408)
    assert (made.status, made.reason, made.local, made.body) == (408, "Request Timeout", True, b"")
    assert made.fields == [field for field in fields if field[0] != "Max-Forwards"]
