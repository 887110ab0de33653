"""The webhook client against real HTTP servers on loopback, well-behaved and not (R1, R3, R5, X3)."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import aiohappyeyeballs
import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from callinteractive.asking import failure_of
from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import FORM, MAX_URL, HttpRequest
from callinteractive.web import Web
from sidecar.connections import in_a_line
from sidecar.eager import begin
from tests.support.certificates import Authority
from tests.support.timing import PATIENT_S

HOST = "127.9.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Start an HTTP server for a handler; returns its base URL."""
    runners = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        return f"http://{HOST}:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def speak() -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """Start a server that answers these octets to whatever comes, then closes."""
    servers = []

    async def start(octets: bytes) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(octets)
            writer.close()

        server = await asyncio.start_server(answer, HOST, 0)
        servers.append(server)
        return f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()


async def test_R3_query_and_body_are_sent_octet_by_octet(webhook, serve):
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.raw_path, await request.read(), request.headers.get("Content-Type")))
        return web.Response(text="<Response/>")

    url = await serve(answer)
    ok = Fetched(200, b"<Response/>", "text/plain; charset=utf-8")
    path = "/x?a=000%2A306&b=1%3A5&c=a+b%26%3D&d=%D0%98"
    assert await webhook.fetch(HttpRequest("GET", url + path)) == ok
    assert await webhook.fetch(HttpRequest("POST", url + path, b"CallID=1%3A2", FORM)) == ok
    assert seen == [("GET", path, b"", None), ("POST", path, b"CallID=1%3A2", FORM)]


async def test_the_connection_is_kept_and_cookies_are_not(webhook, serve):
    peers, cookies = set(), []

    async def answer(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "caller=1"})

    url = await serve(answer)
    for _ in range(3):
        await webhook.fetch(HttpRequest("GET", url))
    assert len(peers) == 1
    assert cookies == [None] * 3


async def test_requests_of_calls_at_the_same_time(webhook, serve):
    """A call's task is none of asyncio's."""
    got, silent = {}, asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        number = request.query["number"]
        if number in got:  # the second round goes by kept connections
            await silent.wait()
        return web.Response(text=number)

    async def ask(number: str, timeout_s: float) -> None:
        got[number] = await webhook.fetch(HttpRequest("GET", f"{url}/?number={number}", timeout_s=timeout_s))

    url = await serve(answer)
    await asyncio.gather(*[begin(ask(number, 10)).ended() for number in "abc"])
    assert {number: fetched.body for number, fetched in got.items()} == {"a": b"a", "b": b"b", "c": b"c"}
    cancelled, *_ = tasks = [begin(ask("a", 60)), begin(ask("b", 0.1)), begin(ask("d", 60))]
    await asyncio.gather(*[task.ended() for task in tasks[1:]])
    cancelled.cancel()
    await cancelled.ended()
    assert (cancelled.cancelled(), got["b"], got["d"].body) == (True, TOO_LATE, b"d")
    silent.set()


TOO_LATE = FetchFailed("timeout", "no answer within 0.1 s")


async def test_R5_a_slow_answer_ends_at_the_timeout(webhook, serve):
    async def never(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    failed = await webhook.fetch(HttpRequest("GET", await serve(never), timeout_s=0.1))
    assert failed == FetchFailed("timeout", "no answer within 0.1 s")


async def test_R5_a_connection_that_nobody_takes_ends_at_its_own_timeout(webhook, monkeypatch):
    async def never(*_arguments: object, **_options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", never)
    failed = await webhook.fetch(HttpRequest("GET", f"http://{HOST}:9/", connect_timeout_s=0.1))
    assert failed == FetchFailed("timeout", "no connection within 0.1 s")


async def test_R5_the_timeout_of_the_connection_does_not_bound_the_answer(webhook, serve, monkeypatch):
    loop = asyncio.get_running_loop()

    async def late(_request: web.Request) -> web.Response:
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 10)
        await asyncio.sleep(0.001)  # all timers of these 10 s are due before it
        return web.Response(text="late")

    answered = await webhook.fetch(HttpRequest("GET", await serve(late), timeout_s=60, connect_timeout_s=5))
    assert answered == Fetched(200, b"late", "text/plain; charset=utf-8")


async def test_E3_what_is_no_http_shows_no_url(webhook, speak):
    url = await speak(b"HTTP/1.1 nonsense\r\n\r\n")
    failed = await webhook.fetch(HttpRequest("GET", f"{url}?pin=12%2A4"))
    assert failed.outcome == "protocol"
    assert "12%2A4" not in failed.reason


async def test_R5_a_body_that_trickles_ends_at_the_timeout(webhook, serve):
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    failed = await webhook.fetch(HttpRequest("GET", await serve(trickle), timeout_s=0.2))
    assert isinstance(failed, FetchFailed)
    assert failed.outcome == "timeout"


@pytest.mark.parametrize(("length", "outcome"), [(64 * 1024, None), (64 * 1024 + 1, "too_large")])
async def test_R5_a_body_over_64_KiB_is_refused(webhook, serve, length, outcome):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * length)

    answered = await webhook.fetch(HttpRequest("GET", await serve(answer)))
    assert getattr(answered, "outcome", None) == outcome


@pytest.mark.parametrize("status", [302, 404, 500])
@pytest.mark.parametrize("length", [64 * 1024, 64 * 1024 + 1, 1024 * 1024])
async def test_of_a_long_error_page_the_status_counts(webhook, serve, status, length):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=b"x" * length)

    answered = await webhook.fetch(HttpRequest("GET", await serve(answer)))
    assert (answered.status, answered.body) == (status, b"x" * 64 * 1024)


@pytest.mark.parametrize(("length", "outcome"), [(MAX_URL, None), (MAX_URL + 1, "too_long")])
async def test_a_url_that_variables_make_too_long_is_not_sent(webhook, serve, length, outcome):
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    url = await serve(answer) + "?a="
    answered = await webhook.fetch(HttpRequest("GET", url.ljust(length, "x")))
    assert getattr(answered, "outcome", None) == outcome
    assert len(asked) == (outcome is None)


async def test_R5_redirects_are_followed_only_when_configured(webhook, serve):
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/there":
            return web.Response(text="arrived")
        raise web.HTTPFound("/there")

    url = await serve(answer)
    arrived = Fetched(200, b"arrived", "text/plain; charset=utf-8", redirected_to=f"{url}/there")
    assert await webhook.fetch(HttpRequest("GET", url)) == Fetched(
        302, b"302: Found", "text/plain; charset=utf-8", redirected_to=f"{url}/there"
    )
    assert await webhook.fetch(HttpRequest("GET", url, follow_redirects=True)) == arrived


async def test_a_redirect_loop_ends(webhook, serve):
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/again")

    url = await serve(answer)
    failed = await webhook.fetch(HttpRequest("GET", url, follow_redirects=True))
    assert (failed.outcome, failed.reason) == ("redirect", f"more than 5 redirects; redirected to {url}/again")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/there?pin=98765#x", "HTTP status 404; redirected to {url}/there?…"),
        ("/sleep", "no answer within 0.3 s; redirected to {url}/sleep"),
        ("/not here/\xe9", "HTTP status 404; redirected to {url}/not%20here/%C3%A9"),
        (
            "/page",
            "line 1: it is an HTML page, perhaps your application's error page; an answer begins with <?xml or "
            "<Response>; redirected to {url}/page",
        ),
        ("/98765/me@home", "HTTP status 404; redirected to {url}/***/me@home"),
        (50 * "/98765", "HTTP status 404; redirected to {url}/***/***/***"),
        (
            "http://user:secret@127.9.0.1:1/a",
            "connection refused: no program listens at 127.9.0.1:1; redirected to http://127.9.0.1:1/a",
        ),
        ("http://127.9.0.7/", "not sent: allow_hosts does not name 127.9.0.7; redirected to http://127.9.0.7/"),
        ("http://user:a/secret@h/", "the redirect leads to no web address: not a URL"),
        ("http://[h#secret", "the redirect leads to no web address: "),
        (
            "ftp://h/?a",
            "the redirect leads to no web address: must start with http:// or https:// and a host; redirected to "
            "ftp://h/?…",
        ),
    ],
)
async def test_a_failure_tells_where_the_request_was_redirected_to(webhook, serve, location, reason):
    """No password, no query, nothing that the caller has dialled in secret (W2, E3)."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/sleep":
            await asyncio.sleep(PATIENT_S)
        status = 302 if request.path == "/" else 200 if request.path == "/page" else 404
        return web.Response(text="<html>", status=status, headers={"Location": location})

    url = await serve(answer)
    limits = Web(allow_hosts=(HOST, "127.9.0.1"))
    asked = HttpRequest("GET", url, follow_redirects=True, timeout_s=0.3, hidden=("98765",), web=limits)
    failed = failure_of(await webhook.fetch(asked))
    assert failed.reason.startswith(reason.format(url=url)), failed.reason
    assert "secret" not in failed.reason
    assert "98765" not in failed.reason
    assert len(failed.reason) < 300


@pytest.mark.parametrize(
    ("octets", "outcome"),
    [
        (b"", "unreachable"),
        (b"garbage\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "unreachable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y" * 50_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "protocol"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::\r\nContent-Length: 0\r\n\r\n", "protocol"),
    ],
)
async def test_X3_whatever_a_server_does_is_an_outcome(webhook, speak, octets, outcome):
    failed = await webhook.fetch(HttpRequest("GET", await speak(octets), follow_redirects=True, timeout_s=5))
    assert failed.outcome == outcome


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"hello world\r\n\r\n", "not an HTTP answer: Bad status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the connection ended in the middle"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n\x8b\x01",
            "not XML: it is compressed (br); send it as it is",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nhello", "not XML: it is compressed (gzip)"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a..b/\r\nContent-Length: 0\r\n\r\n", "the redirect leads to no"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::\r\nContent-Length: 0\r\n\r\n", "the redirect leads to no"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /%b\r\nContent-Length: 0\r\n\r\n" % (b"x" * MAX_URL),
            "the redirect leads to a URL of 80",
        ),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n", "the connection ended before the answer came"),
        (b"", "the connection ended before the answer came; is it https:// there?"),
    ],
)
async def test_X3_what_a_server_did_is_told_in_one_line(webhook, speak, octets, reason):
    failed = await webhook.fetch(HttpRequest("GET", await speak(octets), follow_redirects=True, timeout_s=5))
    assert failed.reason.startswith(reason)
    assert failed.reason.isprintable()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.9.0.1:1/", "connection refused: no program listens at 127.9.0.1:1"),
        ("https://127.9.0.1:1/", "connection refused: no program listens at 127.9.0.1:1"),
        ("http://[::1]:1/", "connection refused: no program listens at [::1]:1"),
        ("http://no-such-host.invalid/", "no address of the host no-such-host.invalid is found: "),
        ("https://no-such-host.invalid/", "no address of the host no-such-host.invalid is found: "),
    ],
)
async def test_X3_nobody_there(webhook, url, reason):
    failed = await webhook.fetch(HttpRequest("GET", url))
    assert failed.outcome == "unreachable"
    assert failed.reason.startswith(reason)
    assert "Errno" not in failed.reason


@pytest.mark.parametrize(
    ("host", "hint"), [("127.0.0.1", "may be at ::1 only"), ("[::1]", "may be at 127.0.0.1 only"), ("127.9.0.1", "")]
)
async def test_X3_localhost_has_two_addresses(webhook, host, hint):
    """Node listens at ::1 only where it is told localhost."""
    failed = await webhook.fetch(HttpRequest("GET", f"http://{host}:1/"))
    assert failed.reason.endswith(hint)
    assert ("; one that listens at localhost" in failed.reason) is bool(hint)


def test_X3_both_addresses_of_localhost_were_asked():
    both = "Multiple exceptions: [Errno 111] ('::1', 1, 0, 0), [Errno 111] ('127.0.0.1', 1)"
    assert in_a_line(ConnectionRefusedError(both)) == "connection refused: no program listens at [::1]:1"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "no TLS at {at}; is it http:// there?"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "no TLS with {at}: "),  # RFC 8446 B.2
        (b"", "{at} ended the connection before TLS began"),
    ],
    ids=["http", "alert", "nothing"],
)
async def test_X3_a_server_that_begins_no_tls(webhook, speak, octets, reason):
    url = (await speak(octets)).replace("http:", "https:")
    failed = await webhook.fetch(HttpRequest("GET", url))
    assert failed.outcome == "unreachable"
    assert failed.reason.startswith(reason.format(at=url.split("/")[2]))


async def test_X3_several_addresses_that_fail_each_in_its_way(webhook, monkeypatch):
    """As of a name that has an IPv6 address too, which this host can't reach."""
    several = OSError("Multiple exceptions: [Errno 101] there, [Errno 111] here")

    async def fail(*_args, **_named):
        raise several

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", fail)
    failed = await webhook.fetch(HttpRequest("GET", f"https://{HOST}/"))
    assert failed == FetchFailed("unreachable", "Multiple exceptions: there, here")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_X3_an_address_that_the_kernel_gives_up(webhook, monkeypatch, scheme):
    """By either way the same: where `tcp_syn_retries` is small, it does so before our own time is over."""

    async def fail(*_args, **_named):
        raise TimeoutError(errno.ETIMEDOUT, "Connect call failed")

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", fail)
    failed = await webhook.fetch(HttpRequest("GET", f"{scheme}://{HOST}/"))
    assert failed.outcome == "unreachable"
    assert "Connect call failed" in failed.reason


async def test_X3_a_certificate_that_is_not_believed(webhook, tmp_path):
    pair = Authority(tmp_path).issue("server", f"IP:{HOST}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), HOST, 0, ssl=context)
    at = f"{HOST}:{server.sockets[0].getsockname()[1]}"
    failed = await webhook.fetch(HttpRequest("GET", f"https://{at}/"))
    server.close()
    assert failed.outcome == "unreachable"
    assert failed.reason.startswith(f"the certificate of {at} is not believed: unable to get local issuer")
    assert failed.reason.endswith("; SSL_CERT_FILE can name its authority")


@pytest.mark.parametrize(
    ("code", "why", "advice"),
    [
        (18, "self-signed certificate", "; SSL_CERT_FILE can name its authority"),
        (62, "Hostname mismatch, certificate is not valid for 'ivr.example'.", ""),
        (10, "certificate has expired", ""),
    ],
)
def test_X3_an_authority_is_advised_where_it_helps(code, why, advice):
    """The codes are X509_V_ERR_* of OpenSSL."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, why
    told = in_a_line(aiohttp.ClientConnectorCertificateError(SimpleNamespace(host="ivr.example", port=443), error))
    assert told == f"the certificate of ivr.example:443 is not believed: {why.rstrip('.')}{advice}"


@pytest.mark.parametrize(
    ("octets", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n<Response/>", 204, b""),  # PHP's own server
        (b"HTTP/1.0 204 No Content\r\n\r\n<Response/>", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 11\r\n\r\n<Response/>", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: utf-8\r\n\r\n <Response/>", 200, b" <Response/>"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 500 Oops\r\nContent-Encoding: br\r\n\r\n\x8b\x01", 500, b"\x8b\x01"),
    ],
)
async def test_what_a_server_should_not_say_is_an_answer_all_the_same(webhook, speak, octets, status, body):
    answer = await webhook.fetch(HttpRequest("GET", await speak(octets), timeout_s=5))
    assert (answer.status, answer.body) == (status, body)


async def test_A15_cancelling_a_request_closes_its_connection(webhook):
    began, ended = asyncio.Event(), asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(never, HOST, 0) as server:
        url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"
        task = asyncio.create_task(webhook.fetch(HttpRequest("GET", url)))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(PATIENT_S):
            await ended.wait()


@pytest.mark.parametrize("follow_redirects", [False, True])
async def test_R7_a_request_tells_its_id(webhook, serve, follow_redirects):
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.getall("webhook-id", []))
        return web.Response()

    url = await serve(answer)
    for id_ in ("abc-1", ""):
        await webhook.fetch(HttpRequest("GET", f"{url}/", follow_redirects=follow_redirects, id=id_))
    assert seen == [["abc-1"], []]


@pytest.mark.parametrize("follow_redirects", [False, True])
async def test_a_request_tells_its_trace_where_calls_are_traced(webhook, serve, follow_redirects):
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.getall("traceparent", []))
        return web.Response()

    url = await serve(answer)
    request = HttpRequest("GET", f"{url}/", follow_redirects=follow_redirects, id="abc-1")
    await webhook.fetch(request)
    webhook.trace(lambda of: f"trace of {of}")
    await webhook.fetch(request)
    webhook.trace(lambda _of: "")
    await webhook.fetch(request)
    assert seen == [[], ["trace of abc-1"], []]


async def test_a_request_waits_until_it_is_known_whose_the_call_is(webhook, serve):
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response()

    url = await serve(answer)
    webhook._gate.until = 0.0  # this process was asleep
    fetching = asyncio.create_task(webhook.fetch(HttpRequest("GET", url, timeout_s=5, connect_timeout_s=2)))
    await asyncio.sleep(0.05)
    assert not seen
    webhook._gate.reopen(float("inf"))
    assert isinstance(await fetching, Fetched)
    assert len(seen) == 1


async def test_whatever_fails_here_is_an_outcome_too(webhook, serve, monkeypatch):
    async def broken(*_what):
        raise TypeError("compiled code expects another class")

    monkeypatch.setattr("sidecar.sender.exchange", broken)
    with capture_logs() as lines:
        outcome = await webhook.fetch(HttpRequest("GET", "http://127.9.0.1:9/"))
    assert isinstance(outcome, FetchFailed)
    assert outcome.outcome == "protocol"
    assert [(line["event"], line["exc_info"]) for line in lines] == [("a request failed", True)]
