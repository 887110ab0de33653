"""What a sidecar tells of its calls over HTTP, and whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar import sip
from sidecar.call.call import Call
from sidecar.http_api import ApiError
from sidecar.live import SHORTEST_ID, Live, token_of
from tests.unit.call.harness import FACTS, Harness

KEY = bytes(16)
AUTHORIZATION = {"Authorization": f"Bearer {token_of(KEY)}"}
RULES = '[play_sound: {file: a.wav}, pause: {length: 60}, simple_transfer: {to: ["306"]}]'


class World:
    """A sidecar with calls, and who asks it."""

    def __init__(self, client: TestClient[web.Request, web.Application], calls: dict[str, Call]) -> None:
        self.client = client
        self.calls = calls

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
        async with self.client.request(method, path, headers=AUTHORIZATION, **more) as response:
            return response.status, await response.json()


async def no_calls(_order: dict[str, Any]) -> Call:
    raise ApiError(503, "no")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    calls: dict[str, Call] = {}
    app = web.Application()
    app.router.add_routes(Live(KEY, 3, calls, no_calls).routes())
    async with TestClient(TestServer(app)) as client:
        yield World(client, calls)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Harness]:
    return lambda rules, **results: Harness(rules, monkeypatch, **results)


async def test_nobody_else_may_ask(world):
    for headers in ({}, {"Authorization": f"Bearer {token_of(bytes(15) + b'1')}"}, {"Authorization": "Bearer ü"}):
        async with world.client.get("/calls", headers=headers) as response:
            assert response.status == 401
            assert response.content_type == "application/problem+json"


async def test_a_call_is_shown_as_it_goes_on(world, make):
    h = make(RULES)
    world.calls["k"] = h.call
    await h.answered()
    await h.until("media.play(a.wav)")
    status, told = await world.ask("GET", "/calls")
    assert (status, told["total"]) == (200, 1)
    [call] = told["calls"]
    assert call.pop("began_at").startswith("20")
    assert call == {
        "call_id": FACTS.call_id, "call_api_id": FACTS.call_api_id, "caller_number": "306", "caller_name": "Ann",
        "called_number": "332", "ivr": "000*332", "direction": "in", "context": "1", "option": "start", "state": "ivr",
        "doing": "sound", "sidecar": 3,
    }  # fmt: skip
    await h.ended()


async def test_a_transfer_and_a_talk_are_shown(world, make):
    h = make('[simple_transfer: {to: ["306"]}]')
    world.calls["k"] = h.call
    await h.answered()
    await h.until("invite(max_forwards 69)")
    _, call = await world.ask("GET", f"/calls/{FACTS.call_id}")
    assert (call["state"], call["doing"]) == ("transfer", "transfer")
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"answer", None))
    await h.settled()
    _, call = await world.ask("GET", f"/calls/{FACTS.call_id}")
    assert (call["state"], call["doing"]) == ("connected", "")
    await h.ended()


async def test_a_call_that_is_not_answered_yet_is_shown(world, make):
    h = make('[call_interactive: {url: "http://h/"}]', answer_at="on_media")
    world.calls["k"] = h.call
    await h.until("fetch")
    _, call = await world.ask("GET", f"/calls/{FACTS.call_api_id}")
    assert (call["state"], call["doing"]) == ("unanswered", "")
    await h.ended()


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (FACTS.call_id[:SHORTEST_ID], 200), (FACTS.call_id[: SHORTEST_ID - 1], 404), ("d" * 32, 404),
        (FACTS.call_id + "c", 404), ("%2F", 404), ("%ff", 404),
    ],
)  # fmt: skip
async def test_a_call_is_found_by_the_beginning_of_its_id(world, make, wanted, status):
    h = make("[pause: {length: 60}]")
    world.calls["k"] = h.call
    assert (await world.ask("GET", f"/calls/{wanted}"))[0] == status
    await h.ended()


async def test_two_calls_with_the_same_beginning_are_not_mixed_up(world, make):
    h = make("[pause: {length: 60}]")
    world.calls |= {"k": h.call, "l": h.call}
    assert (await world.ask("GET", f"/calls/{FACTS.call_id[:8]}"))[0] == 409
    await h.ended()


@pytest.mark.parametrize(("limit", "shown"), [("1", 1), ("0", 0), ("-5", 0), ("99999", 2)])
async def test_only_so_many_calls_are_told_the_newest_first(world, make, limit, shown):
    first, second = make("[hangup]"), make("[pause: {length: 60}]")
    world.calls |= {"a": first.call, "b": second.call}
    await second.answered()
    await second.settled()
    _, told = await world.ask("GET", "/calls", params={"limit": limit})
    assert (told["total"], len(told["calls"])) == (2, shown)
    if shown:
        assert told["calls"][0]["began_at"] is not None, "the first one is not answered yet"
    await first.ended()
    await second.ended()


@pytest.mark.parametrize(
    ("body", "charset"), [(b"{}", "nonsense"), (b"{", "utf-8"), (b"\xff", "utf-8"), (b"[" * 100_000, "utf-8")]
)
async def test_a_body_that_is_no_JSON_is_refused(world, body, charset):
    headers = {**AUTHORIZATION, "Content-Type": f"application/json; charset={charset}"}
    async with world.client.post("/calls", data=body, headers=headers) as response:
        assert response.status == 400


async def test_a_limit_that_is_no_number_is_refused(world):
    assert (await world.ask("GET", "/calls", params={"limit": "many"}))[0] == 400
