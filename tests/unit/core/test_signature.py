"""Which private headers a sidecar may believe (S8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.errors import HeaderError
from callinteractive.keys import ROUTES, SIGNATURES, derive, site_key
from callinteractive.signature import SIGNED, WINDOW_S, SignatureHeader

KEY = bytes(range(32))
VALUES = {name: f"value-{name}" for name in SIGNED}
NOW = 1_800_000_000


def signed() -> SignatureHeader:
    return SignatureHeader.sign(KEY, NOW, "some-call-id", VALUES)


def test_round_trip() -> None:
    assert SignatureHeader.parse(str(signed())) == signed()
    assert signed().is_valid(KEY, NOW + 1.5, "some-call-id", VALUES)


@pytest.mark.parametrize("after_s", [-WINDOW_S - 1, WINDOW_S + 1])
def test_it_expires_either_way(after_s: int) -> None:
    assert not signed().is_valid(KEY, NOW + after_s, "some-call-id", VALUES)


def test_neither_time_nor_call_nor_any_header_can_be_exchanged() -> None:
    later = SignatureHeader(NOW + 50, signed().digest)
    assert not later.is_valid(KEY, NOW + 50, "some-call-id", VALUES)
    assert not signed().is_valid(KEY, NOW, "other-call-id", VALUES)
    assert not signed().is_valid(b"other key", NOW, "some-call-id", VALUES)
    for name in SIGNED:
        assert not signed().is_valid(KEY, NOW, "some-call-id", VALUES | {name: "other"})
        assert not signed().is_valid(KEY, NOW, "some-call-id", {k: v for k, v in VALUES.items() if k != name})


def test_a_missing_header_is_an_empty_one_and_others_do_not_count() -> None:
    one = SignatureHeader.sign(KEY, NOW, "c", {SIGNED[0]: "x", "X-CI-Other": "y"})
    assert one.is_valid(KEY, NOW, "c", {SIGNED[0]: "x", SIGNED[1]: ""})


@given(st.text())
def test_any_text_is_a_signature_or_a_header_error(text: str) -> None:
    with pytest.raises(HeaderError):
        SignatureHeader.parse(text)


@pytest.mark.parametrize("bad", ["", "t=1;v1=" + "A" * 64, "t=1;v1=" + "0" * 63, "t=-1;v1=" + "0" * 64, "9" * 5000])
def test_unreadable(bad: str) -> None:
    with pytest.raises(HeaderError):
        SignatureHeader.parse(bad)


def test_the_site_s_secret() -> None:
    key = "0123456789abcdef" * 2
    assert site_key({}) is None
    assert site_key({"CALLINTERACTIVE_KEY": key}) == site_key({"CALLINTERACTIVE_ROUTE_KEY": key}) == bytes.fromhex(key)
    assert derive(KEY, ROUTES) != derive(KEY, SIGNATURES)
    for wrong in ("xyz", "ab", "0" * 31):
        with pytest.raises(ValueError, match="CALLINTERACTIVE_KEY must be 32 or more hex digits"):
            site_key({"CALLINTERACTIVE_KEY": wrong})
