"""What travels in Record-Route for us alone."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.ksr import From
from kemi.seal import Seal, Views

SEAL = Seal(b"k" * 32)
LINE = st.text(st.characters(blacklist_characters="\n", blacklist_categories=("Cs",)), max_size=60)
FROMS = st.builds(From, LINE, LINE)
VIEWS = Views(From('"Own"', "sip:secret@own.host"), From('"Shown"', "sip:1@h"))


@given(FROMS, FROMS, st.text())
def test_what_was_closed_is_opened(own: From, shown: From, dialog: str) -> None:
    views = Views(own, shown)
    opened = SEAL.open(dialog, SEAL.close(dialog, views))
    assert opened in (views, Views(From("", own.uri), shown), Views(From("", ""), shown))
    assert opened == views or len(own.display_name + own.uri + shown.display_name + shown.uri) > 120


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (From("n" * 900, "sip:a@h"), From("", "sip:a@h")),
        (From("n", "sip:" + "a" * 900), From("", "")),
    ],
)
def test_what_is_too_long_is_left_out(own: From, kept: From) -> None:
    text = SEAL.close("d", Views(own, VIEWS.shown))
    assert len(text) < 750
    assert SEAL.open("d", text) == Views(kept, VIEWS.shown)


def test_a_display_name_that_is_folded_is_no_other_field() -> None:
    own = From('"a\r\n b\nsip:x@h\n"', "sip:own@h")
    assert SEAL.open("d", SEAL.close("d", Views(own, VIEWS.shown))) == Views(From('"a bsip:x@h"', own.uri), VIEWS.shown)


def test_it_fits_into_a_parameter_and_tells_nothing() -> None:
    text = SEAL.close("d", VIEWS)
    assert re.fullmatch(r"[0-9A-Za-z_-]+", text)
    assert b"secret" not in urlsafe_b64decode(text + "=" * (-len(text) % 4))
    longer = VIEWS._replace(own=From("", VIEWS.own.uri))
    assert len(SEAL.close("d", longer)) == len(text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_octet_of_it_can_be_changed(at: int, by: int) -> None:
    text = SEAL.close("d", VIEWS)
    octets = bytearray(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    octets[at % len(octets)] ^= by
    assert SEAL.open("d", urlsafe_b64encode(octets).decode().rstrip("=")) is None


@given(st.text("0123456789-_abcXYZ"))
def test_others_are_not_opened(text: str) -> None:
    assert SEAL.open("d", text) is None


def test_it_counts_in_its_own_dialog_and_with_its_own_key() -> None:
    text = SEAL.close("d", VIEWS)
    assert SEAL.open("e", text) is None
    assert Seal(b"l" * 32).open("d", text) is None
