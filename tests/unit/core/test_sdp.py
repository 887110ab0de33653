"""Connection lines of session descriptions: IP addresses, and nothing else (RFC 8866 5.7)."""

from __future__ import annotations

import pytest

from callinteractive.sdp import connection_address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("IN IP4 192.0.2.1", "192.0.2.1"),
        ("IN IP4 0.0.0.0", "0.0.0.0"),
        ("IN IP4  192.0.2.1 ", "192.0.2.1"),
        ("IN IP6 2001:DB8:0::1", "2001:db8::1"),
        ("IN IP6 ::", "::"),
    ],
)
def test_an_address_is_read(value, address):
    assert connection_address(value) == address


@pytest.mark.parametrize(
    "value",
    [
        "IN IP4 phone.example.com",
        "IN IP4 192.0.2.1.example",
        "IN IP4 192.0.2.999",
        "IN IP4 127.1",
        "IN IP4 0x7f000001",
        "IN IP4 2001:db8::1",
        "IN IP6 192.0.2.1",
        "IN IP6 fe80::1%1",
        "IN IP4 224.0.0.1",
        "IN IP4 224.2.36.42/127",
        "IN IP6 ff02::1",
        "IN IP4 192.0.2.1 more",
        "IN IP4 192.0.2.1\x0b",
        "IN IP4",
        "ATM NSAP 47.0091",
        "",
    ],
)
def test_anything_else_is_none(value):
    assert connection_address(value) is None
