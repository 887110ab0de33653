"""The private X-CI-* headers: parse(str(x)) == x, printable ASCII whatever they hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callinteractive.errors import HeaderError
from callinteractive.headers import (
    MAX_LENGTH,
    MAX_STATE,
    PREFIX,
    AnchorHeader,
    AnsweredHeader,
    AttemptHeader,
    BreadthHeader,
    BusyHeader,
    CallerHeader,
    CallHeader,
    EntryHeader,
    GenerationHeader,
    ReportedHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from callinteractive.signature import SignatureHeader
from tests.unit.core.call import FACTS
from tests.unit.core.test_facts import ANY_FACTS

TEXT = st.text(max_size=100)
NUMBERS = st.lists(st.from_regex(r"\A\+?[0-9A-Za-z*#._-]{1,64}\Z"), min_size=1, max_size=5).map(tuple)
HEADERS: st.SearchStrategy[Any] = st.one_of(
    st.builds(CallHeader, ANY_FACTS),
    st.builds(EntryHeader, TEXT, TEXT, TEXT),
    st.builds(GenerationHeader, TEXT),
    st.builds(TransferHeader, NUMBERS, st.none() | st.integers(1, 3600), st.booleans()),
    st.builds(CallerHeader, TEXT, TEXT),
    st.builds(AnchorHeader, st.booleans()),
    st.builds(AnsweredHeader, TEXT, st.booleans(), TEXT, TEXT),
    st.builds(StateHeader, *[st.text(st.characters(exclude_categories=()), max_size=500)] * 2),
    st.builds(ResultHeader, st.integers(300, 699), TEXT),
    st.builds(AttemptHeader, st.integers(0, 1000)),
    st.builds(BusyHeader, st.integers(0, 10_000)),
    st.builds(BreadthHeader, st.integers(1, 60)),
    st.builds(ReportedHeader, st.from_regex(r"\A[0-9a-zA-Z]{1,144}\Z")),
)
KINDS = [
    *(CallHeader, EntryHeader, GenerationHeader, TransferHeader),
    *(CallerHeader, AnchorHeader, StateHeader, ResultHeader, AttemptHeader, ReportedHeader),
    BreadthHeader,
]


@given(HEADERS)
@settings(max_examples=100)
def test_what_is_written_is_read_back(header: Any):
    text = str(header)
    assert re.fullmatch(r"[\x21-\x7e]+", text)
    assert type(header).parse(text) == header


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_whatever_a_header_holds_it_is_printable_ascii(text: str):
    """Lone surrogates included: undecodable octets of a From header become those."""
    assert re.fullmatch(r"[\x21-\x7e]+", str(CallerHeader(text, text)))


@given(st.sampled_from(KINDS), st.text(max_size=100) | st.text("=&%+,to019", max_size=30))
def test_what_is_no_header_is_refused_by_its_name(kind: Any, text: str):
    try:
        parsed = kind.parse(text)
    except HeaderError as error:
        assert str(error).startswith(kind.NAME + ": ")  # noqa: PT017  # it may as well be a header
    else:
        assert kind.parse(str(parsed)) == parsed


@pytest.mark.parametrize("kind", KINDS)
def test_every_header_has_the_prefix_that_kamailio_strips(kind: Any):
    assert kind.NAME.startswith(PREFIX)


def test_the_names_on_the_wire_are_those_of_the_release_before():
    """They come from the classes' names, which nobody may change without a thought for other hosts."""
    names = "Call Entry Generation Transfer Caller Anchor State Result Attempt Reported Breadth Answered Signature"
    kinds = (*KINDS, AnsweredHeader, SignatureHeader)
    assert [kind.NAME for kind in kinds] == [f"X-CI-{name}" for name in names.split()]


@given(HEADERS)
def test_what_a_newer_release_adds_is_left_out(header: Any):
    """While a fleet is upgraded: else its calls would be refused."""
    assert type(header).parse(f"{header}&of_a_newer_release=1") == header


def test_the_headers_as_they_are_on_the_wire():
    assert str(EntryHeader("000*332", "1", "start")) == "ivr=000%2A332&context=1&option=start"
    assert str(TransferHeader(("000*306", "1"), 20, True)) == "to=000%2A306%2C1&early_media=1&timeout=20"
    assert str(TransferHeader(("1",))) == "to=1&early_media=0"
    assert str(CallerHeader("Иван", "")) == "name=%D0%98%D0%B2%D0%B0%D0%BD&number="
    assert "call_id=5205dc5cc5a411e5ab9eb3691b90ea15&" in str(CallHeader(FACTS))


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (EntryHeader, "", "X-CI-Entry: "),
        (EntryHeader, "ivr=1&context=2", "missing"),
        (EntryHeader, "ivr=1&ivr=1&context=2&option=3", "given twice"),
        (EntryHeader, "ivr", "is no field"),
        (EntryHeader, "ivr=%FF&context=2&option=3", "can't decode"),
        (TransferHeader, "early_media=1", "X-CI-Transfer: 'to' is missing"),
        (TransferHeader, "to=&early_media=1", "to holds what is no number"),
        (TransferHeader, "to=1%0D%0A&early_media=1", "to holds what is no number"),
        (TransferHeader, "to=1,,2&early_media=1", "to holds what is no number"),
        (TransferHeader, "to=1&early_media=1&timeout=x", "invalid literal"),
        (TransferHeader, "to=1&early_media=1&timeout=0", "timeout"),
        (TransferHeader, "to=1&early_media=1&timeout=-5", "timeout"),
        (CallHeader, "call_id=1", "missing"),
        (CallerHeader, "name=" + "a" * MAX_LENGTH, "longer than 16384 octets"),
        (StateHeader, "zlib=eJw=", "cut off"),
        (StateHeader, "zlib=AAAA", "Error -3 while decompressing"),
        (StateHeader, "zlib=A", "base64"),
        (StateHeader, str(StateHeader("a" * (MAX_STATE + 1))), "unpacks to more than 1048576 octets"),
        (ResultHeader, "code=200", "200 is no failure"),
        (ResultHeader, "code=x", "invalid literal"),
        (AttemptHeader, "before=-1", "before is -1"),
        (AttemptHeader, "before=1001", "before is 1001"),
        (BusyHeader, "for=-1", "for is -1"),
        (BusyHeader, "for=10001", "for is 10001"),
        (BreadthHeader, "most=0", "most is 0"),
        (BreadthHeader, "most=61", "most is 61"),
        (ReportedHeader, "names=", "no name"),
        (ReportedHeader, "names=a;b", "no name"),
    ],
)
def test_what_is_wrong_is_told(kind: Any, text: str, reason: str):
    with pytest.raises(HeaderError, match=reason):
        kind.parse(text)


def test_a_state_that_does_not_fit_into_a_header_is_known_before_it_is_sent():
    assert not StateHeader("a" * MAX_STATE).is_too_long
    assert StateHeader("Ж" * MAX_STATE).is_too_long  # it would fit, packed, but not be read
    assert StateHeader("{}", "a" * (MAX_STATE + 1)).is_too_long  # so would be its story
    assert StateHeader("".join(str(number) for number in range(20_000))).is_too_long
