"""Facts of a call from what a SIP request says (R2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.identity import Identity
from kemi.facts import UnreadableError, decode_user, find_identity, parse_address


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("332", "332"),
        ("000%2A332", "000*332"),
        ("+7812;phone-context=example.org", "+7812"),
        ("alice:secret", "alice"),
        ("%D0%98%3B", "И;"),
        ("", ""),
    ],
)
def test_user_part(text: str, user: str) -> None:
    assert decode_user(text) == user


def test_user_part_that_is_not_utf8() -> None:
    with pytest.raises(UnreadableError):
        decode_user("%FF")


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("<sip:7@h>", "", "7"),
        ("  <sip:7@h>", "", "7"),
        ("sip:7@h;tag=1", "", "7"),
        ("Bob <sip:7@h>;tag=1", "Bob", "7"),
        ("Bob J. Smith<sip:7@h>", "Bob J. Smith", "7"),
        ('"Bob, \\"J\\" <x>" <SIP:7@h>', 'Bob, "J" <x>', "7"),
        ('"" <sips:7@h:5061;user=phone>', "", "7"),
        ("<tel:+7-812;phone-context=x>", "", "+7-812"),
        ("tel:+7812", "", "+7812"),
        ("<sip:gateway.example>", "", ""),
        ('"A\r\n B" <sip:7@h>', "A B", "7"),
        ('"A" <sip:1@h>, "B" <sip:2@h>', "A", "1"),
    ],
)
def test_address(text: str, name: str, number: str) -> None:
    assert parse_address(text) == Identity(name, number)


@pytest.mark.parametrize("text", ["", "7", "<mailto:x@y>", '"unclosed <sip:7@h>', "<http://x>"])
def test_unreadable_address(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_unreadable(text: str) -> None:
    try:
        caller = parse_address(text)
    except UnreadableError:
        return
    assert not set(caller.name + caller.number) & set("\r\n\0")


def test_asserted_identity_only_where_from_is_anonymous() -> None:
    asserted = '"Petr" <sip:2@h>'
    assert find_identity("<sip:1@h>", asserted) == Identity("", "1")
    assert find_identity("<sip:anonymous@anonymous.invalid>", asserted) == Identity("Petr", "2")
    assert find_identity('"Anonymous" <sip:anonymous@h>', "") == Identity("Anonymous", "anonymous")
