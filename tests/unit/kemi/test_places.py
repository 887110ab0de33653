"""Whom an address belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.model import Address
from kemi.places import host_of, is_address


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("sip:7@10.0.0.1", "10.0.0.1", 5060),
        ("sip:10.0.0.1:5070;lr", "10.0.0.1", 5070),
        ("sips:7;a=b@Host.Example?x=y", "host.example", 5060),
        ("sip:#31#306@127.0.0.3:5090", "127.0.0.3", 5090),
        ("sip:a@[2001:DB8:0::1]:5061;transport=tcp", "2001:db8::1", 5061),
        ("tel:+7812", "+7812", 5060),
        ("", "", 0),
        ("sip:", "", 0),
        ("sip:a@:5060", "", 0),
    ],
)
def test_host_of(uri: str, host: str, port: int) -> None:
    assert host_of(uri) == Address(host, port)


@given(st.text())
def test_any_uri(uri: str) -> None:
    host_of(f"sip:{uri}")


def test_is_address() -> None:
    assert [is_address(host) for host in ("10.0.0.1", "::1", "h", "", "10.0.0", "+7812")] == [True, True] + [False] * 4
