"""Connection lines of session descriptions: IP addresses, and nothing else (RFC 8866 5.7)."""

from __future__ import annotations

import pytest

from callinteractive.sdp import connection_address, read_lines


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


TIDY = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"


@pytest.mark.parametrize(
    "text",
    [
        TIDY,
        TIDY.replace("\r\n", "\n"),
        TIDY.removesuffix("\r\n"),
        f"\r\n{TIDY}\r\n\r\n",
        TIDY.replace("s=-", "s= -\t "),
        TIDY.replace("t=0 0", "t=0   0 \0"),
        TIDY.replace("s=-", " s=  -"),
    ],
)
def test_what_phones_write_untidily_is_read_as_if_it_were_tidy(text):
    assert read_lines(text) == TIDY.split("\r\n")[:-1]


@pytest.mark.parametrize(
    ("old", "new"), [("v=0", "v=1"), ("s=-", "s"), ("s=-", "S=-"), ("s=-", "s=\x07"), ("v=0\r\n", "")]
)
def test_other_lines_are_refused(old, new):
    assert read_lines(TIDY.replace(old, new)) is None


@pytest.mark.parametrize("line", ["s=", "s=é", "a=x  y", "a=x ", "a= x", "a=\tx"])
def test_a_line_that_is_not_tidy_is_cleaned_among_tidy_ones(line):
    assert read_lines(f"{TIDY}{line}\r\n") == read_lines(f"{TIDY}{line}\n")
