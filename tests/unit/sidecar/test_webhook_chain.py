"""A request is a chain of tries and a fallback, signed and within a deadline (W1, W2, R7, R8)."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from callinteractive.config import load_ivr_file
from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import FORM, HttpRequest, build
from callinteractive.secret import Secret
from callinteractive.web import Web
from callinteractive.webhook_signature import key_of, sign
from sidecar.webhook import Webhook

HOST = "127.9.0.6"
SECRET = base64.b64encode(b"k" * 32).decode()
GOOD = b"<Response><Hangup/></Response>"
NEVER = None


@dataclass
class Application:
    """Answers in turn with a status, a body or not at all; the last one again and again."""

    url: str = ""
    plan: list[Any] = field(default_factory=lambda: [GOOD])
    seen: list[tuple[web.BaseRequest, bytes]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append((request, await request.read()))
        what = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if what is NEVER:
            await asyncio.Event().wait()
        if isinstance(what, str):
            return web.Response(status=307, headers={"Location": what})
        return web.Response(status=what) if isinstance(what, int) else web.Response(body=what)

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request, _ in self.seen]


@pytest.fixture
async def application() -> AsyncIterator[Callable[..., Any]]:
    """Start an application with its plan."""
    runners = []

    async def start(*plan: Any) -> Application:
        own = Application(plan=list(plan) or [GOOD])
        runner = web.ServerRunner(web.Server(own.answer), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        own.url = f"http://{HOST}:{runner.addresses[0][1]}"
        return own

    yield start
    for runner in runners:
        await runner.cleanup()


def asking(url: str, method: str = "GET", **web_keys: Any) -> HttpRequest:
    made = build(url, method, {"CallID": "1:2"}, {})
    return replace(made, id="ab-1", timeout_s=5, web=Web(**web_keys))


async def test_W1_each_request_is_signed_over_what_is_sent(webhook, application):
    app = await application()
    secrets = (Secret(SECRET), Secret(f"whsec_{base64.b64encode(b'o' * 24).decode()}"))
    for method in ("GET", "POST"):
        await webhook.fetch(asking(f"{app.url}/menu?x=%2A", method, secrets=secrets))
    for request, body in app.seen:
        payload = body or request.raw_path.encode()
        at = int(request.headers["webhook-timestamp"])
        expected = sign([key_of(str(secret.text)) for secret in secrets], "ab-1", at, payload)
        assert request.headers["webhook-signature"] == expected["webhook-signature"]
    assert app.seen[0][0].raw_path == "/menu?x=%2A&CallID=1%3A2"


async def test_W1_a_request_without_secrets_has_no_signature(webhook, application):
    app = await application()
    await webhook.fetch(asking(app.url))
    assert not {"webhook-signature", "webhook-timestamp"} & {name.lower() for name in app.seen[0][0].headers}


async def test_W1_where_a_secret_is_missing_nothing_is_sent(webhook, application, monkeypatch):
    app = await application()
    failed = await webhook.fetch(asking(app.url, secrets=(Secret(variable="NO_SUCH_SECRET"),)))
    assert failed == FetchFailed("secret", "not sent: the environment has no variable NO_SUCH_SECRET")
    monkeypatch.setenv("BAD_SECRET", "hush")
    failed = await webhook.fetch(asking(app.url, secrets=(Secret(variable="BAD_SECRET"),)))
    assert failed.outcome == "secret"
    assert "BAD_SECRET" in failed.reason
    assert "hush" not in failed.reason
    assert not app.seen


async def test_W1_a_secret_may_change_with_the_next_configuration(webhook, application, monkeypatch):
    app = await application()
    text = "web: {headers: {X-Key: {env: KEY_OF_TEST}}}\nivrs: [{number: '000*1', id: 1, entry_context: 1}]\n"
    ivr_file = load_ivr_file(text + "contexts: {1: {options: {start: [hangup]}}}", "ivr.yaml")
    request = replace(asking(app.url), web=ivr_file.ivrs[0].web)
    for key in ("one", "two"):
        monkeypatch.setenv("KEY_OF_TEST", key)
        assert webhook.learn(ivr_file) == []
        await webhook.fetch(request)
    assert [request.headers["X-Key"] for request, _ in app.seen] == ["one", "two"]
    monkeypatch.delenv("KEY_OF_TEST")
    assert webhook.learn(ivr_file) == ["IVR 000*1: web: the environment has no variable KEY_OF_TEST"]
    assert isinstance(await webhook.fetch(request), Fetched)  # the last good one goes on


async def test_W2_headers_and_basic_authentication(webhook, application):
    app = await application()
    headers = (("X-Api-Key", Secret("k")), ("user-agent", Secret("mine")), ("authorization", Secret("Bearer b")))
    await webhook.fetch(asking(app.url, headers=headers))
    await webhook.fetch(asking(app.url.replace("://", "://us%65r:p%40ss%3A@"), headers=headers))
    first, second = (request.headers for request, _ in app.seen)
    assert (first["X-Api-Key"], first.getall("User-Agent")) == ("k", ["mine"])
    assert first.getall("Authorization") == ["Bearer b"]
    assert second.getall("Authorization") == ["Basic " + base64.b64encode(b"user:p@ss:").decode()]


async def test_W2_another_origin_learns_no_secret_by_a_redirect(webhook, application):
    other = await application()
    app = await application(f"{other.url}/there?a=1", GOOD)
    request = asking(app.url.replace("://", "://u:p@"), "POST", headers=(("X-Key", Secret("k")),))
    assert (await webhook.fetch(replace(request, follow_redirects=True))).status == 200
    [(there, body)] = other.seen
    assert body == b"CallID=1%3A2"
    assert there.headers["Content-Type"] == FORM
    assert not {"X-Key", "Authorization"} & set(there.headers)
    assert app.seen[0][0].headers["X-Key"] == "k"


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_a_redirect_of_a_post(webhook, application, status, method):
    app = await application()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        app.seen.append((request, await request.read()))
        return web.Response(status=status, headers={"Location": "/b c#x"}) if len(app.seen) == 1 else web.Response()

    app.answer = answer  # type: ignore[method-assign]
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    request = asking(f"http://{HOST}:{runner.addresses[0][1]}/a?x", "POST", secrets=(Secret(SECRET),))
    try:
        assert (await webhook.fetch(replace(request, follow_redirects=True))).status == 200
    finally:
        await runner.cleanup()
    arrived, body = app.seen[1]
    assert (arrived.method, arrived.raw_path) == (method, "/b%20c")
    assert body == (b"" if method == "GET" else b"CallID=1%3A2")
    payload = body or b"/b%20c"
    at = int(arrived.headers["webhook-timestamp"])
    assert arrived.headers["webhook-signature"] == sign([key_of(SECRET)], "ab-1", at, payload)["webhook-signature"]


@pytest.mark.parametrize("trouble", [500, 503])
async def test_R7_retries_have_the_same_id(webhook, application, trouble):
    app = await application(trouble, trouble, GOOD)
    assert await webhook.fetch(asking(app.url, retries=2)) == Fetched(200, GOOD, "application/octet-stream")
    assert app.ids == ["ab-1"] * 3


@pytest.mark.parametrize(("plan", "tries"), [([500], 3), ([404], 1), ([302], 1), ([b"no XML"], 1)])
async def test_R7_what_is_tried_again_and_how_often(webhook, application, plan, tries):
    app = await application(*plan)
    await webhook.fetch(asking(app.url, retries=2))
    assert len(app.seen) == tries


async def test_R7_without_retries_a_request_is_sent_once(webhook, application):
    app = await application(500, GOOD)
    assert (await webhook.fetch(asking(app.url))).status == 500


async def test_R7_silence_and_refusal_are_tried_again(webhook, application):
    app = await application(NEVER, GOOD)
    request = replace(asking(app.url, retries=9), timeout_s=0.2)  # on a busy machine an answer may come too late
    assert isinstance(await webhook.fetch(request), Fetched)
    assert len(app.ids) > 1
    assert set(app.ids) == {"ab-1"}
    failed = await webhook.fetch(asking("http://127.9.0.6:1/", retries=2))
    assert failed.outcome == "unreachable"
    assert failed.reason.endswith("at the last of 3 tries")


async def test_R7_one_deadline_for_all_tries(webhook, application):
    app = await application(NEVER)
    request = replace(asking(app.url, retries=5, deadline_s=0.7), timeout_s=0.3)
    assert (await webhook.fetch(request)).outcome == "timeout"
    assert len(app.seen) == 2  # 0.3, a pause of 0.1, 0.3: no time is left for a third


def with_fallback(url: str, fallback: str, method: str = "GET", **web_keys: Any) -> HttpRequest:
    return replace(asking(url, method, **web_keys), fallback=asking(fallback, method, **web_keys))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("plan", "code"), [([404], "404"), ([500], "500"), ([b"<Dial/>"], "invalid"), ([b"x" * 70_000], "too_large")]
)
async def test_R8_the_fallback_is_asked_when_the_url_has_failed(webhook, application, plan, code, method):
    app, fallback = await application(*plan), await application(GOOD)
    answer = await webhook.fetch(with_fallback(app.url, fallback.url, method))
    assert (answer.status, answer.body) == (200, GOOD)
    assert answer.before.outcome == ("status" if code.isdigit() else code)
    [(request, body)] = fallback.seen
    sent = body.decode() if method == "POST" else request.raw_path.partition("?")[2]
    assert sent == f"CallID=1%3A2&ErrorCode={code}"


async def test_R8_a_good_answer_needs_no_fallback(webhook, application):
    for good in (b"", GOOD):
        app, fallback = await application(good), await application(GOOD)
        assert (await webhook.fetch(with_fallback(app.url, fallback.url))).before is None
        assert not fallback.seen


async def test_R8_both_fail(webhook, application):
    app = await application(500)
    failed = await webhook.fetch(with_fallback(app.url, "http://127.9.0.6:1/"))
    assert failed.outcome == "unreachable"
    assert failed.reason.startswith("HTTP status 500; fallback_url: ")


async def test_R8_the_deadline_counts_for_the_fallback_too(webhook, application):
    app, fallback = await application(NEVER), await application(NEVER)
    request = replace(with_fallback(app.url, fallback.url, deadline_s=0.5), timeout_s=0.3)
    request = replace(request, fallback=replace(request.fallback, timeout_s=30))
    async with asyncio.timeout(10):  # one request of the fallback alone could take 30 s
        failed = await webhook.fetch(request)
    assert failed.outcome == "timeout"
    assert len(fallback.seen) == 1


async def test_a_silent_application_costs_one_caller_its_time(webhook, application):
    app, fallback = await application(NEVER, GOOD), await application(GOOD)
    request = replace(asking(app.url), timeout_s=0.3)
    assert (await webhook.fetch(request)).outcome == "timeout"
    failed = await webhook.fetch(request)
    assert failed.outcome == "breaker"
    assert app.url in failed.reason
    answer = await webhook.fetch(replace(request, fallback=asking(fallback.url)))
    assert answer.before.outcome == "breaker"
    assert len(app.seen) == 1
    now = webhook._breakers.clock
    webhook._breakers.clock = lambda: now() + 1
    assert isinstance(await webhook.fetch(request), Fetched)
    webhook._breakers.clock = now
    assert isinstance(await webhook.fetch(request), Fetched)


async def test_the_breaker_can_be_off(webhook, application):
    app = await application(NEVER)
    request = replace(asking(app.url, breaks=False), timeout_s=0.1)
    assert [(await webhook.fetch(request)).outcome for _ in range(2)] == ["timeout", "timeout"]


async def test_only_allowed_hosts_are_asked_also_by_a_redirect(webhook, application):
    app = await application("http://127.0.0.1:1/")
    request = replace(asking(app.url, allow_hosts=(HOST,)), follow_redirects=True)
    failed = await webhook.fetch(request)
    reason = "not sent: allow_hosts does not name 127.0.0.1; redirected to http://127.0.0.1:1/"
    assert failed == FetchFailed("forbidden", reason)
    assert len(app.seen) == 1
    assert (await webhook.fetch(replace(request, web=Web(allow_hosts=("*.example.com",))))).outcome == "forbidden"
    assert len(app.seen) == 1


@pytest.mark.parametrize("host", [HOST, "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_private_addresses_can_be_closed(webhook, scheme, host):
    failed = await webhook.fetch(asking(f"{scheme}://{host}:9/", allows_private=False))
    # aiohttp takes no decimal number for a host at all
    assert failed.outcome == "forbidden" or (host.isdigit() and failed.outcome == "protocol")


async def test_a_connection_to_a_private_address_is_not_used_by_who_may_not(webhook, application):
    app = await application()
    assert isinstance(await webhook.fetch(asking(app.url)), Fetched)
    assert (await webhook.fetch(asking(app.url, allows_private=False))).outcome == "forbidden"
    assert len(app.seen) == 1


async def test_secrets_in_files_are_beside_site_yaml(application, tmp_path):
    app = await application()
    (tmp_path / "key").write_text("from a file\n")
    async with Webhook(folder=tmp_path) as webhook:
        await webhook.fetch(asking(app.url, headers=(("X-Key", Secret(file="key")),)))
        failed = await webhook.fetch(asking(app.url, headers=(("X-Key", Secret(file="none")),)))
    assert app.seen[0][0].headers["X-Key"] == "from a file"
    assert failed.reason == "not sent: none: No such file or directory"


async def test_a_secret_in_a_file_is_whole_or_refused(application, tmp_path):
    app = await application()
    async with Webhook(folder=tmp_path) as webhook:
        for length in (4096, 4097, 50_000):
            (tmp_path / f"{length}").write_text("x" * length + "\r\n")
            request = asking(app.url, headers=(("X-Key", Secret(file=f"{length}")),))
            told = await webhook.fetch(request)
            assert isinstance(told, Fetched) == (length == 4096)
    assert [len(asked.headers["X-Key"]) for asked, _ in app.seen] == [4096]


async def test_a_pipe_that_nobody_writes_to_holds_up_no_call(application, tmp_path):
    app = await application()
    os.mkfifo(tmp_path / "pipe")
    request = asking(app.url, headers=(("X-Key", Secret(file="pipe")),))
    async with Webhook(folder=tmp_path) as webhook:
        assert (await webhook.fetch(request)).reason == "not sent: pipe is empty"
        descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
        assert (await webhook.fetch(request)).outcome == "secret"
        os.write(descriptor, b"from a pipe\n")
        await webhook.fetch(request)
        os.close(descriptor)
    assert [asked.headers["X-Key"] for asked, _ in app.seen] == ["from a pipe"]
