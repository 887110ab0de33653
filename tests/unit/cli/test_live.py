"""The commands that look at live calls, against a real API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer, unused_port
from click.testing import CliRunner, Result

from cli.active import FOLDER
from cli.api import token
from cli.main import main
from sidecar.presence import Presence
from tests.unit.cli.api.test_stories import begin
from tests.unit.cli.api.world import TOKEN, World, site_with_api


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(token.VARIABLE, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with site_with_api() as opened:
        (tmp_path / token.FILE).write_text(TOKEN)
        port = opened.client.port
        site = f'node: 1\nsip: {{listen: ["udp:127.0.0.1:5060"]}}\napi: {{listen: "127.0.0.1:{port}"}}\n'
        (tmp_path / "site.yaml").write_text(site)
        yield opened


async def call(*argv: str, **environment: str) -> Result:
    """The command with the token of this folder, as its user would call it."""
    return await asyncio.to_thread(CliRunner().invoke, main, [*argv, "--state-dir", "."], env=environment)


async def test_calls_are_a_table(world: World):
    world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    world.add(1, "bbbbbbbb", "2026-11-26T09:00:00.000+00:00")
    result = await call("calls")
    assert result.exit_code == 0, result.output
    heading, first, second, count = result.output.splitlines()
    assert heading.split() == ["CALL", "BEGAN", "CALLER", "CALLED", "IVR", "CONTEXT", "STATE"]
    assert (first[:8], second[:8], count) == ("bbbbbbbb", "aaaaaaaa", "2 calls")
    assert first.split()[2:] == ["306", "332", "000*332", "1/start", "ivr", "(sound)"]
    result = await call("calls", "--limit", "1")
    assert result.output.splitlines()[-1] == "2 calls, 1 shown"


async def test_there_may_be_no_calls(world: World):
    assert (await call("calls")).output == "0 calls\n"
    assert (await call("calls", "--recent")).output == "0 calls\n"


async def test_calls_for_a_program(world: World):
    world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    result = await call("calls", "--json")
    assert [each["call_id"][:8] for each in json.loads(result.output)["calls"]] == ["aaaaaaaa"]


async def test_a_sidecar_that_is_silent_is_told_of(world: World):
    await world.sidecars[0].close()
    result = await call("calls")
    assert result.exit_code == 0
    assert "no answer from sidecar 0" in result.output
    assert "no answer from sidecar 0" in (await call("calls", "--recent")).output


async def test_one_call(world: World):
    made = world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    result = await call("show", "aaaaaaaa")
    assert f"call id        {made.call_id}" in result.output.splitlines()
    assert [line for line in result.output.splitlines() if line.endswith((" 0", " False"))], "zero is told too"
    assert json.loads((await call("show", "aaaaaaaa", "--json")).output)["call_id"] == made.call_id


async def test_a_call_that_is_over(world: World):
    result = await call("show", "../nothing")
    assert (result.exit_code, result.output) == (1, "no call ../nothing: it is over, or never was\n")
    assert "give at least 6 characters of a CallID" in (await call("show", "aaaaa")).output


async def test_a_name_of_a_call_may_be_of_any_octets(world: World):
    result = await call("show", "\udcff\udcfe")
    assert result.exit_code == 1
    assert "no call %FF%FE" in result.output


async def test_an_api_elsewhere(world: World, tmp_path: Path):
    (tmp_path / "site.yaml").unlink()
    result = await call("calls", "--api", f"{world.url}/", CALLINTERACTIVE_TOKEN=TOKEN)
    assert result.output == "0 calls\n", result.output
    result = await call("calls", CALLINTERACTIVE_API=world.url, CALLINTERACTIVE_TOKEN="another-token-that-is-wrong")
    assert result.exit_code == 1
    assert f"the API at {world.url} does not know this token. Give the same --site and --state-dir" in result.output


async def test_an_address_of_this_host_may_be_given(world: World):
    for host in ("127.0.0.1", "localhost"):
        result = await call("calls", "--api", f"http://{host}:{world.client.port}/")
        assert result.output == "0 calls\n", result.output


async def test_an_address_is_no_url(world: World):
    result = await call("calls", "--api", f"127.0.0.1:{world.client.port}")
    assert (result.exit_code, result.output) == (
        1,
        f"--api 127.0.0.1:{world.client.port}: write it with http:// in front\n",
    )


async def test_no_stranger_gets_the_token_of_this_host(world: World, tmp_path: Path):
    said = []

    async def listen(request: web.BaseRequest) -> web.StreamResponse:
        said.append(request.headers["Authorization"])
        return web.json_response({"total": 0, "calls": [], "silent": []})

    async with RawTestServer(listen, host="127.0.0.1") as server:
        stranger, own = server.make_url("").authority, f"127.0.0.1:{world.client.port}"
        strangers = (
            f"http://{stranger}",
            f"http://{own}@{stranger}",
            f"http://{own}\\@{stranger}",
            "http://[::1",
            stranger,
        )
        for url in strangers:
            result = await call("calls", "--api", url)
            told = "CALLINTERACTIVE_TOKEN" if "//" in url else "with http:// in front"
            assert (result.exit_code, told in result.output) == (1, True), result.output
        result = await call("calls", "--api", f"http://{stranger}/elsewhere", CALLINTERACTIVE_TOKEN="1234567890abcdef")
        assert result.exit_code == 0, result.output
        (tmp_path / "site.yaml").unlink()
        assert (await call("calls", "--api", f"http://{stranger}")).exit_code == 1
    assert said == ["Bearer 1234567890abcdef"]


async def test_no_redirect_chooses_who_gets_the_token(world: World):
    asked = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with RawTestServer(answer, host="127.0.0.1") as server:
        result = await call("calls", "--api", str(server.make_url("")), CALLINTERACTIVE_TOKEN=TOKEN)
    assert (result.exit_code, asked) == (1, ["/v1/calls"])
    assert "302" in result.output


async def test_what_is_missing_is_said(world: World, tmp_path: Path):
    result = await call("calls", CALLINTERACTIVE_TOKEN="short")
    assert "openssl rand" in result.output
    (tmp_path / token.FILE).unlink()
    result = await call("calls")
    assert result.exit_code == 1
    assert "the API's token is missing" in result.output
    result = await call("calls", "--api", f"http://127.0.0.1:{unused_port()}", CALLINTERACTIVE_TOKEN=TOKEN)
    assert "Is `callinteractive run` up?" in result.output
    (tmp_path / "site.yaml").write_text('node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\napi: no\n')
    assert "says api: no" in (await call("calls")).output


async def test_an_api_that_run_is_still_starting_is_waited_for(world: World, tmp_path: Path):
    """`run` says ready before its API answers."""

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"calls": [], "silent": []})

    port = unused_port()
    site = f'node: 1\nsip: {{listen: ["udp:127.0.0.1:5060"]}}\napi: {{listen: "127.0.0.1:{port}"}}\n'
    (tmp_path / "site.yaml").write_text(site)
    (tmp_path / token.FILE).unlink()
    sidecar = Presence(tmp_path / FOLDER / "sidecar-0.json")
    sidecar.tell()
    asking = asyncio.create_task(call("calls"))
    await asyncio.sleep(0.3)  # it begins to ask
    (tmp_path / token.FILE).write_text(TOKEN)
    async with RawTestServer(answer, host="127.0.0.1", port=port):
        result = await asking
    assert (result.exit_code, result.output) == (0, "0 calls\n")
    sidecar.close()
    assert "Is `callinteractive run` up?" in (await call("calls")).output


async def test_a_call_is_hung_up(world: World):
    made = world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    result = await call("hangup", "aaaaaa")
    assert (result.exit_code, result.output) == (0, "call aaaaaaaa (306 to 332) is hung up\n")
    assert made.asked == ["hang up"]


async def test_a_call_is_led_elsewhere(world: World):
    made = world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    result = await call("jump", "aaaaaa", "3")
    assert (result.exit_code, result.output) == (0, "call aaaaaaaa (306 to 332) goes on at 3/start\n")
    result = await call("jump", "aaaaaa", "3", "1", "--json")
    assert json.loads(result.output)["call_id"] == made.call_id
    assert made.asked == [("3", "start"), ("3", "1")]
    result = await call("jump", "aaaaaa", "7")
    assert (result.exit_code, result.output) == (1, "no context '7'\n")


async def test_the_link_to_the_page(world: World):
    result = await call("page")
    assert (result.exit_code, result.output) == (0, f"{world.url}/#token={TOKEN}\n")
    assert json.loads((await call("page", "--json")).output) == {"link": f"{world.url}/#token={TOKEN}"}
    nobody = await call("page", "--api", f"http://127.0.0.1:{unused_port()}", CALLINTERACTIVE_TOKEN=TOKEN)
    assert (nobody.exit_code, "Is `callinteractive run` up?" in nobody.output) == (1, True)


async def test_a_number_is_called(world: World):
    result = await call("dial", "306", "--context", "3")
    assert (result.exit_code, result.output) == (
        0,
        "call dddddddd goes to 306; --wait tells whether somebody answers\n",
    )
    argv = ("--option", "1", "--ivr", "000*332", "--caller", "+15550100", "--name", "Alarm", "--timeout", "30")
    result = await call("dial", "+15550123", "--context", "3", *argv, "--var", "site=Depot=1", "--var", "x=", "--json")
    assert json.loads(result.output)["call_id"] == "d" * 32
    assert [order for _, order in world.orders] == [
        {"to": "306", "context": "3", "option": "start", "variables": {}},
        {
            "to": "+15550123", "context": "3", "option": "1", "ivr": "000*332", "caller_number": "+15550100",
            "caller_name": "Alarm", "timeout_s": 30, "variables": {"site": "Depot=1", "x": ""},
        },
    ]  # fmt: skip
    result = await call("dial", "306", "--context", "3", "--var", "site")
    assert (result.exit_code, "is not like name=value" in result.output) == (2, True)


async def test_phones_are_a_table(world: World):
    result = await call("phones")
    assert (result.exit_code, result.output) == (0, "EXTENSION  PHONE  FROM  EXPIRES  USER AGENT\n")
    assert json.loads((await call("phones", "--json")).output) == {"phones": []}


async def test_nothing_from_the_network_acts_on_the_terminal(world: World):
    made = world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    made.caller_number = "\x1b]0;evil\x07\n2"
    for command in (("calls",), ("show", "aaaaaa"), ("hangup", "aaaaaa")):
        assert "\x1b" not in (await call(*command)).output
    assert r"\u001b]0;evil\u0007\n2" in (await call("calls")).output


async def test_what_has_happened_in_a_call(world: World):
    made = world.add(0, "aaaaaaaa", "2026-11-26T08:00:00.000+00:00")
    result = await call("show", "aaaaaa")
    assert result.output.splitlines()[-1] == "", "nothing yet"
    begin(world.stories[0], made.call_id, 1000.0).tell("call.answered", at=1001.0)
    result = await call("show", "aaaaaa")
    assert [line[14:].split()[0] for line in result.output.splitlines()[-2:]] == ["call.started", "call.answered"]
    records = json.loads((await call("show", "aaaaaa", "--json")).output)["records"]
    assert [record["event"] for record in records] == ["call.started", "call.answered"]


async def test_a_call_that_is_over_but_not_forgotten(world: World):
    call_id = "b" * 32
    begin(world.stories[1], call_id, 1000.0).tell("call.ended", at=1001.0, by="caller", code=200, cause="hung up")
    for name in (call_id, f"1:{call_id}", "bbbbbb"):
        output = (await call("show", name)).output
        assert "by caller, 200: hung up" in output.splitlines()[-1]
        assert "state          ended" in output.splitlines()
    assert (await call("show", "bbbbb")).exit_code == 1
    heading, line, count = (await call("calls", "--recent")).output.splitlines()
    assert heading.split() == ["CALL", "BEGAN", "ENDED", "CALLER", "CALLED", "IVR", "STATE"]
    assert (line[:8], line.split()[3:], count) == ("bbbbbbbb", ["306", "332", "000*332", "ended"], "1 call")
    assert len(json.loads((await call("calls", "--recent", "--json")).output)["calls"]) == 1
    begin(world.stories[0], "b" * 31 + "c", 1002.0)
    assert (await call("show", "bbbbbb")).exit_code == 1, "which of the two?"


@pytest.mark.parametrize(("answered", "status"), [(True, 0), (False, 1)])
async def test_who_dials_can_wait_for_the_answer(world: World, answered: bool, status: int):
    call_id = "d" * 32
    world.add(0, call_id, "2026-11-26T08:00:00.000+00:00")
    waiting = asyncio.create_task(call("dial", "306", "--context", "3", "--wait"))
    story = begin(world.stories[0], call_id, 1000.0)
    async with asyncio.timeout(10):
        while not world.orders:
            await asyncio.sleep(0.01)
    assert not waiting.done()
    if answered:
        story.tell("call.answered", at=1001.0)
    else:
        story.tell("call.ended", at=1001.0, by="callee", code=486, cause="Busy Here")
    result = await waiting
    assert result.exit_code == status, result.output
    assert ("call.answered" if answered else "by callee, 486: Busy Here") in result.output
