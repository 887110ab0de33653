"""Which charset an answer is in (R9, RFC 7303), by what the answer then means."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callinteractive import charset
from callinteractive.actions.set_var import SetVar
from callinteractive.errors import ResponseError
from callinteractive.response import MAX_BODY, Response, parse

VALUE = "Jürgen"
CYRILLIC = "Иван"


def document(value: str, declared: str | None = None) -> str:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    return f'{declaration}<Response><SetVar name="a">{value}</SetVar></Response>'


def value_of(body: bytes, content_type: str | None = None) -> str:
    (action,) = parse(body, content_type).actions
    assert isinstance(action, SetVar)
    return action.value


def parses_or_says_why(body: bytes, content_type: str | None) -> None:
    reason = "fine"
    try:
        parse(body, content_type)
    except ResponseError as error:
        reason = error.reason
    assert reason
    assert reason.isprintable()


BOM = "\ufeff"


@pytest.mark.parametrize(
    "body",
    [
        (BOM + document(CYRILLIC)).encode("utf-8"),
        (BOM + document(CYRILLIC)).encode("utf-16-le"),
        (BOM + document(CYRILLIC)).encode("utf-16-be"),
        (BOM + document(CYRILLIC, "utf-16")).encode("utf-16-be"),
        (BOM + document(CYRILLIC, "utf-16")).encode("utf-8"),
        (BOM + document(CYRILLIC)).encode("utf-32-le"),
        (BOM + document(CYRILLIC)).encode("utf-32-be"),
        (BOM * 2 + document(CYRILLIC, "utf-8")).encode("utf-8"),
        (BOM + "\r\n" + document(CYRILLIC, "utf-8")).encode("utf-8"),
        ("\n" + BOM + document(CYRILLIC, "utf-8")).encode("utf-8"),
    ],
)
@pytest.mark.parametrize("content_type", [None, "text/xml; charset=iso-8859-1", "text/xml; charset=utf-8"])
def test_R9_a_byte_order_mark_comes_first(body: bytes, content_type: str | None):
    assert value_of(body, content_type) == CYRILLIC


@pytest.mark.parametrize(
    "content_type",
    [
        "text/xml; charset=utf-8",
        "text/xml;charset=UTF-8",
        'application/xml; charset="utf-8"',
        "application/xml; charset='utf-8'",
        "text/xml; CHARSET=Utf-8; x=y",
        "text/xml; x=y; charset = utf8",
        "text/html; charset=UTF_8",
        "charset=utf-8",
        "; charset=utf-8",
    ],
)
@pytest.mark.parametrize("declared", ["utf-16", "UTF-16LE", "iso-8859-1", "windows-1251", "no-such", "utf-8", None])
def test_P19_the_charset_of_content_type_comes_before_the_declaration(content_type: str, declared: str | None):
    assert value_of(document(CYRILLIC, declared).encode(), content_type) == CYRILLIC


@pytest.mark.parametrize(
    ("named", "codec"),
    [
        ("iso-8859-1", "latin-1"),
        ("ISO-8859-15", "iso-8859-15"),
        ("iso8859-1", "latin-1"),
        ("latin1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("CP1252", "cp1252"),
        ("ibm850", "cp850"),
        ("utf-16", "utf-16-le"),
        ("utf-16", "utf-16-be"),
        ("UTF-16LE", "utf-16-le"),
        ("utf-16be", "utf-16-be"),
        ("utf-32", "utf-32-le"),
        ("utf-32", "utf-32-be"),
        ("gb18030", "gb18030"),
    ],
)
def test_R9_any_common_charset_by_either_name(named: str, codec: str):
    assert value_of(document(VALUE).encode(codec), f"text/xml; charset={named}") == VALUE
    assert value_of(document(VALUE, named).encode(codec)) == VALUE
    assert value_of(document(VALUE, named).encode(codec), "text/xml") == VALUE
    assert value_of(("\r\n " + document(VALUE, named)).encode(codec), "text/xml; charset=") == VALUE


@pytest.mark.parametrize("named", ["windows-1251", "KOI8-R", "iso-8859-5", "cp866", "x-mac-cyrillic", "utf-8"])
def test_R9_cyrillic(named: str):
    codec = {"x-mac-cyrillic": "mac-cyrillic"}.get(named, named)
    assert value_of(document(CYRILLIC).encode(codec), f'text/xml; charset="{named}"') == CYRILLIC
    assert value_of(document(CYRILLIC, named).encode(codec)) == CYRILLIC


def test_a_declaration_that_can_be_read_octet_by_octet_is_not_utf_16():
    assert value_of(document(CYRILLIC, "utf-16").encode()) == CYRILLIC


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t \n\n"])
def test_P20_white_space_before_the_declaration_is_ignored(space: str):
    assert value_of((space + document(CYRILLIC, "utf-8")).encode()) == CYRILLIC
    assert value_of((space + document(VALUE, "iso-8859-1")).encode("latin-1")) == VALUE
    assert value_of((space + document(CYRILLIC)).encode()) == CYRILLIC


@pytest.mark.parametrize("before", ["", "\n\n", BOM, "\n" + BOM + "\n"])
def test_lines_are_those_of_the_body(before: str):
    with pytest.raises(ResponseError) as caught:
        parse((before + '<?xml version="1.0"?>\n<Response>\n<Nothing/></Response>').encode())
    assert caught.value.line == 3 + before.count("\n")


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
@pytest.mark.parametrize("charset", ["klingon", "none", "utf-16", "utf-32"])
def test_X1_an_empty_answer_is_empty_in_any_charset(body: bytes, charset: str):
    assert parse(body, f"text/html; charset={charset}") == Response()


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff\xfe\0\0",
        b"\xef\xbb\xbf\r\n",
        "\ufeff\n".encode("utf-16-be"),
        b" \n",
    ],
)
@pytest.mark.parametrize("content_type", [None, "text/xml", "text/xml; charset=utf-8", "text/plain; charset=us-ascii"])
def test_a_mark_alone_is_an_empty_answer(body: bytes, content_type: str | None):
    assert parse(body, content_type) == Response()


@pytest.mark.parametrize(
    ("body", "content_type", "line", "reason"),
    [
        (
            document("x").encode(),
            "text/xml; charset=klingon",
            1,
            "not XML: Unsupported encoding 'klingon' in Content-Type",
        ),
        (document("x", "klingon").encode(), None, 1, "not XML: Unsupported encoding 'klingon' in the XML declaration"),
        (document("x").encode(), "text/xml; charset=" + "x" * 9999, 1, "not XML: Unsupported encoding 'xxxx"),
        (document("x").encode(), "text/xml; charset=unicode_escape", 1, "not XML: Unsupported encoding"),
        (document("x").encode(), "text/xml; charset=utf-7", 1, "not XML: Unsupported encoding"),
        (document("x").encode(), "text/xml; charset=idna", 1, "not XML: Unsupported encoding"),
        (
            document("x").encode(),
            "text/xml; charset=utf-16",
            1,
            "not XML: Content-Type says 'utf-16', and the body is not",
        ),
        (b"<Response>\n" + VALUE.encode("latin-1"), None, 2, "not XML: octet 0xfc is not utf-8"),
        (b"<Response>\n" + VALUE.encode("latin-1"), "text/xml; charset=utf-8", 2, "not XML: octet 0xfc is not utf-8"),
        (document(VALUE).encode(), "text/xml; charset=us-ascii", 1, "not XML: octet 0xc3 is not ascii"),
        (b"\xff\xfe<", None, 1, "not XML"),
        ("\ufeff<Response/>".encode("utf-16-le")[:-1], None, 1, "not XML"),
        (b"\xff\xfe<\0\0\xd8", None, 1, "not XML"),
    ],
)
def test_what_cannot_be_read_is_told(body: bytes, content_type: str | None, line: int, reason: str):
    with pytest.raises(ResponseError) as caught:
        parse(body, content_type)
    assert caught.value.line == line
    assert caught.value.reason.startswith(reason)
    assert len(caught.value.reason) < 200


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "body",
    [
        b" " * MAX_BODY,
        b" \0" * (MAX_BODY // 2),
        b"\0 " * (MAX_BODY // 2),
        b"\0\0\0 " * (MAX_BODY // 4),
        b" \0\0\0" * (MAX_BODY // 4),
        b"<?xml " + b" " * 60_000,
        b"<?xml encoding" * 4_000,
        b"\xef\xbb\xbf" * 20_000,
        b"\n" * 60_000 + b"\xff",
    ],
)
def test_no_body_takes_long(body: bytes):
    for _ in range(20):
        parses_or_says_why(body, ";charset" * 2_000)


@pytest.mark.parametrize(
    ("body", "is_so"),
    [
        (b"", True),
        (b" <Response/>", True),
        (b"\xef\xbb\xbf\n<Response/>", True),
        ("\ufeff<Response/>".encode("utf-16-be"), True),
        ("<Response/>".encode("utf-16-le"), True),
        (document("x", "klingon").encode(), True),
        (b"ivrs: []", False),
        (b"node: \xff", False),
    ],
)
def test_what_looks_like_xml(body: bytes, is_so: bool):
    assert charset.is_markup(body) == is_so


CHARSETS = st.sampled_from(
    [
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-32",
        "iso-8859-1",
        "windows-1251",
        "us-ascii",
        "gb18030",
        "shift_jis",
        "big5",
        "x",
        "",
    ]
)
PIECES = st.sampled_from(
    [
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\0\0",
        b"\n",
        b"<?xml version='1.0' encoding='utf-16'?>",
        b"<\0",
        b"\0<",
        *(b"<Response>", b"</Response>", b"<Hangup/>", b"<Response/>", document(CYRILLIC).encode("utf-16-le")),
    ]
)


@settings(max_examples=300)
@given(
    st.lists(PIECES | st.binary(max_size=12), max_size=8).map(b"".join),
    st.none() | CHARSETS.map("text/xml; charset={}".format) | st.text(max_size=40),
)
@example(b"<?xml version='1.0' encoding='EBCDIC-US'?><Response/>", None)
def test_any_octets_in_any_charset_are_parsed_or_told_why_not(body: bytes, content_type: str | None):
    parses_or_says_why(body, content_type)
    charset.is_markup(body)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<&\ufffe\uffff\ufeff]"), max_size=30))
def test_any_text_comes_through_any_wide_charset(text: str):
    for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        assert value_of(document(text).encode(codec)) == text.strip()
