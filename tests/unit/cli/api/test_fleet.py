"""Reload and drain by the API: each host is asked once, and what nobody could reach is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.api import fleet
from cli.main import main
from sidecar.host import HostCommands
from tests.support.timing import PATIENT_S
from tests.unit.cli.api.test_server import is_as_described
from tests.unit.cli.api.world import TOKEN, World


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(_address: object, _within_s: float) -> int:
        return 200

    monkeypatch.setattr(fleet, "ask_options", answers)
    monkeypatch.setattr(fleet, "KNOWN_S", 0.0)
    monkeypatch.setattr(fleet, "LOOK_EVERY_S", 0.01)


def host(folder: Path, says: str, *, fails: bool = False, edge: str = "") -> HostCommands:
    """A host whose command prints what it was asked for, and `says`."""
    folder.mkdir()
    if edge:
        (folder / f"edge-{edge}").write_text("/run")
    script = f"import sys; print(' '.join(sys.argv[1:]) + {says!r}); sys.exit({int(fails)})"
    return HostCommands((sys.executable, "-c", script), ("--site", "s.yaml"), folder)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_the_files_of_every_host_count(world: World, tmp_path: Path):
    world.hosts[0].commands = host(tmp_path / "a", ": edge edge, sidecar 0")
    world.hosts[1].commands = host(tmp_path / "b", ": sidecar 1")
    status, told = await world.ask("POST", "/v1/reload", json={})
    is_as_described("/v1/reload", "post", status, told)
    assert (status, told["ok"], told["missed"]) == (200, True, [])
    assert [each["said"] for each in told["hosts"]] == [
        "reload --site s.yaml: edge edge, sidecar 0", "reload --site s.yaml: sidecar 1",
    ]  # fmt: skip


async def test_a_host_is_asked_once(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two reloads at once would wait for each other."""
    monkeypatch.setattr(HostCommands, "sidecars", lambda _self: [0, 1])
    for index in (0, 1):
        world.hosts[index].commands = host(tmp_path / str(index), ": edge edge, sidecar 0, sidecar 1")
    _, told = await world.ask("POST", "/v1/reload", json={})
    assert (told["ok"], len(told["hosts"])) == (True, 1)


async def test_a_host_that_refuses(world: World, tmp_path: Path):
    world.hosts[0].commands = host(tmp_path / "a", ": edge edge, sidecar 0")
    world.hosts[1].commands = host(tmp_path / "b", "\nsite.yaml:1: wrong", fails=True)
    _, told = await world.ask("POST", "/v1/reload", json={})
    assert (told["ok"], [each["ok"] for each in told["hosts"]]) == (False, [True, False])
    assert "site.yaml:1: wrong" in told["hosts"][1]["said"]


async def test_what_nobody_reaches_is_told(world: World, tmp_path: Path):
    """An edge on a host without a sidecar, and a sidecar that is down."""
    world.hosts[0].commands = host(tmp_path / "a", ": sidecar 0")
    await world.sidecars[1].close()
    _, told = await world.ask("POST", "/v1/reload", json={})
    assert told["ok"] is False
    edge, sidecar = told["missed"]
    assert edge == "edge edge: call `callinteractive reload` on its host"
    assert sidecar.startswith("sidecar 1 (127.0.0.1:")


async def test_a_sidecar_that_does_not_know_its_commands(world: World):
    _, told = await world.ask("POST", "/v1/reload", json={})
    assert "does not know the commands" in told["hosts"][0]["said"]


async def test_one_sidecar_drains_after_the_other(world: World):
    """Each is waited for until it is another process: else both would be away."""
    status, told = await world.ask("POST", "/v1/drain", json={})
    is_as_described("/v1/drain", "post", status, told)
    assert (status, [part["name"] for part in told["parts"]]) == (202, ["sidecar 0", "sidecar 1"])
    first, second = (each.drain for each in world.hosts)
    await until(lambda: asyncio.sleep(0, first.is_draining))
    await until(lambda: state_is(world, "drains"))
    assert (await world.ask("POST", "/v1/drain", json={}))[0] == 409
    status, told = await world.ask("GET", "/v1/drain")
    is_as_described("/v1/drain", "get", status, told)
    assert ([part["state"] for part in told["parts"]], second.is_draining) == (["drains", "waits"], False)
    world.hosts[0].instance = "another process"
    await until(lambda: asyncio.sleep(0, second.is_draining))
    world.hosts[1].instance = "another process too"
    await until(lambda: over(world))


async def state_is(world: World, state: str) -> bool:
    """Of the first part."""
    return bool((await world.ask("GET", "/v1/drain"))[1]["parts"][0]["state"] == state)


async def over(world: World) -> bool:
    return bool((await world.ask("GET", "/v1/drain"))[1]["over"])


async def test_a_second_request_does_not_cut_calls_off(world: World):
    """As a second SIGTERM does."""
    world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    drain = world.hosts[0].drain
    drain.begin()
    drain.begin()
    assert (drain.is_draining, drain.is_over.is_set()) == (True, False)


async def test_an_edge_is_drained_on_its_host(world: World, tmp_path: Path):
    world.hosts[1].commands = host(tmp_path / "b", " takes no new calls", edge="edge")
    assert (await world.ask("POST", "/v1/drain", json={"parts": ["edge"]}))[0] == 202
    await until(lambda: over(world))
    [part] = (await world.ask("GET", "/v1/drain"))[1]["parts"]
    assert part == {
        "name": "edge edge", "state": "done", "detail": "drain --site s.yaml -- edge takes no new calls",
    }  # fmt: skip


async def test_a_part_that_fails_ends_it(world: World):
    assert (await world.ask("POST", "/v1/drain", json={"parts": ["edge", "0"]}))[0] == 202
    await until(lambda: over(world))
    edge, sidecar = (await world.ask("GET", "/v1/drain"))[1]["parts"]
    assert (edge["state"], sidecar["state"]) == ("failed", "waits")
    assert "callinteractive drain edge" in edge["detail"]
    assert not world.hosts[0].drain.is_draining


@pytest.mark.parametrize("parts", [["7"], ["-x"], "0", [0], [None]])
async def test_parts_that_are_none(world: World, parts: Any):
    status, told = await world.ask("POST", "/v1/drain", json={"parts": parts})
    assert status == 422
    is_as_described("/v1/drain", "post", status, told)


async def call(world: World, *argv: str) -> Result:
    options = ["--api", world.url]
    return await asyncio.to_thread(CliRunner().invoke, main, [*argv, *options], env={"CALLINTERACTIVE_TOKEN": TOKEN})


async def test_the_commands_ask_the_api(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a site.yaml: the API is elsewhere."""
    monkeypatch.chdir(tmp_path)
    world.hosts[0].commands = host(tmp_path / "a", ": edge edge, sidecar 0")
    world.hosts[1].commands = host(tmp_path / "b", ": sidecar 1")
    result = await call(world, "reload")
    assert result.exit_code == 0, result.output
    assert "127.0.0.1: reload --site s.yaml: sidecar 1" in result.output
    result = await call(world, "drain", "nothing")
    assert (result.exit_code, "no number of a sidecar" in result.output) == (1, True)
    drains = asyncio.create_task(call(world, "drain"))
    for each in world.hosts:
        await until(lambda of=each.drain: asyncio.sleep(0, of.is_draining))
        each.instance = "another process"
    result = await drains
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "sidecar 1 is back"), result.output


async def test_a_drain_that_is_not_waited_for_tells_what_became_of_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who restarts a part next must know whether it drains at all."""
    monkeypatch.chdir(tmp_path)
    world.hosts[0].commands = host(tmp_path / "a", " takes no new calls", edge="edge")
    result = await call(world, "drain", "edge")
    assert (result.exit_code, "takes no new calls" in result.output) == (0, True), result.output
    result = await call(world, "drain", "0")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "sidecar 0 drains")
    world.hosts[0].instance = "another process"
    await until(lambda: over(world))
    await world.sidecars[1].close()
    result = await call(world, "drain", "1")
    assert (result.exit_code, "no answer from sidecar 1" in result.output) == (1, True), result.output


async def test_without_the_api_a_file_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for command in ("reload", "drain"):
        result = await asyncio.to_thread(CliRunner().invoke, main, [command])
        assert "there is no site.yaml in this folder" in result.output
