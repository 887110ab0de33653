"""The API: who may ask, what the whole site tells, and that its description is true."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientTimeout
from aiohttp.test_utils import unused_port
from jsonschema import Draft202012Validator

from callinteractive.model import Address
from cli.api.openapi import document
from cli.api.server import LARGEST_BODY, OPEN, SIDECARS
from sidecar.http_api import ApiError
from sidecar.live import NOT_HERE
from tests.unit.cli.api.world import AUTHORIZATION, TOKEN, World


def is_as_described(path: str, method: str, status: int, told: Any) -> None:
    """Fails where an answer is not what `/openapi.json` says of it."""
    responses = document()["paths"][path][method]["responses"]
    response = responses[str(status)]
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    [content] = response["content"].values()
    Draft202012Validator({**content["schema"], "components": document()["components"]}).validate(told)


async def test_calls_of_all_sidecars_the_newest_first(world: World):
    world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    status, told = await world.ask("GET", "/v1/calls")
    assert status == 200
    assert [(call["call_id"][:8], call["sidecar"]) for call in told["calls"]] == [("bbbbbbbb", 1), ("aaaaaaaa", 0)]
    assert (told["total"], told["silent"]) == (2, [])
    is_as_described("/v1/calls", "get", status, told)
    status, told = await world.ask("GET", "/v1/calls?limit=1")
    assert ([call["call_id"][:8] for call in told["calls"]], told["total"]) == (["bbbbbbbb"], 2)


@pytest.mark.parametrize("limit", ["", "x", "-1", "1.5", "9" * 20, "١"])
async def test_a_limit_that_is_no_number(world: World, limit: str):
    status, told = await world.ask("GET", "/v1/calls", params={"limit": limit})
    assert status == 400
    is_as_described("/v1/calls", "get", status, told)


async def test_a_call_is_found_wherever_it_is(world: World):
    call = world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    for name in (call.call_id, "bbbbbb", call.call_api_id):
        status, told = await world.ask("GET", f"/v1/calls/{name}")
        assert (status, told["call_id"], told["sidecar"]) == (200, call.call_id, 1)
        is_as_described("/v1/calls/{id}", "get", status, told)


async def test_calls_of_two_sidecars_with_the_same_beginning(world: World):
    world.add(0, "aaaaaa11", "2026-11-26T08:00:00.000+00:00")
    world.add(1, "aaaaaa22", "2026-11-26T08:00:00.000+00:00")
    status, told = await world.ask("GET", "/v1/calls/aaaaaa")
    assert status == 409
    is_as_described("/v1/calls/{id}", "get", status, told)


async def test_a_sidecar_that_does_not_answer_is_told_of(world: World):
    world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    await world.sidecars[1].close()
    _, told = await world.ask("GET", "/v1/calls")
    assert told["total"] == 1
    [silent] = told["silent"]
    assert silent.startswith("sidecar 1 (127.0.0.1:")
    assert (await world.ask("GET", "/v1/calls/aaaaaaaa"))[0] == 200
    status, told = await world.ask("GET", "/v1/calls/cccccccc")
    assert status == 503, "it may be there"
    assert "sidecar 1" in told["detail"]


async def test_no_such_call(world: World):
    status, told = await world.ask("GET", "/v1/calls/cccccccc")
    assert status == 404
    is_as_described("/v1/calls/{id}", "get", status, told)


async def test_every_path_needs_the_token(world: World):
    for resource in world.app.router.resources():
        path = re.sub(r"{\w+}", "x", resource.canonical)
        wrong = {"Authorization": "Bearer no"}, {"Authorization": f"Basic {TOKEN}"}, {"Cookie": f"token={TOKEN}"}
        for headers in ({}, *wrong):
            async with world.client.get(path, headers=headers, allow_redirects=False) as response:
                assert (response.status == 401) == (path not in OPEN), path
                if response.status == 401:
                    is_as_described("/v1/calls", "get", 401, await response.json())
    async with world.client.get("/nothing") as response:
        assert response.status == 401, "nor does anybody else learn what there is"


async def test_the_sound_of_a_call_is_counted(world: World):
    call = world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    path = "/v1/calls/{id}/media"
    status, told = await world.ask("GET", "/v1/calls/bbbbbb/media")
    assert (status, told["media"][0]["packets"]) == (200, 50)
    is_as_described(path, "get", status, told)
    call.engine_is_silent = True
    status, told = await world.ask("GET", "/v1/calls/bbbbbb/media")
    assert (status, told["detail"]) == (503, "RTPengine does not answer")
    is_as_described(path, "get", status, told)


async def test_errors_have_one_form(world: World):
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/calls", 405)):
        async with world.client.request(method, path, headers=AUTHORIZATION) as response:
            assert (response.status, response.content_type) == (status, "application/problem+json")
            assert (await response.json())["status"] == status


async def test_the_description_is_served_and_names_every_path(world: World):
    async with world.client.get("/openapi.json") as response:
        told = await response.json()
    assert told["openapi"].startswith("3.1")
    served = {
        (route.resource.canonical, route.method.lower())
        for route in world.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/v1/") and route.method != "HEAD"
    }
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == served


async def test_a_sidecar_that_hangs_holds_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch):
    """It takes the connection and says nothing."""
    hung = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", unused_port())
    async with hung:
        port = hung.sockets[0].getsockname()[1]
        sidecars = world.app[SIDECARS]
        last = sidecars._sidecars[1]
        sidecars._sidecars = (sidecars._sidecars[0], replace(last, metrics=Address("127.0.0.1", port)))
        sidecars._session._timeout = ClientTimeout(total=0.2)
        _, told = await world.ask("GET", "/v1/calls")
        assert len(told["silent"]) == 1


async def test_a_call_is_hung_up_where_it_is(world: World):
    other = world.add(0, "aaaaaa22", "2026-11-26T08:00:00.000+00:00")
    call = world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    status, told = await world.ask("DELETE", "/v1/calls/bbbbbb")
    assert (status, told["call_id"], call.asked, other.asked) == (202, call.call_id, ["hang up"], [])
    is_as_described("/v1/calls/{id}", "delete", status, told)
    assert (await world.ask("DELETE", "/v1/calls/cccccc"))[0] == 404
    call.option = "not now"
    assert await world.ask("DELETE", "/v1/calls/bbbbbb") == (409, {"status": 409, "detail": "cut off"})


async def test_nothing_is_done_to_one_of_two_calls_with_the_same_beginning(world: World):
    calls = [world.add(index, f"aaaaaa{index}", "2026-11-26T08:00:00.000+00:00") for index in (0, 1)]
    assert (await world.ask("DELETE", "/v1/calls/aaaaaa"))[0] == 409
    assert (await world.ask("POST", "/v1/calls/aaaaaa/jump", json={"context": "3"}))[0] == 409
    assert [call.asked for call in calls] == [[], []]


@pytest.mark.parametrize(
    ("body", "status", "asked"),
    [
        ({"context": "3"}, 202, [("3", "start")]),
        ({"context": 3, "option": 1}, 202, [("3", "1")]),
        ({"context": "7"}, 422, []),
        ({"context": "8"}, 409, []),
        ({"option": "1"}, 422, []),
        ({"context": True}, 422, []),
        ({"context": ["3"]}, 422, []),
        (["3"], 400, []),
        (None, 400, []),
    ],
)
async def test_a_call_is_led_elsewhere(world: World, body: Any, status: int, asked: list[Any]):
    call = world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    got, told = await world.ask("POST", "/v1/calls/bbbbbb/jump", json=body)
    assert (got, call.asked) == (status, asked)
    is_as_described("/v1/calls/{id}/jump", "post", status, told)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"{}" + b" " * LARGEST_BODY])
async def test_a_body_that_is_no_json(world: World, body: bytes):
    world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    status, _ = await world.ask("POST", "/v1/calls/bbbbbb/jump", data=body)
    assert status == (413 if len(body) > LARGEST_BODY else 400)


async def test_a_charset_that_nobody_knows(world: World):
    headers = {**AUTHORIZATION, "Content-Type": "application/json; charset=nonsense"}
    async with world.client.post("/v1/calls", data=b"{}", headers=headers) as response:
        assert (response.status, (await response.json())["status"]) == (400, 400)


async def test_a_call_is_made_by_one_sidecar(world: World):
    order = {"to": "306", "context": "3", "variables": {"a": "b"}}
    async with world.client.post("/v1/calls", json=order, headers=AUTHORIZATION) as response:
        told = await response.json()
        assert response.headers["Location"] == f"/v1/calls/{told['call_id']}"
    is_as_described("/v1/calls", "post", response.status, told)
    assert [asked for _, asked in world.orders] == [order]


@pytest.mark.parametrize("status", [503, NOT_HERE])
async def test_a_sidecar_that_makes_no_calls_leaves_them_to_another_one(world: World, status: int):
    world.refusals[0] = ApiError(status, "not me")
    for _ in range(10):
        assert (await world.ask("POST", "/v1/calls", json={}))[0] == 201
    world.refusals[1] = ApiError(503, "nor me")
    got, told = await world.ask("POST", "/v1/calls", json={})
    assert got == 503
    assert told["detail"] == "nor me" or status == 503
    is_as_described("/v1/calls", "post", got, told)


async def test_an_order_that_is_wrong_is_wrong_everywhere(world: World):
    world.refusals |= {index: ApiError(422, "no context '9'") for index in (0, 1)}
    status, told = await world.ask("POST", "/v1/calls", json={})
    assert (status, told["detail"], len(world.orders)) == (422, "no context '9'", 1)
    is_as_described("/v1/calls", "post", status, told)


async def test_a_sidecar_that_is_down_makes_no_calls(world: World):
    await world.sidecars[0].close()
    for _ in range(5):
        assert (await world.ask("POST", "/v1/calls", json={}))[0] == 201
    await world.sidecars[1].close()
    assert await world.ask("POST", "/v1/calls", json={}) == (503, {"status": 503, "detail": "no sidecar answers"})


async def test_a_call_that_may_have_been_made_is_not_made_again(world: World):
    """Somebody's phone would ring twice."""
    asked: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        sidecars = world.app[SIDECARS]
        sidecars._sidecars = tuple(replace(each, metrics=address) for each in sidecars._sidecars)
        status, told = await world.ask("POST", "/v1/calls", json={})
    assert (status, len(asked)) == (503, 1)
    assert "whether it was made" in told["detail"]


async def test_sidecars_with_another_key_are_told_of(world: World):
    sidecars = world.app[SIDECARS]
    sidecars._session.headers["Authorization"] = "Bearer another"
    _, told = await world.ask("GET", "/v1/calls")
    assert all("has another CALLINTERACTIVE_KEY" in silent for silent in told["silent"])
    assert len(told["silent"]) == 2
    for method, path in (("GET", "/v1/calls/aaaaaa"), ("DELETE", "/v1/calls/aaaaaa"), ("POST", "/v1/calls")):
        status, told = await world.ask(method, path, json={})
        assert (status, "another CALLINTERACTIVE_KEY" in told["detail"]) == (503, True)
