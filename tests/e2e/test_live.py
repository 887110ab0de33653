"""Live calls over the API, with real phones: called, looked at, led elsewhere, hung up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio
from aiohttp.test_utils import TestServer

from callinteractive.keys import PREPARED, derive
from cli.active import Active
from cli.api.server import create_app
from cli.main import main
from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import OTHER_OPTION_HZ, SCRIPTED_GET, TRANSFER
from tests.e2e.test_registered_phone import register
from tests.e2e.transfers import FIRST, REGISTERED, CalledPhones, transfer
from tests.support.callee import BUSY
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

TOKEN = "the-token-of-these-tests"


class Api:
    """The API of the worker's stack, asked by its commands."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, *argv: str, fails: bool = False) -> Any:
        """What `callinteractive ARGV --json` prints; its text if it fails."""
        from click.testing import CliRunner  # noqa: PLC0415

        environment = {"CALLINTERACTIVE_TOKEN": TOKEN, "CALLINTERACTIVE_API": self._url}
        result = await asyncio.to_thread(CliRunner().invoke, main, [*argv, "--json"], env=environment)
        assert (result.exit_code != 0) == fails, result.output
        return result.output if fails else json.loads(result.output)

    async def until_gone(self, call_id: str) -> None:
        async with asyncio.timeout(PATIENT_S):
            while call_id in [call["call_id"] for call in (await self("calls"))["calls"]]:
                await asyncio.sleep(0.05)

    async def until(self, call_id: str, state: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENT_S):
            while (call := await self("show", call_id))["state"] != state:
                await asyncio.sleep(0.05)
        return dict(call)


@asynccontextmanager
async def api_of(stack: RunningStack) -> AsyncIterator[Api]:
    key = bytes.fromhex((stack.site_path.parent / "state" / "key").read_text())
    active = Active(stack.site_path.parent / "state" / "active", derive(key, PREPARED))
    async with TestServer(create_app(stack.site, key, TOKEN, active=active), host="127.0.0.1") as server:
        yield Api(str(server.make_url("")).rstrip("/"))


@pytest_asyncio.fixture(loop_scope="session")
async def api(stack: RunningStack) -> AsyncIterator[Api]:
    async with api_of(stack) as opened:
        yield opened


async def test_a_phone_is_called_and_who_answers_enters_a_context(
    api: Api, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, actions('<PlaySound where="background">tone-440-3000.wav</PlaySound>'))
    async with callees.first() as callee:
        order = ("--context", "get", "--ivr", SCRIPTED_GET, "--caller", caller, "--name", "Alarm", "--var", "lang=de")
        call = await api("dial", FIRST, *order)
        assert (call["state"], call["direction"], call["called_number"]) == ("dialling", "out", FIRST)
        invite = await callee.rings()
        assert f'"Alarm" <sip:{caller}@' in invite.header("From")
        await callee.picks_up()
        asked = (await web.request(caller)).query
        assert (asked["CallFlow"], asked["CalledNumber"], asked["CallID"]) == ("OUT", FIRST, call["call_id"])
        assert (asked["CallerIDNum"], asked["CallerIDName"], asked["CallStatus"]) == (caller, "Alarm", "ANSWER")
        await callee.sound.hear_tone(440)
        assert (await api("show", call["call_id"][:8]))["doing"] == "sound"
        await callee.sound.send_digits("0")
        await callee.sound.hear_tone(OTHER_OPTION_HZ)
        await callee.hung_up()
    await api.until_gone(call["call_id"])


async def test_where_phones_have_registered(api: Api, stack: RunningStack) -> None:
    contact = f"sip:desk@{stack.net.stranger}:5099"
    await register(stack, contact)
    try:
        phones = {phone["extension"]: phone for phone in (await api("phones"))["phones"]}
        [told] = phones[REGISTERED]["contacts"]
        assert told["uri"] == contact
        assert 0 < told["expires_s"] <= 600
        assert told["received"].startswith(f"sip:{stack.net.stranger}:")
        assert phones[FIRST]["kind"] == "fixed"
    finally:
        await register(stack, contact, expires=0)
    phones = {phone["extension"]: phone for phone in (await api("phones"))["phones"]}
    assert phones[REGISTERED]["contacts"] == []


async def test_nobody_answers_and_one_that_rings_is_hung_up(api: Api, callees: CalledPhones) -> None:
    order = ("--context", "get", "--ivr", SCRIPTED_GET)
    async with callees.first("callee-refuses", status=BUSY) as callee:
        call = await api("dial", FIRST, *order)
        await callee.sipp.finished()
        await api.until_gone(call["call_id"])
    async with callees.first() as callee:
        call = await api("dial", FIRST, *order)
        await callee.rings()
        assert "not answered yet" in await api("jump", call["call_id"], "get", fails=True)
        await api("hangup", call["call_id"])
        await callee.stops_ringing()
        await api.until_gone(call["call_id"])


async def test_a_caller_who_talks_is_brought_back_and_hung_up(
    api: Api, call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST), actions("<PlaySound>tone-1100-3000.wav</PlaySound>"))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        call_id = (await web.request(caller)).form["CallID"]
        await api.until(call_id, "connected")
        await api("jump", call_id, "transfer")
        await callee.hung_up()
        await phone.sound.hear_tone(1100)
        await api("hangup", call_id)
        bye = await phone.hung_up()
    assert "cause=200" in bye.header("Reason")
