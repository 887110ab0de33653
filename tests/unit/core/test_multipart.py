"""Bodies of several parts: the session description in them."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.multipart import is_optional, session_description, unsupported_part

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\n"
MIXED = "multipart/mixed; boundary=b1"
ISUP = b"\x01\x00--b\r\n\r\n\x00"


def body(*parts: tuple[str, bytes], boundary: str = "b1", end: str = "\r\n") -> bytes:
    text = b""
    for headers, content in parts:
        text += f"--{boundary}{end}".encode()
        text += "".join(f"{line}{end}" for line in headers.split("|") if line).encode() + end.encode()
        text += content + end.encode()
    return text + f"--{boundary}--{end}".encode()


TWO = (
    ("Content-Type: application/sdp", SDP),
    ("Content-Type: application/isup; version=itu-t92+|Content-Disposition: signal;handling=optional", ISUP),
)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/sdp", SDP),
        ("Application/SDP; charset=utf-8", SDP),
        (MIXED, body(*TWO)),
        (MIXED, body(*reversed(TWO))),
        (MIXED, body(("Content-Type: text/plain", b"--b1x\r\nContent-Type: application/sdp\r\n\r\nv=1"), *TWO)),
        (MIXED, body(("Content-Type: text/plain", b"--b1--x\r\n"), *TWO)),
        (MIXED, body(*TWO).replace(b"--b1\r\n", b"--b1 \t\r\n")),
        ('multipart/mixed;BOUNDARY="b1"', body(*TWO)),
        ("multipart/alternative ; x=y ; boundary = b1", body(*TWO)),
        ("multipart/related; boundary=b1", body(*TWO)),
        (MIXED, b"preamble\r\n" + body(*TWO) + b"epilogue"),
        (MIXED, body(("content-type:APPLICATION/SDP ;a=b|Content-Length: 5", SDP))),
        (MIXED, body(("c: application/sdp", SDP))),
        (MIXED, body(("Content-Type:|\tapplication/sdp", SDP))),
        (MIXED, body(("", b"text"), *TWO)),
        (MIXED, body(*TWO).removesuffix(b"--b1--\r\n")),
        (MIXED, body(("Content-Type: multipart/alternative; boundary=b2", body(*TWO, boundary="b2")))),
        ('multipart/mixed; boundary="a b\'()+_,-./:=?"', body(*TWO, boundary="a b'()+_,-./:=?")),
    ],
)
def test_the_description_is_found(content_type: str, content: bytes) -> None:
    assert (session_description(content_type, content) or b"").strip() == SDP.strip()
    assert unsupported_part(content_type, content) == ""


def test_lines_that_end_with_lf() -> None:
    content = body(("Content-Type: application/sdp", SDP.replace(b"\r", b"")), end="\n")
    assert session_description(MIXED, content) == SDP.replace(b"\r", b"").removesuffix(b"\n") + b"\n"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("", SDP),
        ("text/plain", SDP),
        ("multipart/mixed", body(*TWO)),
        ("multipart/mixed; boundary=b2", body(*TWO)),
        (MIXED, body(TWO[1])),
        (MIXED, b""),
        (MIXED, b"--b1--\r\n" + body(*TWO)),
        (MIXED, body(("Content-Type: application/sdp|Content-Transfer-Encoding: base64", b"dj0w"))),
        (MIXED, body(*[("", b"x")] * 16, *TWO)),
    ],
)
def test_no_description(content_type: str, content: bytes) -> None:
    assert session_description(content_type, content) is None


def test_a_part_that_must_be_understood() -> None:
    content = body(TWO[0], ("Content-Type: application/isup|Content-Disposition: signal; handling = required", ISUP))
    assert unsupported_part(MIXED, content) == "application/isup"
    assert unsupported_part(MIXED, body(TWO[0], ("Content-Type: application/isup", ISUP))) == ""


@given(st.binary(max_size=300), st.text(max_size=40))
def test_bytes_of_any_kind_raise_nothing(data: bytes, text: str) -> None:
    for content_type in (MIXED, f"multipart/{text}", text):
        for content in (data, b"--b1\r\n" + data, body(("Content-Type: application/sdp", data))):
            session_description(content_type, content)
            unsupported_part(content_type, content)


@pytest.mark.parametrize("piece", [b"\r\n", b"\r\n--b1", b"\r\n ", b"a: b\r\n", b"-"])
def test_time_is_linear_in_the_length(piece: bytes) -> None:
    def reading_s(count: int) -> float:
        content = b"--b1\r\n" + piece * count
        began = time.process_time()
        for _ in range(10):
            unsupported_part(MIXED, content)
        return time.process_time() - began

    costs = [min(reading_s(count) for _ in range(5)) for count in (500, 2000, 8000)]
    assert all(more < 12 * less + 0.001 for less, more in pairwise(costs))


@pytest.mark.parametrize(
    ("disposition", "is_so"),
    [("render;handling=optional", True), ("session; Handling=Optional", True), ("session", False), ("", False)],
)
def test_a_body_may_be_optional(disposition: str, is_so: bool) -> None:
    assert is_optional(disposition) is is_so
