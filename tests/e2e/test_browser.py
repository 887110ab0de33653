"""A browser as a phone: SIP over WebSocket, sound by WebRTC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, PlaceCall, _ivr_yaml, lent, own_net
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.test_rtpengine_dies import follows, kill
from tests.e2e.transfers import FIRST, ONE_HZ, REGISTERED, CalledPhones, transfer
from tests.support.browser import SPEAKS_HZ, Browser, BrowserPhone
from tests.support.certificates import Authority
from tests.support.kamailio import kamcmd
from tests.support.phone import Phone
from tests.support.rtp import RtpEndpoint
from tests.support.stack import POLL_S, RunningStack
from tests.support.webapp import FakeWebApp, actions

PASSWORD, OTHER = "secret", "000*309"
FOREIGN = ("a=candidate", "a=ice", "a=fingerprint", "a=setup", "a=crypto", "a=extmap", "a=msid", "a=ssrc", "a=group")


ADVERTISED = "192.88.99.21"
"""Counts as public, and nobody has it (RFC 7526)."""
WS_PORT, WSS_PORT = BASE_PORT + 63, BASE_PORT + 64


def where(stack: RunningStack, scheme: str = "ws") -> tuple[str, str]:
    """The WebSocket of the stack, and the domain of its extensions."""
    return f"{scheme}://{stack.net.stack}:{WS_PORT if scheme == 'ws' else WSS_PORT}", stack.net.stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with Browser("--ignore-certificate-errors") as running:  # that of wss is not of an authority that it knows
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def web_stack(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    """A stack to which browsers connect."""
    net = own_net()
    sip = f'"tcp:{net.stack}:{net.sip[1]}"'
    folder = tmp_path_factory.mktemp("browser")
    own = Authority(folder / "authority").issue("edge", f"IP:{net.stack}")
    replace = {
        sip: f'{sip}, "ws:{net.stack}:{WS_PORT}", "wss:{net.stack}:{WSS_PORT}"',
        "trunks:": f'tls: {{certificate: "{own.certificate}", private_key: "{own.private_key}"}}\ntrunks:',
        "sidecars: {": f'  - {{number: "{OTHER}", id: 137, password: {PASSWORD}}}\nsidecars: {{',
    }
    async with RunningStack(net, folder, _ivr_yaml(web), replace=replace) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(web_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """After each test, nothing of its calls may be left."""
    async with lent(web_stack, request):
        yield web_stack


@pytest_asyncio.fixture(loop_scope="session")
async def phone(stack: RunningStack, browser: Browser) -> AsyncIterator[BrowserPhone]:
    async with browser.phone(REGISTERED, PASSWORD, *where(stack)) as phone:
        await phone.registers()
        yield phone


@pytest.fixture
def call(stack: RunningStack, caller: str) -> PlaceCall:
    def place(number: str, *, is_internal: bool = False) -> Phone:
        where, who = (stack.net.phone, "306") if is_internal else (stack.net.carrier, caller)
        return Phone(stack.net.sip, number, host=where, caller=who)

    return place


async def test_it_hears_a_menu_and_dials(web: FakeWebApp, phone: BrowserPhone) -> None:
    before = len(web.requests[REGISTERED])
    await phone.dials(MENU)
    await phone.connected()
    await phone.hears_tone(MENU_HZ)
    await phone.presses("1")
    request = await web.request(REGISTERED, before + 1)
    assert request.query["is"] == "1"
    assert request.form["CallerExtension"] == REGISTERED
    await phone.call_ended()


async def test_over_tls(web: FakeWebApp, stack: RunningStack, browser: Browser, call: PlaceCall, caller: str) -> None:
    """As every page on the internet connects: it calls, and is called."""
    async with browser.phone(REGISTERED, PASSWORD, *where(stack, "wss")) as phone:
        await phone.registers()
        await phone.dials(MENU)
        await phone.connected()
        await phone.hears_tone(MENU_HZ)
        await phone.hangs_up()
        async with talking(web, call, caller, phone) as calling:
            await calling.hang_up()
            await phone.call_ended()


async def test_a_page_that_was_closed_is_not_rung(
    web: FakeWebApp, stack: RunningStack, browser: Browser, call: PlaceCall, caller: str
) -> None:
    web.on(caller, transfer(OTHER, final="no"), actions("<Hangup/>"))
    for _ in range(6):  # one more than an extension may have at once
        async with browser.phone(OTHER, PASSWORD, *where(stack)) as phone:
            await phone.registers()
    async with asyncio.timeout(15):  # until Chromium has closed the last one
        while OTHER in await kamcmd(stack, "ul.dump"):
            await asyncio.sleep(POLL_S)
    async with call(TRANSFER) as calling:
        after = await web.request(caller, nth=2)
        await calling.hung_up()
    assert after.query["status"] == "failed"


async def test_it_hangs_up(phone: BrowserPhone) -> None:
    await phone.dials(MENU)
    await phone.connected()
    await phone.hears_tone(MENU_HZ)
    await phone.hangs_up()


@pytest.mark.parametrize("who", ["caller", "browser"])
async def test_a_transfer_rings_it(
    web: FakeWebApp, call: PlaceCall, caller: str, phone: BrowserPhone, who: str
) -> None:
    async with talking(web, call, caller, phone) as calling:
        if who == "caller":
            await calling.hang_up()
            await phone.call_ended()
        else:
            await phone.hangs_up()
            await calling.hung_up()


async def test_it_holds_and_resumes(web: FakeWebApp, call: PlaceCall, caller: str, phone: BrowserPhone) -> None:
    async with talking(web, call, caller, phone) as calling:
        await phone.holds(True)
        await calling.sound.hear_silence()
        await phone.holds(False)
        await talk(calling.sound, phone)
        await calling.hang_up()
        await phone.call_ended()


async def test_a_talk_moves_to_an_rtpengine_that_was_started_again(
    web: FakeWebApp, stack: RunningStack, call: PlaceCall, caller: str, phone: BrowserPhone
) -> None:
    """Both sides get a re-INVITE; with the browser DTLS begins anew."""
    async with talking(web, call, caller, phone) as calling:
        kill(stack)
        await follows(calling.sipp, calling.sound)
        await talk(calling.sound, phone)
        await calling.hang_up()
        await phone.call_ended()


async def test_it_holds_while_it_hears_a_menu(phone: BrowserPhone) -> None:
    await phone.dials(MENU)
    await phone.connected()
    await phone.hears_tone(MENU_HZ)
    await phone.holds(True)
    await phone.holds(False)
    await phone.hears_tone(MENU_HZ)
    await phone.hangs_up()


async def test_it_is_transferred(web: FakeWebApp, phone: BrowserPhone, callees: CalledPhones) -> None:
    """A browser that has called the IVR hears the phone that it is connected with."""
    web.on(REGISTERED, transfer(FIRST))
    await phone.dials(TRANSFER)
    async with callees.first() as callee:
        await callee.rings()
        await callee.picks_up()
        await phone.connected()
        await talk(callee.sound, phone)
        await callee.hangs_up()
        await phone.call_ended()


async def test_it_calls_another_extension(phone: BrowserPhone, callees: CalledPhones) -> None:
    """With no IVR between (C8): the phone is offered plain RTP."""
    async with callees.first() as callee:
        await phone.dials(FIRST)
        invite = await callee.rings()
        assert_plain(invite.body)
        await callee.picks_up()
        await phone.connected()
        await talk(callee.sound, phone)
        await phone.hangs_up()
        await callee.hung_up()


async def test_another_extension_calls_it(phone: BrowserPhone, call: PlaceCall) -> None:
    async with call(REGISTERED, is_internal=True) as calling:
        await phone.rings()
        await phone.picks_up()
        answer = await calling.answered()
        assert_plain(answer.body)
        await talk(calling.sound, phone)
        await calling.hang_up()
        await phone.call_ended()


async def test_it_refuses(web: FakeWebApp, call: PlaceCall, caller: str, phone: BrowserPhone) -> None:
    web.on(caller, transfer(REGISTERED, final="no"), actions("<Hangup/>"))
    async with call(TRANSFER) as calling:
        await phone.rings()
        await phone.refuses()
        after = await web.request(caller, nth=2)
        await calling.hung_up()
    assert after.query["status"] == "busy"


async def test_two_browsers(browser: Browser, stack: RunningStack, phone: BrowserPhone) -> None:
    async with browser.phone(OTHER, PASSWORD, *where(stack)) as other:
        await other.registers()
        await other.dials(REGISTERED)
        await phone.rings()
        await phone.picks_up()
        await other.connected()
        await other.hears_tone(SPEAKS_HZ)
        await phone.hears_tone(SPEAKS_HZ)
        await other.hangs_up()
        await phone.call_ended()


async def test_behind_a_nat(web: FakeWebApp, browser: Browser, tmp_path: Path) -> None:
    """RTPengine advertises an address that it does not reach itself: what it sends to itself goes another way."""
    net = own_net(2)
    sip = f'"tcp:{net.stack}:{net.sip[1]}"'
    replace = {
        sip: f'{sip}, "ws:{net.stack}:{WS_PORT}"',
        f"interface: {net.stack}": f'interface: "{net.stack}!{ADVERTISED}"',
    }
    before = len(web.requests[REGISTERED])
    async with (
        RunningStack(net, tmp_path / "stack", _ivr_yaml(web), replace=replace) as stack,
        browser.phone(REGISTERED, PASSWORD, *where(stack)) as phone,
    ):
        await phone.registers()
        await phone.dials(MENU)
        await phone.connected()
        await phone.hears_tone(MENU_HZ)
        await phone.presses("1")
        assert (await web.request(REGISTERED, before + 1)).query["is"] == "1"
        await phone.call_ended()


@asynccontextmanager
async def talking(web: FakeWebApp, call: PlaceCall, caller: str, phone: BrowserPhone) -> AsyncIterator[Phone]:
    """A caller whom the IVR has connected with the browser."""
    web.on(caller, transfer(REGISTERED))
    async with call(TRANSFER) as calling:
        await calling.answered()
        assert await phone.rings() == caller
        await phone.picks_up()
        await phone.connected()
        await talk(calling.sound, phone)
        yield calling


async def talk(sound: RtpEndpoint, phone: BrowserPhone) -> None:
    """Until each has heard the other."""
    sound.forget()
    await sound.hear_tone(SPEAKS_HZ)
    speaking = asyncio.create_task(sound.send_tone(ONE_HZ, 4.0))
    await phone.hears_tone(ONE_HZ)
    speaking.cancel()


def assert_plain(sdp: str) -> None:
    """What phones get has nothing of a browser's in it."""
    assert "m=audio " in sdp
    assert "RTP/AVP " in sdp
    assert not [line for line in sdp.splitlines() if line.startswith(FOREIGN)], sdp
