"""A caller's name and number as header values, safe whatever they hold (A5)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callinteractive.identity import MAX_NAME, MAX_NUMBER, Identity

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=300)
"""Lone surrogates included."""

# RFC 3261 25.1: user = 1*( unreserved / escaped / user-unreserved )
USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-F]{2})+")
# RFC 3261 25.1: quoted-string = DQUOTE *(qdtext / quoted-pair) DQUOTE, without line folding
QUOTED = re.compile(r'"(?:[ !\x23-\x5B\x5D-\x7E\u0080-\U0010FFFF]|\\[\x20-\x7E])*"')


@given(ANYTHING, ANYTHING)
@example('a"b\\', "1\r\nX: y")
@example("\\" * 300, '"')
@example("\ud800" * 3, "\udce9")
@example("\u2028\u0085\u200e", "\x00")
def test_A5_nothing_can_end_a_header_a_string_or_a_uri(name: str, number: str):
    identity = Identity.of(name, number)
    assert USER.fullmatch(identity.user)
    assert identity.display_name == "" or QUOTED.fullmatch(identity.display_name)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", identity.display_name)


@given(ANYTHING, ANYTHING)
def test_A5_nothing_is_over_long(name: str, number: str):
    identity = Identity.of(name * 3, number * 3)
    assert len(identity.name.encode()) <= MAX_NAME
    assert len(identity.display_name.encode()) <= 2 * MAX_NAME + 2
    assert len(identity.user) <= 3 * MAX_NUMBER


@given(ANYTHING, ANYTHING)
def test_cleaning_what_is_clean_changes_nothing(name: str, number: str):
    identity = Identity.of(name, number)
    assert Identity.of(identity.name, identity.number) == identity


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("callerName", '"callerName"'),
        ('Иван "X"', '"Иван \\"X\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("a\r\nTo: b", '"a To: b"'),
        ("  a \t b  ", '"a b"'),
        ("a\u202eb\x00", '"ab"'),
        ("", ""),
        ("\r\n", ""),
        ("Ж" * 500, '"' + "Ж" * 64 + '"'),
        ("x" + "Ж" * 500, '"x' + "Ж" * 63 + '"'),
    ],
)
def test_A5_the_name_is_a_quoted_string(name: str, shown: str):
    assert Identity.of(name, "1").display_name == shown


@pytest.mark.parametrize(
    ("number", "user"),
    [
        ("92992", "92992"),
        ("000*306", "000*306"),
        ("+78123210001", "+78123210001"),
        ("1#2", "1%232"),
        ("a@b;c?d/e:f", "a%40b%3Bc%3Fd%2Fe%3Af"),
        ("1\r\n2", "1%202"),
        ("Ж", "%D0%96"),
        ("9" * 100, "9" * 64),
        ("", "anonymous"),
    ],
)
def test_A5_the_number_is_the_user_of_a_uri(number: str, user: str):
    assert Identity.of("", number).user == user


@pytest.mark.parametrize("number", ["", " ", "anonymous", "Anonymous", "unavailable"])
def test_no_number_or_one_that_says_so_is_anonymous(number: str):
    assert Identity.of("Иван", number).is_anonymous
    assert not Identity.of("anonymous", "1").is_anonymous
