"""How the web application is asked: headers, and what an answer leads to. Sidecars and tests of scripts do the same."""

from __future__ import annotations

import pytest

from callinteractive.asking import (
    Credentials,
    after_fallback,
    credentials_of,
    failure_of,
    headers_of,
    may_be_better,
    to_fallback,
    why_not_sent,
)
from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import FORM, MAX_URL, HttpRequest
from callinteractive.secret import Secret, SecretError
from callinteractive.web import Web
from callinteractive.webhook_signature import sign

URL = "http://h/x?a=%2A"
TIMEOUT = FetchFailed("timeout", "no answer within 10 s")
KEY = "whsec_" + "A" * 32


def read(secret: Secret) -> str:
    return {"KEY": KEY, "BAD": "whsec_x", "LETTERS": "\u043alyuch", "NAME": "mine"}[secret.variable]


def secret(variable: str) -> Secret:
    return Secret(variable=variable)


def test_W2_a_configured_header_takes_the_place_of_ours_however_it_is_written():
    credentials = credentials_of(Web(headers=(("ACCEPT", secret("NAME")), ("X-Own", secret("NAME")))), read)
    headers = headers_of(HttpRequest("GET", URL), "/x?a=%2A", credentials, 0)
    assert headers == {
        "User-Agent": "callinteractive", "Accept-Encoding": "identity", "ACCEPT": "mine", "X-Own": "mine",
    }  # fmt: skip


def test_W2_the_password_of_a_url_counts_more_than_a_configured_one():
    credentials = credentials_of(Web(headers=(("authorization", secret("NAME")),)), read)
    headers = headers_of(HttpRequest("GET", URL, authorization="Basic x"), "/x", credentials, 0)
    assert [value for name, value in headers.items() if name.lower() == "authorization"] == ["Basic x"]


@pytest.mark.parametrize("body", [None, b"a=1"])
def test_W1_what_is_signed_is_the_target_of_a_get_and_the_body_of_a_post(body: bytes | None):
    credentials = credentials_of(Web(secrets=(secret("KEY"),)), read)
    request = HttpRequest("GET", URL, body, body and FORM, id="c-1")
    headers = headers_of(request, "/x?a=%2A", credentials, 1_795_671_721)
    assert headers["webhook-id"] == "c-1"
    assert sign(credentials.keys, "c-1", 1_795_671_721, body or b"/x?a=%2A").items() <= headers.items()
    assert headers.get("Content-Type") == (FORM if body else None)


def test_a_request_without_an_id_is_not_signed():
    headers = headers_of(HttpRequest("GET", URL), "/x", credentials_of(Web(secrets=(secret("KEY"),)), read), 0)
    assert not [name for name in headers if name.startswith("webhook-")]


@pytest.mark.parametrize(
    "web", [Web(secrets=(secret("BAD"),)), Web(headers=(("X", secret("LETTERS")),))], ids=["key", "header"]
)
def test_what_a_secret_cannot_be_is_told_with_its_place_and_without_itself(web: Web):
    with pytest.raises(SecretError) as raised:
        credentials_of(web, read)
    assert any(name in str(raised.value) for name in ("BAD", "LETTERS"))
    assert not any(text in str(raised.value) for text in ("whsec_x", "lyuch"))


def test_secrets_are_not_shown():
    assert "abc" not in repr(Credentials((b"abc",), {"X": "abc"}))


def test_a_url_that_is_too_long_is_not_sent():
    assert why_not_sent(HttpRequest("GET", "x" * MAX_URL)) is None
    failed = why_not_sent(HttpRequest("GET", "x" * (MAX_URL + 1)))
    assert failed is not None
    assert (failed.outcome, str(MAX_URL + 1) in failed.reason) == ("too_long", True)


@pytest.mark.parametrize(
    ("answer", "outcome", "code", "may_help"),
    [
        (Fetched(200, b"<Response/>"), None, None, False),
        (Fetched(204, b""), None, None, False),
        (Fetched(200, b"<Respons/>"), "invalid", "invalid", False),
        (Fetched(404, b"<Response/>"), "status", "404", False),
        (Fetched(503, b""), "status", "503", True),
        (TIMEOUT, "timeout", "timeout", True),
        (FetchFailed("unreachable", "x"), "unreachable", "unreachable", True),
        (FetchFailed("status", "x"), "status", "status", False),
        (FetchFailed("too_large", "x"), "too_large", "too_large", False),
    ],
)
def test_R7_R8_what_an_answer_leads_to(answer, outcome, code, may_help):
    failure = failure_of(answer)
    assert (failure and failure.outcome) == outcome
    assert may_be_better(answer) is may_help
    if failure is not None:
        asked = to_fallback(HttpRequest("GET", "http://fallback/?b=1"), answer, failure)
        assert asked.url == f"http://fallback/?b=1&ErrorCode={code}"


def test_R8_what_the_script_is_told_after_the_fallback():
    assert after_fallback(TIMEOUT, Fetched(200, b"x")) == Fetched(200, b"x", None, TIMEOUT)
    failed = after_fallback(TIMEOUT, FetchFailed("unreachable", "refused" * 100))
    assert isinstance(failed, FetchFailed)
    assert failed.outcome == "unreachable"
    assert failed.reason.startswith("no answer within 10 s; fallback_url: refused")
    assert len(failed.reason) == 400
