"""Bencoding, as RTPengine reads and writes it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.media import bencode

_KEYS = st.text("abc -9", max_size=8)
_SCALARS = st.integers(-(2**63), 2**63) | st.text("a1:e \0é€😀", max_size=20)
_LISTS = st.lists(_SCALARS, max_size=4)
_MAPPINGS = st.dictionaries(_KEYS, _SCALARS | _LISTS, max_size=4)
_VALUES = _SCALARS | _LISTS | st.lists(_MAPPINGS, max_size=3) | st.dictionaries(_KEYS, _MAPPINGS, max_size=3)


def test_a_command_as_rtpengine_reads_it() -> None:
    fields = {"command": "play media", "repeat-times": 3, "flags": ("a", "bc"), "codec": {"transcode": ("PCMU",)}}
    written = b"d7:command10:play media12:repeat-timesi3e5:flagsl1:a2:bce5:codecd9:transcodel4:PCMUeee"
    assert bencode.encode(fields) == written
    assert bencode.encode(fields) == written, "lists that were written before are remembered"


def test_a_reply_whose_keys_are_in_no_order() -> None:
    reply = b"d6:result2:ok4:tagsd6:callerd7:packetsi50e6:mediasld5:indexi1eeeee8:durationi-1ee"
    assert bencode.decode(reply) == {
        "result": "ok",
        "tags": {"caller": {"packets": 50, "medias": [{"index": 1}]}},
        "duration": -1,
    }


def test_what_nobody_asks_for_is_left_out() -> None:
    reply = b"d1:ai1e5:flagsl1:bd1:ci-2eee1:dd5:flags2:xx1:ei3eee"
    assert bencode.decode(reply, frozenset((b"flags",))) == {"a": 1, "d": {"e": 3}}
    for broken in (b"d5:flagse", b"d5:flagsl1:be", b"d5:flagsi1:e", b"d5:flags9:xe", b"d5:flagsd"):
        with pytest.raises(bencode.NotBencodedError):
            bencode.decode(broken, frozenset((b"flags",)))


def test_lengths_count_octets() -> None:
    assert bencode.encode({"file": "ö"}) == b"d4:file2:\xc3\xb6e"
    assert bencode.decode(b"d4:file2:\xc3\xb64:\xe2\x82\xac_1:xe") == {"file": "ö", "€_": "x"}


def test_what_is_no_utf_8_is_replaced() -> None:
    assert bencode.decode(b"d1:al2:\xff!ee") == {"a": ["\ufffd!"]}


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_what_is_written_is_read_back(fields: dict[str, Any]) -> None:
    assert bencode.decode(bencode.encode(fields)) == fields


@given(st.binary() | st.text("del019:-i", max_size=40).map(lambda text: b"d1:a" + text.encode()))
def test_anything_else_is_refused(data: bytes) -> None:
    with suppress(bencode.NotBencodedError):
        assert isinstance(bencode.decode(data), dict)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"d",
        b"i1e",
        b"l1:ae",
        b"d1:a",
        b"d1:ae",
        b"d1:a1:b",
        b"d1:ai1",
        b"d1:aie",
        b"d1:aixe",
        b"d1:a5:bce",
        b"d1:a-1:be",
        b"d1:a:be",
        b"d1:axe",
        b"di1e1:ae",
        b"d1:al1:b",
        b"d1:a100000:be",
        b"d1:a" + b"9" * 5000 + b":b",
        b"d1:ai" + b"9" * 5000 + b"ee",
        b'{"result": "ok"}',
        "d1:a²:bce".encode("latin-1"),
    ],
)
def test_what_is_not_bencoded(data: bytes) -> None:
    with pytest.raises(bencode.NotBencodedError):
        bencode.decode(data)


@pytest.mark.parametrize("inner", [b"l", b"d1:a"])
def test_how_deep_is_read(inner: bytes) -> None:
    deepest = b"d1:a" + inner * bencode.DEEPEST + b"1:b" + b"e" * bencode.DEEPEST + b"e"
    assert bencode.decode(deepest)
    for deeper in (bencode.DEEPEST + 1, 20_000):
        with pytest.raises(bencode.NotBencodedError):
            bencode.decode(b"d1:a" + inner * deeper + b"1:b" + b"e" * deeper + b"e")


def test_a_file_s_name_that_is_not_utf_8() -> None:
    assert bencode.encode({"file": "b\udcfcö.au"}) == b"d4:file7:b\xfc\xc3\xb6.aue"
    assert bencode.encode({"files": ["\udcfc"]}) == b"d5:filesl1:\xfcee"


@pytest.mark.parametrize("value", [1.5, None, b"x", {1}])
def test_a_value_of_another_kind(value: object) -> None:
    with pytest.raises(TypeError):
        bencode.encode({"a": value})


def test_written_lists_are_remembered_within_bounds() -> None:
    for number in range(1000):
        bencode.encode({"flags": (str(number),)})
    assert len(bencode._lists) <= 256
