"""SRTP keys: what phones write, what RTPengine gets, and keys of a wrong length."""

from __future__ import annotations

import base64
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.sdes import MAX_KEYS, read_keys

KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"  # of RFC 4568's own example
PLAIN = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
LENGTHS = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "F8_128_HMAC_SHA1_80": 30,
    "AES_192_CM_HMAC_SHA1_80": 38,
    "AES_192_CM_HMAC_SHA1_32": 38,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}


def key_of(octets: int) -> str:
    return base64.b64encode(bytes(range(octets))).decode()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (PLAIN, PLAIN),
        (f"{PLAIN}|2^31", PLAIN),
        (f"{PLAIN}|1048576", PLAIN),
        (f"{PLAIN}|2^20|1:4", f"{PLAIN}|1:4"),
        (f"{PLAIN}|1:4", f"{PLAIN}|1:4"),
        (f"{PLAIN}|2^20|1:4;inline:{KEY[::-1]}|2^20|2:4", f"{PLAIN}|1:4"),
        (f"{PLAIN} WSH=64", PLAIN),
        (f"{PLAIN} KDR=0 -UNKNOWN=1", PLAIN),
        (f" {PLAIN} ", PLAIN),
        (PLAIN.replace(" ", "  "), PLAIN),
        (PLAIN.replace("inline:", "inline: "), PLAIN),
        (PLAIN.lower().replace(KEY.lower(), KEY), PLAIN),
    ],
)
def test_as_phones_write_it(written: str, read: str) -> None:
    assert read_keys([written]) == (read,)


@pytest.mark.parametrize(("suite", "octets"), LENGTHS.items())
def test_a_key_has_the_length_of_its_suite(suite: str, octets: int) -> None:
    right = f"1 {suite} inline:{key_of(octets)}"
    assert read_keys([right]) == (right,)
    assert read_keys([right.rstrip("=")]) == (right,)
    for wrong in (0, 1, 4, octets - 1, octets + 1, 100):
        assert read_keys([f"1 {suite} inline:{key_of(wrong)}"]) == ()


@pytest.mark.parametrize(
    "unusable",
    [
        "",
        "1",
        "1 AES_CM_128_HMAC_SHA1_80",
        "1 AES_CM_128_HMAC_SHA1_80 inline:",
        PLAIN.replace("AES_CM_128", "AES_CM_999"),
        f"1 NULL_HMAC_SHA1_80 inline:{KEY}",
        PLAIN.replace("1 AES", "x AES"),
        PLAIN.replace("d0Rm", "d0R!"),
        f"{PLAIN}|nonsense",
        f"{PLAIN}|2^20|1:4|5",
        f"{PLAIN}|1:129",
        f"{PLAIN}|1:0",
        f"{PLAIN}|9999999999:4",
        f"{PLAIN} UNENCRYPTED_SRTP",
        f"{PLAIN} UNAUTHENTICATED_SRTP",
        f"{PLAIN} KDR=4",
    ],
)
def test_what_cannot_be_used_is_left_out(unusable: str) -> None:
    assert read_keys([unusable, PLAIN]) == (PLAIN,)


def test_their_number_is_bounded() -> None:
    assert len(read_keys([PLAIN] * 100)) == MAX_KEYS


@given(st.text(max_size=100), st.text(alphabet="|;:^=2 1Aa", max_size=40))
def test_text_of_any_kind_does_no_harm(text: str, more: str) -> None:
    for value in (text, PLAIN + text, PLAIN + more, f"1 AES_CM_128_HMAC_SHA1_80 inline:{more}"):
        for found in read_keys([value]):
            assert found.isascii()
            assert found.isprintable()


@pytest.mark.parametrize("piece", [" ", "|", " a", ";inline:a", "=", "A"])
def test_time_is_linear_in_the_length(piece: str) -> None:
    def reading_s(count: int) -> float:
        value = PLAIN + piece * count + "\x01"
        began = time.process_time()
        for _ in range(20):
            read_keys([value])
        return time.process_time() - began

    costs = [min(reading_s(count) for _ in range(5)) for count in (500, 2000, 8000)]
    assert all(more < 12 * less + 0.001 for less, more in pairwise(costs))
