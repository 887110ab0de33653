"""Addresses and URIs (RFC 3261 19.1)."""

import pytest

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.uri import is_literal, parse_uri


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sip:127.0.0.1", ("127.0.0.1", 5060)),
        ("sips:a:b;c@127.0.0.1:70;lr?h=1", ("127.0.0.1", 70)),
        ("SIP:[::1]:5062;lr", ("::1", 5062)),
        ("sip:%41lice@host.example.com", ("host.example.com", 5060)),
    ],
)
def test_uri_address(text: str, address: tuple[str, int]) -> None:
    assert parse_uri(text).address == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b",
        "sip:",
        "sip:a@",
        "sip:a b@c",
        "sip:a@b:0",
        "sip:a@b:99999",
        "sip:a@b@c",
        "sip:%4@b",
    ],
)
def test_not_a_uri(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_uri(text)


def test_an_address_prints_ipv6_in_brackets() -> None:
    assert str(Address("::1", 5)) == "[::1]:5"
    assert str(Address("1.2.3.4", 5)) == "1.2.3.4:5"


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("proxy.example.com", False),
        ("localhost", False),
    ],
)
def test_an_ip_address_is_no_name(host: str, literal: bool) -> None:
    assert is_literal(host) == literal
