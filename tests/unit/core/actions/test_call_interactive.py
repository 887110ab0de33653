"""
| key | meaning | default |
|---|---|---|
| url | http:// or https://; ``$name`` in its query is a variable (R4); required | |
| method | GET or POST | GET |
"""

from __future__ import annotations

import pytest

from callinteractive.asking import failure_of
from callinteractive.commands import Fetch, Hangup, Play
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.events import Event, Fetched, FetchFailed
from callinteractive.response import MAX_BODY, parse
from tests.unit.core.call import ASK, Call, asked, ivr_file, menu, started


def test_R1_the_method_is_get_by_default():
    _, command = started(ASK)
    assert isinstance(command, Fetch)
    assert command.request.method == "GET"
    assert command.request.url.startswith("http://127.0.0.1:8000/menu?EventType=call_interactive&")


def test_R1_post():
    _, command = started('- call_interactive: {url: "http://h/?a=1", method: POST}')
    assert isinstance(command, Fetch)
    assert (command.request.method, command.request.url) == ("POST", "http://h/?a=1")
    assert b"EventType=call_interactive&" in (command.request.body or b"")


def test_R5_the_timeouts_are_those_of_the_ivr():
    _, command = started(ASK)
    assert isinstance(command, Fetch)
    request = command.request
    assert (request.connect_timeout_s, request.timeout_s, request.follow_redirects) == (2, 10, False)
    keys = "connect_timeout_s: 0.5, request_timeout_s: 3, follow_redirects: yes"
    command = Call(ivr_file(f"1: {{options: {{start: [{{{ASK[2:]}}}]}}}}", keys)).start()
    assert isinstance(command, Fetch)
    request = command.request
    assert (request.connect_timeout_s, request.timeout_s, request.follow_redirects) == (0.5, 3, True)


@pytest.mark.parametrize(
    "answer", [Fetched(204, b""), Fetched(200, b""), Fetched(200, b" \r\n"), Fetched(200, b"<Response/>")]
)
def test_X1_a_response_is_optional(answer: Event):
    call = asked()
    assert isinstance(call.tell(answer), Hangup)
    assert call.errors() == []


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (FetchFailed("timeout", "no answer within 10 s"), "timeout"),
        (FetchFailed("refused", "connection refused"), "refused"),
        (Fetched(500, b"<Response><PlaySound>never.wav</PlaySound></Response>"), "status"),
        (Fetched(302, b""), "status"),
        (Fetched(199, b""), "status"),
        (Fetched(300, b""), "status"),
        (Fetched(200, b"<html>"), "invalid"),
        (Fetched(200, b"<Response><PlaySound>a.wav</PlaySound><Nothing/></Response>"), "invalid"),
        (Fetched(200, b" " * MAX_BODY + b"<Response/>"), "invalid"),
    ],
)
def test_X3_whatever_fails_is_one_error_and_the_next_rule_runs(event: Event, outcome: str):
    call = asked()
    assert isinstance(call.tell(event, after=1.25), Hangup)
    (error,) = call.errors()
    assert (error.what, error.fields["outcome"]) == ("webhook", outcome)
    assert error.fields["reason"]
    assert (error.fields["application"], error.fields["took_ms"]) == ("127.0.0.1:8000", 1250)


@pytest.mark.parametrize(("status", "is_redirect"), [(301, True), (302, True), (308, True), (304, False), (404, False)])
def test_R5_a_redirect_that_is_not_followed_is_told_with_what_to_do(status: int, is_redirect: bool):
    call = asked()
    call.tell(Fetched(status, b""))
    reason = call.errors()[0].fields["reason"]
    assert reason.startswith(f"HTTP status {status}")
    assert ("follow_redirects: yes" in reason) == is_redirect
    assert failure_of(Fetched(status, b"")) == FetchFailed("status", reason)


@pytest.mark.parametrize(("status", "reason"), [(302, "HTTP status 302"), (404, "HTTP status 404"), (200, "line 1: ")])
def test_an_answer_of_no_use_is_told_with_where_a_redirect_leads(status: int, reason: str):
    call = asked()
    answer = Fetched(status, b"<html>", redirected_to="https://h/login")
    call.tell(answer)
    told = call.errors()[0].fields["reason"]
    assert told.startswith(reason)
    assert "; redirected to https://h/login" in told
    assert failure_of(answer) == FetchFailed("invalid" if status == 200 else "status", told)


def test_an_answer_is_noted_with_who_gave_it_and_how_long_it_took():
    call, _ = started('- call_interactive: {url: "https://user:secret@Ivr.Example/?a=$b", method: POST}')
    call.tell(Fetched(200, b"<Response><Hangup/></Response>"), after=0.04)
    (note,) = (note for note in call.notes if note.what == "webhook")
    assert note.fields == {"outcome": "ok", "actions": 1, "application": "ivr.example", "took_ms": 40}


def test_a_clock_that_was_set_back_makes_no_negative_time():
    call = asked()
    call.tell(Fetched(204, b""), after=-60)
    (note,) = (note for note in call.notes if note.what == "webhook")
    assert note.fields["took_ms"] == 0


def test_R9_the_charset_of_content_type_counts():
    body = "<Response><SetVar name='v'>Jürgen</SetVar><PlaySound>a.wav</PlaySound></Response>".encode("latin-1")
    assert asked().tell(Fetched(200, body, 'text/xml; charset="ISO-8859-1"')) == Play("a.wav")
    assert isinstance(asked().tell(Fetched(200, body, "text/xml")), Hangup)


def test_X3_an_invalid_response_is_logged_with_its_line():
    call = asked()
    call.tell(Fetched(200, b"<Response>\n<Hangup/>\n<Nothing/></Response>"))
    assert call.errors()[0].fields["line"] == 3


def test_X4_what_is_not_understood_is_a_warning():
    call = asked()
    assert call.answer('<PlaySound speed="2">a.wav</PlaySound>') == Play("a.wav")
    assert [note.fields["reason"] for note in call.notes if note.level == "warning"] == [
        "line 1: <PlaySound>: unknown attribute 'speed'; known: where, digitvar"
    ]


def test_digits_dialled_during_the_request_are_kept():
    call = asked()
    assert call.dial("7#") is None
    assert isinstance(call.answer('<PlaySound where="background" digitvar="v">a.wav</PlaySound>'), Hangup)
    assert call.variables == {"v": "7"}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("{}", "url is missing"),
        ("{url: x}", "url: must start with http://"),
        ("{url: 'http://$h/'}", "url: variables may stand in the query only"),
        ("{url: 'http://h/', method: PUT}", "method must be GET or POST, not 'PUT'"),
        ("{url: 'http://h/', method: get}", "method must be GET or POST"),
        ("{url: 'http://h/', method: ''}", "method must be GET or POST"),
        ("{url: 'http://h/', metod: GET}", "unknown attribute 'metod'"),
        ("http://h/", "must be a mapping"),
    ],
)
def test_C4_what_is_wrong_is_told(keys: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        menu(f"- call_interactive: {keys}")


def test_C4_it_is_no_xml_action():
    with pytest.raises(ResponseError, match="unknown element <CallInteractive>"):
        parse(b'<Response><CallInteractive url="http://h/"/></Response>')


def test_R8_an_answer_of_the_fallback_runs_and_the_log_says_why_it_was_asked():
    call, _ = started(ASK)
    before = FetchFailed("timeout", "no answer in 10 s")
    command = call.tell(Fetched(200, b"<Response><PlaySound>a.wav</PlaySound></Response>", None, before))
    assert isinstance(command, Play)
    (told,) = [note for note in call.notes if note.what == "webhook_fallback"]
    assert (told.level, told.fields) == ("error", {"outcome": "timeout", "reason": "no answer in 10 s"})
