"""The web application's answer: octets to actions, or an error with line and reason (X1-X4)."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callinteractive.actions import base
from callinteractive.actions.hangup import Hangup
from callinteractive.actions.play_sound import PlaySound
from callinteractive.actions.set_caller import SetCaller
from callinteractive.actions.set_var import SetVar
from callinteractive.actions.simple_transfer import SimpleTransfer
from callinteractive.errors import ResponseError
from callinteractive.response import MAX_ACTIONS, MAX_BODY, MAX_WARNINGS, Response, parse

PROLOGUE = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"<Response/>", PROLOGUE + b"<Response>\n</Response>\n"])
def test_X1_an_answer_without_actions_is_fine(body: bytes):
    assert parse(body) == Response()


def test_X2_actions_are_read_in_order():
    body = (
        PROLOGUE
        + b"""<Response>
        <SetVar name="transferDestination">09897987</SetVar>
        <SetCaller name="callerName" number="92992"/>
        <!-- a comment, and <?php nothing ?> -->
        <SimpleTransfer final="no" timeout="20">NUM1,NUM2</SimpleTransfer>
        <Hangup/>
    </Response>"""
    )
    assert parse(body).actions == (
        SetVar("transferDestination", "09897987"),
        SetCaller("callerName", "92992"),
        SimpleTransfer(("NUM1", "NUM2"), 20, final=False),
        Hangup(),
    )


def test_X2_ten_actions_and_no_more():
    assert len(parse(b"<Response>" + b"<Hangup/>" * MAX_ACTIONS + b"</Response>").actions) == MAX_ACTIONS == 10
    with pytest.raises(ResponseError, match="line 2: 11 actions, at most 10 are allowed"):
        parse(b"<Response>" + b"<Hangup/>" * 10 + b"\n<Hangup/></Response>")


def test_X2_any_encoding_that_xml_knows():
    text = '<Response><SetVar name="a">Иван</SetVar></Response>'
    expected = (SetVar("a", "Иван"),)
    assert parse(b"\xef\xbb\xbf" + text.encode()).actions == expected
    assert parse(text.encode("utf-16")).actions == expected
    assert parse(b'<?xml version="1.0" encoding="windows-1251"?>' + text.encode("cp1251")).actions == expected


def test_a_short_answer_that_comes_again_is_not_read_again():
    body = b"<Response><Hangup/></Response>"
    assert parse(body, "text/xml") is parse(bytes(bytearray(body)), "text/xml")
    long = b"<Response>" + b" " * 1024 + b"</Response>"
    assert parse(long) is not parse(long)


def test_the_same_octets_in_another_charset_are_another_answer():
    body = '<Response><SetVar name="a">Иван</SetVar></Response>'.encode("cp1251")
    assert parse(body, "text/xml; charset=windows-1251").actions == (SetVar("a", "Иван"),)
    assert parse(body, "text/xml; charset=iso-8859-1").actions == (SetVar("a", "Èâàí"),)


def test_a_wrong_answer_is_refused_each_time():
    for _ in range(2):
        with pytest.raises(ResponseError, match="line 2: unknown element"):
            parse(b"<Response>\n<Nothing/></Response>")


def test_text_may_be_escaped_in_cdata_and_around_comments():
    body = b'<Response><SetVar name="x">a<!-- c -->&amp;<?pi x?>&#1078;<![CDATA[<d>]]></SetVar></Response>'
    assert parse(body).actions == (SetVar("x", "a&ж<d>"),)


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        (b"not xml", 1, "not XML: Start tag expected, '<' not found"),
        (b"<Response>\n<Hangup>\n</Response>", 3, "not XML: Opening and ending tag mismatch"),
        (b"<Response/><Response/>", 1, "not XML: Extra content at the end of the document"),
        (b"<Response>\xff</Response>", 1, "not XML"),
        (b"<Response>\n\x00</Response>", 2, "not XML"),
        (b'<?xml version="1.0" encoding="no-such"?><Response/>', 1, "not XML: Unsupported encoding"),
        (b"\n<response/>", 2, "the root element must be <Response>, not <response>"),
        (b"<htmlx/>", 1, "the root element must be <Response>, not <htmlx>"),
        (b'<Response xmlns="urn:x"/>', 1, "the root element must be <Response>"),
        (
            b"<Response>\n<Nothing/></Response>",
            2,
            "unknown element <Nothing>; known: Hangup, Pause, SetVar, Jump, SetCaller",
        ),
        (b"<Response>\n<hangup/></Response>", 2, "unknown element <hangup>"),
        (b'<Response xmlns:a="u"><a:Hangup/></Response>', 1, "unknown element <{u}Hangup>"),
        (b"<Response>\n\n<Pause><Hangup/></Pause></Response>", 3, "<Pause> can't hold other elements"),
        (b"<Response>\n<Jump/></Response>", 2, "<Jump>: context is missing"),
        (
            b'<Response><Jump contxt="2"/></Response>',
            1,
            "<Jump>: context is missing; unknown attribute 'contxt' (did you",
        ),
        (
            b'<Response><PlaySound file="a.wav"/></Response>',
            1,
            "<PlaySound>: the name of a sound is missing; unknown attribute 'file': write it in <PlaySound>…",
        ),
        (
            b"<Response><RecordDigits/></Response>",
            1,
            "unknown element <RecordDigits>: record_digits is a rule of ivr.yaml only; a Jump can lead to an option",
        ),
        (b"<Response>hello<Hangup/></Response>", 1, "text between the actions: 'hello'"),
        (b"<Response>\n<Hangup/>hello</Response>", 2, "text between the actions: 'hello'"),
        (b"<Response>&nbsp;</Response>", 1, "not XML: Entity 'nbsp' not defined"),
        (PROLOGUE + b"<!-- a -->\n<!DOCTYPE Response>\n<Response/>", 3, "a DOCTYPE is not allowed; leave it out"),
        (b"<Response>" + b"<a>" * 300, 1, "not XML: Excessive depth in document: 256, column"),
    ],
)
def test_X3_what_is_invalid_is_told_with_its_line(body: bytes, line: int, reason: str):
    with pytest.raises(ResponseError) as caught:
        parse(body)
    assert caught.value.line == line
    assert caught.value.reason.startswith(reason)
    assert str(caught.value) == f"line {line}: {caught.value.reason}"


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>",
        b"\n<!DOCTYPE html><html></html>",
        b'<?xml version="1.0"?>\r\n<!DOCTYPE html>\r\n<html></html>',
        b"<html/>",
        b"<HTML><body><br></body></HTML>",
    ],
)
def test_X3_a_web_page_is_called_one(body: bytes):
    with pytest.raises(ResponseError, match="line 1: it is an HTML page, perhaps your application's error page"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b' {"action": "hangup"}', "not XML: it is JSON; an answer begins with <?xml or <Response>"),
        (b'"<Response/>"', "not XML: it is JSON; an answer begins with <?xml or <Response>"),
        (b"&lt;Response/&gt;", "not XML: it is escaped as for a page of HTML; send < in place of &lt;"),
    ],
)
def test_X3_what_was_sent_by_mistake_is_told(body: bytes, reason: str):
    with pytest.raises(ResponseError) as caught:
        parse(body)
    assert (caught.value.reason, caught.value.line) == (reason, 1)


@pytest.mark.parametrize(
    ("body", "column", "hint"),
    [
        (b"<Response><SetVar name='a'>b & c</SetVar></Response>", 31, "write &amp; for a literal &"),
        (b"<Response>\n<Pause a='x?b=1&c=2'/></Response>", 18, "write &amp; for a literal &"),
        (b"<Response><Pause a='x?b=1&c;=2'/></Response>", 29, "write &amp; for a literal &"),
        (b"<Response>&nbsp;</Response>", 17, "others as a number, like &#160;"),
        (b"<Response><SetVar name='a'>1 < 2</SetVar></Response>", 31, "write &lt; for a literal <"),
        (b"<Response><SetVar name='<'/></Response>", 25, "write &lt; for a literal <"),
        (b"OK", 1, "an answer begins with <?xml or <Response>"),
        (b"<Response><Pause length=5/></Response>", 25, "write an attribute's value in quotes"),
        (b"<Response/>OK", 12, "nothing before or after it"),
        (b"<br />\n<b>Warning</b>: x in y.php\n<Response/>", 1, "nothing before or after it"),
        (b"<!-- --><?xml version='1.0'?><Response/>", 14, "nothing stands before <?xml"),
    ],
)
def test_X3_what_is_no_xml_is_told_with_its_column_and_what_to_do(body: bytes, column: int, hint: str):
    with pytest.raises(ResponseError) as caught:
        parse(body)
    assert f", column {column}; " in caught.value.reason
    assert hint in caught.value.reason


def test_X3_what_else_is_told_with_what_to_do():
    with pytest.raises(ResponseError, match="leave xmlns out"):
        parse(b'<Response xmlns="urn:x"/>')
    with pytest.raises(ResponseError, match=r"compressed \(gzip\); send it as it is"):
        parse(gzip.compress(b"<Response/>"))


def test_X3_one_bad_action_and_nothing_of_the_response_runs():
    with pytest.raises(ResponseError):
        parse(b"<Response><PlaySound>a.wav</PlaySound><Pause length='x'/></Response>")


LAUGHS = b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 20))


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE Response><Response/>",
        b'<!DOCTYPE Response SYSTEM "file:///etc/passwd"><Response/>',
        b'<!DOCTYPE Response [<!ENTITY a "x">]><Response>&a;</Response>',
        b'<!DOCTYPE R [<!ENTITY a SYSTEM "file:///etc/passwd">]><Response><SetVar name="a">&a;</SetVar></Response>',
        b'<!DOCTYPE R [<!ENTITY % a SYSTEM "http://127.0.0.1:9/">%a;]><Response/>',
    ],
)
def test_X3_a_doctype_is_not_allowed(body: bytes):
    with pytest.raises(ResponseError, match="line 1: a DOCTYPE is not allowed"):
        parse(body)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE R [<!ENTITY a0 "ha">' + LAUGHS + b"]><Response>&a19;</Response>",
        b'<!DOCTYPE R [<!ENTITY a0 "ha">' + LAUGHS + b']><Response a="&a19;"/>',
        b'<!DOCTYPE R [<!ENTITY a "' + b"x" * 30_000 + b'">]><Response a="' + b"&a;" * 9_000 + b'"/>',
        b"<a>" * 16_000,
        b"<Response>" + b"<Pause>" * 5_000,
    ],
)
def test_X3_no_document_is_a_bomb(body: bytes):
    with pytest.raises(ResponseError):
        parse(body)


def test_X3_a_body_has_at_most_64_KiB():
    whole = b"<Response>" + b" " * (MAX_BODY - 21) + b"</Response>"
    assert len(whole) == MAX_BODY == 65_536
    assert parse(whole) == Response()
    with pytest.raises(ResponseError, match="longer than 65536 octets") as caught:
        parse(whole + b"\n")
    assert caught.value.line == 0


def test_X4_unknown_attributes_are_warnings():
    response = parse(b'<Response version="2">\n<Hangup reason="busy"/>\n<Pause>text</Pause></Response>')
    assert len(response.actions) == 2
    assert response.warnings == (
        "line 1: unknown attribute 'version'",
        "line 2: <Hangup>: unknown attribute 'reason'; known: none",
        "line 3: <Pause>: takes no text",
    )


def test_X4_a_name_in_another_case_is_another_name():
    assert parse(b'<Response><Pause Length="1"/></Response>').warnings == (
        "line 1: <Pause>: unknown attribute 'Length' (did you mean 'length'?)",
    )


def test_X4_white_space_around_text_is_trimmed():
    assert parse(b"<Response><PlaySound>\n  a.wav\t</PlaySound></Response>").actions == (PlaySound("a.wav"),)


def test_X4_variables_are_not_expanded():
    assert parse(b'<Response><SetVar name="a">$b</SetVar></Response>').actions == (SetVar("a", "$b"),)


def test_warnings_cannot_flood_the_log():
    attributes = " ".join(f'a{index}=""' for index in range(1000))
    assert len(parse(f"<Response {attributes}/>".encode()).warnings) == MAX_WARNINGS


def test_no_answer_has_many_names_looked_at(monkeypatch: pytest.MonkeyPatch):
    """To look for what was meant takes 40 µs, and 64 KiB have room for 8000 names."""
    asked: list[str] = []
    monkeypatch.setattr(base, "near", lambda name, _known: asked.append(name) or "")
    attributes = " ".join(f'a{index}=""' for index in range(1000))
    action = f"<Pause {attributes}/>"
    assert len(parse(f"<Response>{action * 4}</Response>".encode()).warnings) == MAX_WARNINGS
    assert len(asked) <= 4 * MAX_WARNINGS


def parses_or_says_why(body: bytes) -> None:
    try:
        parse(body)
    except ResponseError as error:
        reason = error.reason
    else:
        reason = "fine"
    assert reason
    assert reason.isprintable()


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda inside: b"<Response>" + inside + b"</Response>"))
@example(b"\xef\xbb\xbf")
@example(b"<?xml version='1.0' encoding='EBCDIC-US'?><Response/>")
@settings(max_examples=200)
def test_X3_random_octets_are_parsed_or_told_why_not(body: bytes):
    parses_or_says_why(body)


WELL_FORMED = (
    PROLOGUE + b'<Response><Pause length="15"/><SetVar name="a">b&amp;</SetVar><Jump context="3" option="start"/>'
    b'<SetCaller name="n" number="1"/><PlaySound where="background" digitvar="v">a.wav</PlaySound>'
    b'<SimpleTransfer final="no" timeout="20" early_media="True">1,2</SimpleTransfer><Hangup/></Response>'
)
PIECES = [b"<", b">", b'"', b"&", b"&#0;", b"&a;", b"<!--", b"]]>", b"<![CDATA[", b"<?x?>", b"<!DOCTYPE a>", b"\0"]
CHANGE = st.tuples(st.integers(0, len(WELL_FORMED)), st.integers(0, 6), st.sampled_from(PIECES) | st.binary(max_size=3))


@given(st.lists(CHANGE, max_size=4))
@settings(max_examples=150)
def test_X3_a_spoilt_document_is_parsed_or_told_why_not(changes: list[tuple[int, int, bytes]]):
    body = WELL_FORMED
    for place, cut, piece in changes:
        body = body[:place] + piece + body[place + cut :]
    parses_or_says_why(body)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<&\ufffe\uffff"), max_size=50))
def test_any_text_is_a_value(text: str):
    body = f'<Response><SetVar name="a">{text.replace("]]>", "")}</SetVar></Response>'.encode()
    assert parse(body).actions == (SetVar("a", text.replace("]]>", "").strip()),)
