"""ivr.yaml from a web server: `run` fetches it, and starts with the last good one while the server is down."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import web as aiohttp_web

from tests.e2e.ivr import SCRIPTED_GET
from tests.support.phone import Phone
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions


class Source:
    """The web server that has ivr.yaml."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def answer(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(text=self.text)


@pytest_asyncio.fixture(loop_scope="session")
async def source(private_stack: RunningStack) -> AsyncIterator[Source]:
    made = Source(private_stack.ivr_path.read_text())
    private_stack.ivr_path.unlink()
    app = aiohttp_web.Application()
    app.router.add_get("/ivr.yaml", made.answer)
    runner = aiohttp_web.AppRunner(app)
    await runner.setup()
    net = private_stack.net
    await aiohttp_web.TCPSite(runner, net.web, net.web_port + 1).start()
    private_stack.ivr = f"http://{net.web}:{net.web_port + 1}/ivr.yaml"
    yield made
    await runner.cleanup()


async def test_it_is_fetched_and_outlives_its_source(
    private_stack: RunningStack, source: Source, web: FakeWebApp, caller: str
) -> None:
    for told_of in ("fetched and in order", "the last good one is used"):
        since = len(private_stack.log)
        await private_stack.start()
        told = " ".join(str(entry["event"]) for entry in private_stack.entries(since, part="callinteractive"))
        assert told_of in told
        web.on(caller, actions("<Hangup/>"))
        async with Phone(private_stack.net.sip, SCRIPTED_GET, host=private_stack.net.carrier, caller=caller) as phone:
            await phone.answered()
            await phone.hung_up()
        await private_stack.stop()
        source.text = "contexts: {}\n"  # with no IVR in it
