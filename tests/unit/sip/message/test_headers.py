"""Header values (RFC 3261 20, 25.1; RFC 4028)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.model import Address
from kemi.facts import UnreadableError, parse_address
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import (
    SessionExpires,
    is_token,
    own_via,
    parse_cseq,
    parse_min_se,
    parse_name_addr,
    parse_number,
    parse_params,
    parse_session_expires,
    parse_tokens,
    parse_via,
    route_address,
    split_values,
)
from sidecar.sip.message.headers import _parse_name_addr as parse_whole_name_addr

tokens = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ('"x, \\", y" <sip:a,b@c>;q=1 , <sip:d>', ['"x, \\", y" <sip:a,b@c>;q=1', "<sip:d>"]),
        ('"open, b', ['"open, b']),
        ('"open\\", b\\', ['"open\\", b\\']),
        ("a, <open, b", ["a", "<open, b"]),
        (",,", ["", "", ""]),
    ],
)
def test_commas_separate_outside_quotes_and_brackets(line: str, values: list[str]) -> None:
    assert split_values(line) == values


@pytest.mark.parametrize(
    ("value", "display", "uri", "params"),
    [
        ("sip:a@b", "", "sip:a@b", {}),
        ("sip:a@b;tag=x", "", "sip:a@b", {"tag": "x"}),
        ("<sip:a@b;p=1?h=v>;TAG=x ; Q", "", "sip:a@b;p=1?h=v", {"tag": "x", "q": None}),
        ('"a \\"<b>" <sip:c>;x="; tag=evil"', '"a \\"<b>"', "sip:c", {"x": '"; tag=evil"'}),
        ("A B <tel:+1>", "A B", "tel:+1", {}),
        ("WIRELESS CALLER (US) <sip:+1@b>;tag=1", "WIRELESS CALLER (US)", "sip:+1@b", {"tag": "1"}),
        ("Bell, A. & Co: @5/6 ;x=[]{}?'<sip:a@b>;tag=1", "Bell, A. & Co: @5/6 ;x=[]{}?'", "sip:a@b", {"tag": "1"}),
        ('19" Rack, O"Brien <sip:a@b>;tag=1', '19" Rack, O"Brien', "sip:a@b", {"tag": "1"}),
        ('"<A>" (home) <sip:a@b>;tag=1', '"<A>" (home)', "sip:a@b", {"tag": "1"}),
        ("Jos\udce9 <sip:a@b>;tag=1", "Jos\udce9", "sip:a@b", {"tag": "1"}),
        ("tel:+1-(555).0199;tag=1", "", "tel:+1-(555).0199", {"tag": "1"}),
        ("<tel:0199;phone-context=+1-555>;tag=1", "", "tel:0199;phone-context=+1-555", {"tag": "1"}),
    ],
)
def test_name_addr(value: str, display: str, uri: str, params: dict[str, str | None]) -> None:
    found = parse_name_addr(value)
    assert (found.display, found.uri, found.params) == (display, uri, params)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a@b",
        '"a <sip:b>',
        "< sip:b>",
        "<sip:b",
        "a, b <sip:c",
        "<sip:b>;;",
        "<sip:b>;=1",
        "<sip:b> x",
        "sip:a@b?x=1",
    ],
)
def test_not_a_name_addr(value: str) -> None:
    with pytest.raises(MalformedError):
        parse_name_addr(value)


@given(tokens, tokens)
def test_parameters_are_found_whatever_their_spacing(name: str, value: str) -> None:
    assert parse_params(f" ; {name} = {value};x") == {name.lower(): value, "x": None} | (
        {"x": value} if name.lower() == "x" else {}
    )


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "INVITE",
        "x INVITE",
        "4294967296 INVITE",
        "-1 INVITE",
        "1 IN VITE",
        "٣ INVITE",
    ],
)
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", SessionExpires(90, None)),
        ("600 ; Refresher = uas", SessionExpires(600, "uas")),
        ("600;refresher=nobody;x", SessionExpires(600, None)),
    ],
)
def test_session_expires(text: str, value: SessionExpires) -> None:
    assert parse_session_expires(text) == value
    assert parse_session_expires(str(value)) == value


def test_min_se_may_have_parameters() -> None:
    assert parse_min_se("90;x=y") == 90
    with pytest.raises(MalformedError):
        parse_min_se("soon")


@given(st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=40))
def test_a_caller_whom_kamailio_lets_in_is_not_refused_here(name: str) -> None:
    value = f"{name} <sip:+15550100@127.0.0.2>;tag=1".strip()
    try:
        parse_address(value)
    except UnreadableError:
        return
    assert parse_name_addr(value).tag == "1"


@pytest.mark.parametrize(
    "params",
    ["", ";branch=z9hG4bK1", ";rport;branch=z9hG4bK1;received=10.0.0.1", ";Branch=a;branch=b", ";rport=5;maddr=[::1]"],
)
def test_a_usual_via_reads_as_any_other(params: str) -> None:
    usual, other = parse_via(f"SIP/2.0/UDP 10.0.0.2:5061{params}"), parse_via(f"sip/2.0/udp  10.0.0.2:5061{params}")
    assert (usual.host, usual.port, usual.params, usual.branch) == (other.host, other.port, other.params, other.branch)


@pytest.mark.parametrize("value", ["<sip:7@h>", "<sip:7@h;lr>;tag=a-1", "<tel:7>;tag=x"])
def test_a_usual_address_reads_as_any_other(value: str) -> None:
    usual, other = parse_name_addr(value), parse_name_addr(f" {value}")
    assert (usual.display, usual.uri, usual.params) == (other.display, other.uri, other.params)
    assert usual.tag == (value.partition(";tag=")[2] or None)


@given(st.text('<>;="\\ :@sip,tag1', max_size=16).map(lambda text: f"<sip:7@h{text}>;tag=1{text[:3]}"))
def test_an_address_with_a_tag_is_read_in_two_parts_as_in_one(value: str) -> None:
    try:
        whole = parse_whole_name_addr(value)
    except MalformedError:
        with pytest.raises(MalformedError):
            parse_name_addr(value)
        return
    parts = parse_name_addr(value)
    assert (parts.display, parts.uri, parts.params, parts.tag) == (whole.display, whole.uri, whole.params, whole.tag)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ;branch=z9hG4bK1",
        "SIP/2.0/UDP h:65536;branch=z9hG4bK1",
        "SIP/2.0/UDP h:x;branch=z9hG4bK1",
        "SIP/2.0/UDP h x;branch=z9hG4bK1",
        "SIP/3.0/UDP h;branch=z9hG4bK1",
        'SIP/2.0/UDP h;branch=z9hG4bK1"',
        "SIP/2.0/UDP h;;branch=z9hG4bK1",
        "SIP/2.0/UDP h;branch=",
    ],
)
def test_not_a_via(value: str) -> None:
    with pytest.raises(MalformedError):
        parse_via(value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("<sip:10.0.0.1:5061;lr;mark=a1.b-2>", Address("10.0.0.1", 5061)),
        ("<sip:10.0.0.1;lr=on>", Address("10.0.0.1", 5060)),
        ("<sips:[::1]:5061;lr>", Address("::1", 5061)),
        ('"edge" <sip:u@edge.example;lr>;x=y', Address("edge.example", 5060)),
        ("<tel:7>", None),
    ],
)
def test_where_a_route_points(value: str, address: Address | None) -> None:
    assert route_address(value) == address


@pytest.mark.parametrize(
    "value", ["", "<sip:>", "<sip:h:0;lr>", "<sip:h:99999;lr>", "<sip:h;lr", "<sip:h;;lr>", "<h;lr>"]
)
def test_not_a_route(value: str) -> None:
    with pytest.raises(MalformedError):
        route_address(value)


def test_tokens_are_without_parameters_blanks_and_empty_values() -> None:
    assert parse_tokens("Timer , 100REL;x=y,,") == {"timer", "100rel"}


@pytest.mark.parametrize(
    "value",
    [
        "SIP/2.0/UDP 10.0.0.2:5061;rport;branch=z9hG4bK1",
        "SIP/2.0/UDP 10.0.0.2:5061;branch=z9hG4bK1;rport",
        "SIP/2.0/UDP 10.0.0.2:5061;rport;branch=z9hG4bK1;alias",
    ],
)
def test_our_own_via_also_as_another_release_writes_it(value: str) -> None:
    assert own_via(value) == (Address("10.0.0.2", 5061), "z9hG4bK1")


def test_our_own_via_with_an_ipv6_address() -> None:
    assert own_via("SIP/2.0/UDP [::1]:5061;rport;branch=z9hG4bK1") == (Address("::1", 5061), "z9hG4bK1")
