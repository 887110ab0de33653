"""How a call of a test reaches the web application: in process, and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import flask
import pytest

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import FORM, MAX_URL, HttpRequest
from callinteractive.response import MAX_BODY
from callinteractive.secret import Secret
from callinteractive.testing import Request
from callinteractive.testing.web import Web, web_of
from callinteractive.web import Web as Web_
from examples.webhooks.webhook_signature import verify

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
REQUESTS: list[Request] = []
"""What `ask` has told of."""
GET = HttpRequest("GET", "http://shop.example:8000/a?number=000%2A332&n=1", id="abc-1")
POST = HttpRequest("POST", "http://shop.example/a?number=1", b"CallerIDNum=%2B1", FORM)
SEEN = b"POST /a?number=1 callinteractive application/xml, text/xml CallerIDNum=%2B1"


def in_flask() -> flask.Flask:
    app = flask.Flask("shop")

    @app.route("/a", methods=["GET", "POST"])
    def seen() -> flask.Response:
        request = flask.request
        text = f"{request.method} {request.full_path.rstrip('?')} {request.user_agent} {request.headers['Accept']} "
        answer = flask.Response(text.encode() + request.get_data(), content_type="text/xml")
        answer.set_cookie("visits", request.cookies.get("visits", "") + "x")
        answer.headers["X-Cookie"] = request.headers.get("Cookie", "")
        return answer

    @app.get("/away")
    def away() -> Any:
        return flask.redirect("/a" if "far" not in flask.request.args else "/away?far=1")

    return app


async def in_asgi(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    path = f"{scope['path']}?{scope['query_string'].decode()}"
    text = f"{scope['method']} {path} {headers['user-agent']} {headers['accept']} "
    kind = [(b"content-type", b"text/xml")]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    await send({"type": "http.response.body", "body": text.encode() + body})


class InServer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = f"POST {self.path} {self.headers['User-Agent']} {self.headers['Accept']} ".encode() + body
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """A test is quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), InServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def ask() -> Iterator[Callable[[Any, HttpRequest], Fetched | FetchFailed]]:
    webs: list[Web] = []
    REQUESTS.clear()

    def ask(application: Any, request: HttpRequest) -> Fetched | FetchFailed:
        webs.append(web_of(application))
        webs[-1].read_secret = lambda secret: secret.read({"KEY": KEY, "BAD": "?"}, str)
        return webs[-1].fetch(request, REQUESTS.append)

    yield ask
    for web in webs:
        web.close()


@pytest.mark.parametrize("application", [in_flask(), in_flask, in_asgi], ids=["WSGI", "factory", "ASGI"])
def test_an_application_in_process_sees_what_it_sees_over_http(ask: Any, application: Any) -> None:
    assert ask(application, POST) == Fetched(200, SEEN, "text/xml")


async def test_ASGI_needs_no_event_loop_of_the_test_and_bears_one(ask: Any) -> None:
    assert ask(in_asgi, POST) == Fetched(200, SEEN, "text/xml")


def test_a_server_is_asked_in_place_of_the_ivrs(ask: Any, server: str) -> None:
    assert ask(server + "/", POST) == Fetched(200, SEEN, "text/xml")
    in_capitals = replace(POST, url="HTTP" + POST.url.removeprefix("http"))
    assert ask(server, in_capitals) == Fetched(200, SEEN, "text/xml")


def test_without_an_application_the_ivrs_urls_are_asked(ask: Any, server: str) -> None:
    request = HttpRequest("POST", f"{server}/a?number=1", b"CallerIDNum=%2B1", FORM)
    assert ask(None, request) == Fetched(200, SEEN, "text/xml")


def test_R3_what_is_encoded_stays_so(ask: Any) -> None:
    seen: list[Request] = []
    assert ask(seen.append, GET) == Fetched(204, b"", None)
    assert seen[0].url == GET.url
    assert seen[0].query == {"number": "000*332", "n": "1"}
    assert seen[0].headers["webhook-id"] == "abc-1"
    assert b"number=000%2A332" in ask(in_flask(), GET).body


def test_a_caller_does_not_send_the_cookies_of_another(ask: Any) -> None:
    web = web_of(in_flask())
    assert [web.send(GET, {}).headers["X-Cookie"] for _ in range(2)] == ["", ""]
    web.close()


@pytest.mark.parametrize(
    ("answer", "fetched"),
    [
        ("<Response/>", Fetched(200, b"<Response/>", "application/xml; charset=utf-8")),
        (b"\xff", Fetched(200, b"\xff", "application/xml")),
        ((503, "no"), Fetched(503, b"no", "application/xml; charset=utf-8")),
        (404, Fetched(404, b"", None)),
        (None, Fetched(204, b"", None)),
    ],
)
def test_a_function_is_an_application(ask: Any, answer: Any, fetched: Fetched) -> None:
    assert ask(lambda _: answer, POST) == fetched


def test_a_function_that_answers_something_else_is_told(ask: Any) -> None:
    with pytest.raises(TypeError, match=r"the application answers \['x'\]: it must be the XML"):
        ask(lambda _: ["x"], POST)


def test_an_application_that_fails_fails_the_test(ask: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        ask(lambda _: str(1 // 0), POST)
    with pytest.raises(ValueError, match="invalid literal"):
        ask(lambda _: str(int("x")), POST)


def slow(request: Request) -> str:
    raise TimeoutError


def dead(request: Request) -> str:
    raise ConnectionRefusedError("refused")


@pytest.mark.parametrize(
    ("application", "request_", "outcome"),
    [
        (slow, POST, "timeout"),
        (dead, POST, "unreachable"),
        ("http://127.0.0.1:1", POST, "unreachable"),
        (None, HttpRequest("GET", "http://127.0.0.1:1\x01/"), "protocol"),
        (lambda _: "x" * (MAX_BODY + 1), POST, "too_large"),
        (lambda _: None, HttpRequest("GET", "http://x/?" + "x" * MAX_URL), "too_long"),
        (in_flask(), HttpRequest("GET", "http://x/away?far=1", follow_redirects=True), "redirect"),
    ],
)
def test_R5_what_fails_is_what_a_call_is_told(ask: Any, application: Any, request_: HttpRequest, outcome: str) -> None:
    failed = ask(application, request_)
    assert isinstance(failed, FetchFailed)
    assert failed.outcome == outcome


def four_arguments(a: int, b: int, c: int, d: int) -> None:
    """No application."""


@pytest.mark.parametrize("follows", [True, False])
def test_R5_redirects_are_followed_where_the_ivr_says_so(ask: Any, follows: bool) -> None:
    answer = ask(in_flask(), HttpRequest("GET", "http://x/away", follow_redirects=follows))
    assert answer.status == (200 if follows else 302)


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        (7, "7 is no web application: it cannot be called"),
        (four_arguments, "this takes 4 arguments"),
        ("127.0.0.1:5000", "write it as http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/app", "write it as http://127.0.0.1:5000"),
    ],
)
def test_what_is_no_application(application: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        web_of(application)


SIGNED = Web_(secrets=(Secret(variable="KEY"),), headers=(("X-Api-Key", Secret(text="abc")),))


def test_W1_requests_are_signed_as_applications_verify_them(ask: Any) -> None:
    app = flask.Flask("shop")

    @app.route("/a", methods=["GET", "POST"])
    def check() -> tuple[str, int]:
        request = flask.request
        payload = request.get_data() if request.method == "POST" else request.environ["RAW_URI"].encode()
        assert request.headers["X-Api-Key"] == "abc"
        return "", 204 if verify([KEY], request.headers, payload) else 401

    for request in (GET, replace(POST, id="abc-2")):
        assert ask(app, replace(request, web=SIGNED)).status == 204
        assert REQUESTS[-1].headers["webhook-signature"].startswith("v1,")
    assert (
        ask(app, replace(GET, web=replace(SIGNED, secrets=(Secret(text=KEY[::-1].lstrip("=")),)))).outcome == "secret"
    )


def test_W2_a_password_of_the_url_is_sent(ask: Any) -> None:
    ask(lambda _: None, replace(GET, authorization="Basic eDp5"))
    assert REQUESTS[0].headers["Authorization"] == "Basic eDp5"


def test_R7_a_request_is_sent_again_as_often_as_the_ivr_says(ask: Any) -> None:
    answers: list[Any] = [TimeoutError, 503, "<Response/>"]

    def app(_: Request) -> Any:
        answer = answers.pop(0)
        if answer is TimeoutError:
            raise TimeoutError
        return answer

    assert ask(app, replace(GET, web=Web_(retries=5))).body == b"<Response/>"
    assert [(request.status, request.failure) for request in REQUESTS] == [
        (0, "no answer within 10 s"),
        (503, ""),
        (200, ""),
    ]
    assert {request.headers["webhook-id"] for request in REQUESTS} == {"abc-1"}
    assert ask(lambda _: 503, replace(GET, web=Web_(retries=1))).status == 503
    assert ask(lambda _: 404, replace(GET, web=Web_(retries=1))).status == 404
    assert [request.status for request in REQUESTS[3:]] == [503, 503, 404]


@pytest.mark.parametrize(("answer", "code"), [(404, "404"), ("<Hello/>", "invalid"), (dead, "unreachable")])
def test_R8_the_fallback_is_asked(ask: Any, answer: Any, code: str) -> None:
    def app(request: Request) -> Any:
        if request.path == "/fallback":
            return "<Response/>"
        return answer(request) if callable(answer) else answer

    fallback = HttpRequest("GET", "http://backup.example/fallback?ErrorUrl=x")
    fetched = ask(app, replace(GET, fallback=fallback))
    assert fetched.body == b"<Response/>"
    assert fetched.before is not None
    assert REQUESTS[1]["ErrorCode"] == code


def test_R8_a_fallback_may_fail_and_may_not_be_needed(ask: Any) -> None:
    fallback = HttpRequest("GET", "http://backup.example/fallback?ErrorUrl=x")
    failed = ask(dead, replace(GET, fallback=fallback))
    assert failed == FetchFailed("unreachable", "refused; fallback_url: refused")
    assert ask(lambda _: "<Response/>", replace(GET, fallback=fallback)).before is None


def test_hosts_that_may_not_be_asked(ask: Any) -> None:
    web = Web_(allow_hosts=("shop.example",))
    assert ask(lambda _: 204, replace(GET, web=web)).status == 204
    failed = ask(lambda _: 204, replace(GET, url="http://other.example/", web=web))
    assert failed == FetchFailed("forbidden", "not sent: allow_hosts does not name other.example")


def test_a_secret_that_is_not_there(ask: Any) -> None:
    failed = ask(lambda _: 204, replace(GET, web=Web_(secrets=(Secret(variable="ABSENT"),))))
    assert failed == FetchFailed("secret", "not sent: the environment has no variable ABSENT")
    assert "is not base64" in ask(lambda _: 204, replace(GET, web=Web_(secrets=(Secret(variable="BAD"),)))).reason


def test_a_redirect_to_no_url(ask: Any) -> None:
    app = flask.Flask("shop")
    app.add_url_rule("/a", view_func=lambda: ("", 302, {"Location": "ftp://x/"}))
    assert ask(app, replace(GET, follow_redirects=True)).outcome == "protocol"


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("to", ["/a?name=日本".encode(), b"/a?name=\xe9"])
def test_a_redirect_whose_location_is_not_ascii(ask: Any, follows: bool, to: bytes) -> None:
    async def away(scope: Any, _receive: Any, send: Any) -> None:
        status = 204 if scope["path"] == "/a" else 302
        await send({"type": "http.response.start", "status": status, "headers": [(b"location", to)]})
        await send({"type": "http.response.body", "body": b""})

    answer = ask(away, HttpRequest("GET", "http://x/away", follow_redirects=follows))
    assert (answer.status, answer.redirected_to) == (204 if follows else 302, "http://x/a?…")
