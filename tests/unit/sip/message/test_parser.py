"""The parser's properties and the details of RFC 3261 7."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.check import answerable, find_fault
from sidecar.sip.message.message import Request, Response
from sidecar.sip.message.parser import parse
from tests.unit.sip.test_torture import ACCEPTED, ANSWERED, DROPPED, INVITE, OPTIONS, lines
from tests.unit.sip.world import SDP

SOUND = lines(INVITE, "Subject: a, b", "Supported: timer", "k: 100rel", body=SDP)
EVERYTHING = [SOUND, *ACCEPTED.values(), *DROPPED.values(), *[data for data, _ in ANSWERED.values()]]

SHORT_S = 0.02
"""CPU time; what takes less is not measured well."""

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
def test_what_is_serialised_parses_to_the_same(method: str, fields: list[tuple[str, str]], body: bytes) -> None:
    fields = [(name, value.strip(" \t")) for name, value in fields]
    parsed = request(Request(method, "sip:a@b", fields, body).serialise())
    assert parsed.fault is None
    assert (parsed.method, parsed.uri, parsed.body) == (method, "sip:a@b", body)
    again = Request("", "", [*fields, ("Content-Length", str(len(body)))])
    assert parsed.index == again.index
    assert all(parsed.headers(name) == again.headers(name) for name in parsed.index)


@given(st.integers(100, 699), text_without_line_ends)
def test_a_status_line_keeps_its_reason(status: int, reason: str) -> None:
    parsed = parse(request(lines(OPTIONS)).reply(status, reason))
    assert isinstance(parsed, Response)
    assert (parsed.status, parsed.reason) == (status, reason)


def test_bytes_that_are_not_utf8_survive() -> None:
    message = request(lines(OPTIONS, From="From: \udcff <sip:a@b>;tag=1"))
    assert b"\r\nFrom: \xff <sip:a@b>;tag=1\r\n" in message.reply(200)


def test_rfc_3261_7_3_3_compact_and_long_names_are_one_header() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nk: a, b\r\nSUPPORTED: c\r\nx: 90\r\n\r\n")
    assert message.headers("supported") == ["a, b", "c"]
    assert message.values("Supported") == ["a", "b", "c"]
    assert message.tokens("supported") == {"a", "b", "c"}
    assert message.header("Session-Expires") == "90"
    assert message.header("subject") is None


def test_rfc_3261_7_3_1_all_lines_of_a_name_are_kept_in_order() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nRoute: a\r\nTo: x\r\nROUTE: b\r\nRoute:c\r\n\r\n")
    assert (message.header("route"), message.headers("Route")) == ("a", ["a", "b", "c"])
    assert message.headers("to") == ["x"]
    assert message.headers("from") == []


def test_rfc_3261_7_3_1_folded_lines_are_one() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nSubject: a\r\n  b\r\n\tc\r\nTo: x\r\n\r\n")
    assert message.header("subject") == "a b c"
    assert message.header("to") == "x"


def test_rfc_3261_7_5_empty_lines_before_the_start_line_are_skipped() -> None:
    assert request(b"\r\n\r\n" + SOUND).method == "INVITE"


def test_content_type_parameters_and_case_do_not_matter() -> None:
    data = lines(INVITE, body=SDP, Content_Type="c: Application/SDP;charset=utf-8")
    assert parse(data).sdp == SDP


@pytest.mark.parametrize(
    "line",
    [
        "no colon",
        "Na me: x",
        ": x",
        "Subject: a\nb",
        "Subject: a\rb",
        "Naïve: x",
        "(: x",
    ],
)
def test_a_line_that_is_no_header_is_a_fault_and_hides_none_after_it(line: str) -> None:
    message = request(lines(OPTIONS, line, "X-After: y"))
    assert message.fault is not None
    assert message.fault.status == 400
    assert message.header("x-after") == "y"


def test_a_line_that_continues_the_request_line_is_a_fault() -> None:
    assert request(lines(OPTIONS).replace(b"SIP/2.0\r\n", b"SIP/2.0\r\n x\r\n", 1)).fault is not None


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nX-A:\t x y \t\r\nX-B :z\r\nX-C:  \t\r\nTo: t \r\n\r\n")
    assert message.index == {"x-a": "x y", "x-b": "z", "x-c": "", "to": "t"}


@pytest.mark.parametrize(
    "filler",
    [
        " ",
        "\t",
        ":",
        "a",
        "\r",
        "\n",
        "\n ",
        "\nA:",
        "\r\n ",
        "\r\nA:",
        '"',
        "<",
        ">",
        ";",
        ",",
        "=",
        "\\",
        '\\"',
        '"\\',
        "<,",
        '",',
        ";a",
        ";a=",
        "<sip:",
        "%",
        "9",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "Subject",
        "Via",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Record-Route",
        "Max-Forwards",
        "Session-Expires",
        "Require",
        "Supported",
        "Content-Type",
        "Content-Length",
        "Allow",
    ],
)
def test_time_is_linear_in_the_size_of_a_hostile_header(name: str, filler: str) -> None:
    """Four times the size takes about four times as long; quadratic time would be sixteen times."""
    if seconds(name, filler, 60_000, times=1) < 9 * SHORT_S:
        return  # nearly always
    assert seconds(name, filler, 60_000) < 9 * max(seconds(name, filler, 15_000), SHORT_S)


def seconds(name: str, filler: str, size: int, times: int = 3) -> float:
    """CPU time of all that is done to a request before it is refused; the best of several times."""
    value = "a," + filler * (size // len(filler)) + "x"
    data = lines(INVITE, **{name.replace("-", "_"): f"{name}: {value}"})
    spent = []
    for _ in range(times):
        before = time.process_time()
        with suppress(MalformedError):
            message = request(data)
            find_fault(message)
            for header in ("contact", "record-route", "require", "supported", "allow", "via"):
                message.tokens(header)
            message.received_from(Address("127.10.0.2", 5060))
            if answerable(message):
                message.reply(400, None, "tag")
        spent.append(time.process_time() - before)
    return min(spent)
