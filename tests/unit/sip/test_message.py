"""The parser's properties and the details of RFC 3261 7, 18.2 and RFC 3581."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.headers import (
    is_token,
    parse_cseq,
    parse_name_addr,
    parse_number,
    parse_params,
    parse_via,
    split_values,
)
from sidecar.sip.message import Request, Response, parse
from sidecar.sip.uri import parse_uri
from tests.unit.sip.test_torture import ACCEPTED, ANSWERED, DROPPED, INVITE, lines
from tests.unit.sip.world import SDP

SOURCE = Address("127.10.0.2", 5060)
SOUND = lines(INVITE, "Subject: a, b", "Supported: timer", "k: 100rel", body=SDP)
EVERYTHING = [SOUND, *ACCEPTED.values(), *DROPPED.values(), *[data for data, _ in ANSWERED.values()]]

text_without_line_ends = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))
tokens = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=12)


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


@given(st.binary(max_size=400))
def test_any_bytes_parse_or_raise_malformed_error(data: bytes) -> None:
    with suppress(MalformedError):
        parse(data)


@given(st.sampled_from(EVERYTHING), st.data())
def test_any_mutation_of_a_message_parses_or_raises_malformed_error(data: bytes, choose: st.DataObject) -> None:
    at = choose.draw(st.integers(0, len(data)))
    cut = choose.draw(st.integers(0, 8))
    mutated = data[:at] + choose.draw(st.binary(max_size=8)) + data[at + cut :]
    with suppress(MalformedError):
        message = parse(mutated)
        for read in ("via", "cseq", "from_", "to", "call_id"):
            getattr(message, read)


@given(
    tokens,
    st.lists(st.tuples(tokens.map(lambda name: f"X-{name}"), text_without_line_ends.map(str.strip)), max_size=6),
    st.binary(max_size=200),
)
def test_what_is_serialised_parses_to_the_same(
    method: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    fields = [(name, value.strip(" \t")) for name, value in fields]
    parsed = request(Request(method, "sip:a@b", fields, body).serialise())
    assert parsed.fault is None
    assert (parsed.method, parsed.uri, parsed.body) == (method, "sip:a@b", body)
    assert parsed.fields == fields
    assert parsed.header("content-length") == str(len(body))
    assert parse(parsed.serialise()).fields == parsed.fields


@given(st.integers(100, 699), text_without_line_ends)
def test_a_status_line_keeps_its_reason(status: int, reason: str) -> None:
    parsed = parse(Response(status, reason, []).serialise())
    assert isinstance(parsed, Response)
    assert (parsed.status, parsed.reason) == (status, reason)


def test_bytes_that_are_not_utf8_survive() -> None:
    data = lines(INVITE, "Subject: \udcff\udcfe")
    assert b"Subject: \xff\xfe\r\n" in parse(data).serialise()


def test_rfc_3261_7_3_3_compact_and_long_names_are_one_header() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nk: a, b\r\nSUPPORTED: c\r\nx: 90\r\n\r\n")
    assert message.headers("supported") == ["a, b", "c"]
    assert message.values("Supported") == ["a", "b", "c"]
    assert message.tokens("supported") == {"a", "b", "c"}
    assert message.header("Session-Expires") == "90"
    assert message.header("subject") is None


def test_rfc_3261_7_3_1_folded_lines_are_one() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nSubject: a\r\n  b\r\n\tc\r\nTo: x\r\n\r\n")
    assert message.header("subject") == "a b c"
    assert message.header("to") == "x"


def test_rfc_3261_7_5_empty_lines_before_the_start_line_are_skipped() -> None:
    assert request(b"\r\n\r\n" + SOUND).method == "INVITE"


def test_content_type_parameters_and_case_do_not_matter() -> None:
    data = lines(INVITE, body=SDP, Content_Type="c: Application/SDP;charset=utf-8")
    assert parse(data).sdp == SDP


@pytest.mark.parametrize(("line", "values"), [
    ("a", ["a"]),
    ("a, b", ["a", "b"]),
    ('"x, \\", y" <sip:a,b@c>;q=1 , <sip:d>', ['"x, \\", y" <sip:a,b@c>;q=1', "<sip:d>"]),
    ('"open, b', ['"open', "b"]),
    (",,", ["", "", ""]),
])
def test_commas_separate_outside_quotes_and_brackets(line: str, values: list[str]) -> None:
    assert split_values(line) == values


@pytest.mark.parametrize(("value", "display", "uri", "params"), [
    ("sip:a@b", "", "sip:a@b", {}),
    ("sip:a@b;tag=x", "", "sip:a@b", {"tag": "x"}),
    ("<sip:a@b;p=1?h=v>;TAG=x ; Q", "", "sip:a@b;p=1?h=v", {"tag": "x", "q": None}),
    ('"a \\"<b>" <sip:c>;x="; tag=evil"', '"a \\"<b>"', "sip:c", {"x": '"; tag=evil"'}),
    ("A B <tel:+1>", "A B", "tel:+1", {}),
])
def test_name_addr(value: str, display: str, uri: str, params: dict[str, str | None]) -> None:
    found = parse_name_addr(value)
    assert (found.display, found.uri, found.params) == (display, uri, params)


@pytest.mark.parametrize("value", [
    "", "a@b", '"a <sip:b>', "< sip:b>", "<sip:b", "a, b <sip:c>", "<sip:b>;;", "<sip:b>;=1", "<sip:b> x",
    "sip:a@b?x=1",
])
def test_not_a_name_addr(value: str) -> None:
    with pytest.raises(MalformedError):
        parse_name_addr(value)


@given(tokens, tokens)
def test_parameters_are_found_whatever_their_spacing(name: str, value: str) -> None:
    assert parse_params(f" ; {name} = {value};x") == {name.lower(): value, "x": None} | (
        {"x": value} if name.lower() == "x" else {}
    )


@pytest.mark.parametrize(("text", "address"), [
    ("sip:127.0.0.1", ("127.0.0.1", 5060)), ("sips:a:b;c@127.0.0.1:70;lr?h=1", ("127.0.0.1", 70)),
    ("SIP:[::1]:5062;lr", ("::1", 5062)), ("sip:%41lice@host.example.com", ("host.example.com", 5060)),
])
def test_uri_address(text: str, address: tuple[str, int]) -> None:
    assert parse_uri(text).address == address


@pytest.mark.parametrize("text", [
    "", "a@b", "sip:", "sip:a@", "sip:a b@c", "sip:a@b:0", "sip:a@b:99999", "sip:a@b@c", "sip:%4@b",
])
def test_not_a_uri(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_uri(text)


def test_an_address_prints_ipv6_in_brackets() -> None:
    assert str(Address("::1", 5)) == "[::1]:5"
    assert str(Address("1.2.3.4", 5)) == "1.2.3.4:5"


@pytest.mark.parametrize("value", [
    "1", "INVITE", "x INVITE", "4294967296 INVITE", "-1 INVITE", "1 IN VITE", "٣ INVITE",
])
def test_not_a_cseq(value: str) -> None:
    with pytest.raises(MalformedError):
        parse_cseq(value)


def test_numbers_are_ascii_digits_within_their_limit() -> None:
    assert parse_number("0068", "x", 255) == 68
    for text in ("", " 1", "1 ", "+1", "²", "256", "9" * 30):
        with pytest.raises(MalformedError):
            parse_number(text, "x", 255)


def test_a_token_has_no_separators() -> None:
    assert is_token("!interesting-Method0123456789_*+`.%indeed'~")
    assert not any(is_token(text) for text in ("", "a b", "a:b", 'a"', "é"))


def test_via_parts() -> None:
    via = parse_via("SIP / 2.0 / UDP [::1] : 5061 ; branch = z9hG4bKx;rport")
    assert (via.sent_by, via.branch, "rport" in via.params) == (Address("::1", 5061), "z9hG4bKx", True)


@pytest.mark.parametrize(("via", "stamped", "reply_to"), [
    ("127.10.0.2:5060;branch=z", "127.10.0.2:5060;branch=z", ("127.10.0.2", 5060)),
    ("127.10.0.2;branch=z", "127.10.0.2;branch=z", ("127.10.0.2", 5060)),
    ("127.10.0.2:99;branch=z", "127.10.0.2:99;branch=z", ("127.10.0.2", 99)),
    ("proxy.example.com:77;branch=z", "proxy.example.com:77;branch=z;received=127.10.0.2", ("127.10.0.2", 77)),
    ("10.9.9.9:77;rport;branch=z", "10.9.9.9:77;rport=5060;branch=z;received=127.10.0.2", ("127.10.0.2", 5060)),
    ("10.9.9.9:77;branch=z; RPORT", "10.9.9.9:77;branch=z;rport=5060;received=127.10.0.2", ("127.10.0.2", 5060)),
])
def test_rfc_3261_18_2_and_rfc_3581_4_replies_go_where_the_request_came_from(
    via: str, stamped: str, reply_to: tuple[str, int]
) -> None:
    below = "SIP/2.0/UDP far.example.com;branch=z9hG4bKfar;rport"
    message = request(lines(INVITE, Via=f"Via: SIP/2.0/UDP {via}, {below}"))
    message.received_from(SOURCE)
    assert message.reply_to == reply_to
    assert message.reply(200).fields[0] == ("Via", f"SIP/2.0/UDP {stamped}, {below}")


def test_rfc_3261_8_2_6_2_a_reply_copies_what_it_must() -> None:
    message = request(SOUND)
    reply = parse(message.reply(486, None, "t1", [("X-Y", "z")]).serialise())
    assert isinstance(reply, Response)
    assert (reply.status, reply.reason) == (486, "Busy Here")
    assert reply.headers("via") == message.headers("via")
    assert reply.header("to") == "<sip:b@example.com>;tag=t1"
    assert [reply.header(name) for name in ("from", "call-id", "cseq", "x-y")] == [
        message.header("from"), message.header("call-id"), message.header("cseq"), "z",
    ]
