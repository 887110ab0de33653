"""A fleet on hosts of its own: calls of every kind through each edge, and what happens if a host is cut off."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.transfers import FIRST, REGISTERED, both_hear, connected, transfer
from tests.support.baresip import SPEAKS_HZ, Baresip
from tests.support.browser import SPEAKS_HZ as BROWSER_SPEAKS_HZ
from tests.support.browser import Browser
from tests.support.callee import Callee
from tests.support.fleet import CARRIER_PORT, PHONE_PORT, WEBSOCKET_PORT, Fleet
from tests.support.hosts import can_be_made
from tests.support.nat import LAN, phone_behind_nat
from tests.support.phone import Phone
from tests.support.webapp import FakeWebApp, actions
from tests.support.workers import WORKER

pytestmark = pytest.mark.skipif(not can_be_made(), reason="hosts need root and iptables")

WEB_PORT = 8080
NEW_CALLS_GO_ON_S = 1.0
BROWSER = "000*309"
MENU, TRANSFER, ROUTED = "000*102", "000*110", "000*111"
MENU_HZ = 440
IVRS = """\
ivrs:
  - {{number: "000*102", id: 202, entry_context: menu}}
  - {{number: "000*110", id: 210, entry_context: transfer}}
  - {{number: "000*111", id: 211, entry_context: transfer, answer: on_media}}
contexts:
  menu:
    options:
      start: [{{play_sound: {{file: tone-440-3000.wav, where: background}}}}]
      "1": [{{call_interactive: {{url: "{web}/option?is=1", method: POST}}}}, hangup]
  transfer:
    options:
      start: [{{call_interactive: {{url: "{web}/plan", method: POST}}}}, hangup]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    made = Fleet(directory, "", number=WORKER)
    web_url = FakeWebApp(made.web, WEB_PORT)
    made.ivr_path.write_text(IVRS.format(web=web_url.url))
    async with made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def web(fleet: Fleet) -> AsyncIterator[FakeWebApp]:
    async with FakeWebApp(fleet.web, WEB_PORT) as app:
        yield app


@pytest.fixture(params=["edge_a", "edge_b"])
def edge(fleet: Fleet, request: pytest.FixtureRequest) -> tuple[str, int]:
    address = getattr(fleet, request.param)
    assert isinstance(address, tuple)
    return address


def call(fleet: Fleet, edge: tuple[str, int], number: str, caller: str) -> Phone:
    return Phone(edge, number, host=fleet.carrier, caller=caller)


async def test_a_caller_hears_and_dials(fleet: Fleet, web: FakeWebApp, edge: tuple[str, int], caller: str) -> None:
    web.on(caller, actions(""))
    async with call(fleet, edge, MENU, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits("1")
        assert (await web.request(caller)).query["is"] == "1"
        await phone.hung_up()


async def test_calls_use_all_sidecars_and_rtpengines(fleet: Fleet, web: FakeWebApp, caller: str) -> None:
    """The public address of RTPengine B is in its answers, and sound from there arrives."""
    heard_from = set()
    for number in range(20):
        if len(heard_from) == 2:
            break
        async with call(fleet, fleet.edge_a, MENU, f"{caller}{number}") as phone:
            answer = await phone.answered()
            await phone.sound.hear_tone(MENU_HZ)
            found = re.search(r"^c=IN IP4 (\S+)", answer.body, re.MULTILINE)
            assert found
            heard_from.add(found[1])
            await phone.hang_up()
    assert heard_from == {f"{fleet.wan_prefix}.31", f"{fleet.wan_prefix}.32"}


async def test_a_transfer_is_bridged(fleet: Fleet, web: FakeWebApp, edge: tuple[str, int], caller: str) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        Callee(edge, (fleet.phone, PHONE_PORT)) as callee,
        call(fleet, edge, TRANSFER, caller) as phone,
    ):
        await connected(phone, callee)
        await phone.hang_up()
        await callee.hung_up()


async def test_a_call_is_routed_without_an_answer(
    fleet: Fleet, web: FakeWebApp, edge: tuple[str, int], caller: str
) -> None:
    """By 302. The parties send their sound to each other."""
    web.on(caller, transfer(FIRST))
    async with (
        Callee(edge, (fleet.phone, PHONE_PORT)) as callee,
        call(fleet, edge, ROUTED, caller) as phone,
    ):
        await callee.rings()
        await callee.picks_up()
        await phone.answered()
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


async def test_the_carrier_is_called(fleet: Fleet, web: FakeWebApp, edge: tuple[str, int], caller: str) -> None:
    web.on(caller, transfer("+15559876"))
    async with (
        Callee(edge, (fleet.carrier, CARRIER_PORT)) as callee,
        call(fleet, edge, TRANSFER, caller) as phone,
    ):
        await phone.answered()
        assert (await callee.rings()).start_line.startswith("INVITE sip:+15559876@")
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await callee.hangs_up()
        await phone.hung_up()


async def test_a_phone_behind_nat_is_rung_through_both_edges(fleet: Fleet, web: FakeWebApp, caller: str) -> None:
    host = await phone_behind_nat(fleet.hosts, fleet.wan, ".99")
    where = {"host": f"{LAN}.5", "interface": "eth0", "namespace": host.pid}
    async with Baresip(REGISTERED, "secret", fleet.edge_a, **where) as softphone:
        await softphone.registered()
        for nth, edge in enumerate((fleet.edge_a, fleet.edge_b), 1):
            web.on(caller, transfer(REGISTERED))
            async with call(fleet, edge, TRANSFER, caller) as phone:
                await phone.answered()
                await softphone.rings(nth=nth)
                await softphone.picks_up()
                await softphone.connected(nth=nth)
                await phone.sound.hear_tone(SPEAKS_HZ)
                await phone.hang_up()
                await softphone.call_ended(nth=nth)


async def test_a_browser_calls_and_is_rung_through_the_other_edge(fleet: Fleet, web: FakeWebApp, caller: str) -> None:
    host, _ = fleet.edge_a
    async with (
        Browser() as browser,
        browser.phone(BROWSER, "secret", f"ws://{host}:{WEBSOCKET_PORT}", host) as softphone,
    ):
        await softphone.registers()
        await softphone.dials(MENU)
        await softphone.connected()
        await softphone.hears_tone(MENU_HZ)
        await softphone.presses("1")
        assert (await web.request(BROWSER)).query["is"] == "1"
        await softphone.call_ended()
        for edge in (fleet.edge_a, fleet.edge_b):
            web.on(caller, transfer(BROWSER))
            async with call(fleet, edge, TRANSFER, caller) as phone:
                await phone.answered()
                await softphone.rings()
                await softphone.picks_up()
                await softphone.connected()
                await phone.sound.hear_tone(BROWSER_SPEAKS_HZ)
                await phone.hang_up()
                await softphone.call_ended()


async def test_status_names_what_is_down(fleet: Fleet) -> None:
    """Asked on a host of sidecars, as an operator would."""
    assert await fleet.status("sidecars-a") == {}
    await fleet.cut_off("media-b")
    try:
        assert list(await fleet.status("sidecars-a")) == ["media-b"]
    finally:
        await fleet.plug_in("media-b")


@pytest.mark.parametrize("part", ["sidecars-a", "sidecars-b", "media-a", "media-b", "edge-b"])
async def test_new_calls_go_on_without_a_host(fleet: Fleet, web: FakeWebApp, part: str, caller: str) -> None:
    await fleet.cut_off(part)
    try:
        await asyncio.sleep(NEW_CALLS_GO_ON_S)
        for number in range(6):
            async with call(fleet, fleet.edge_a, MENU, f"{caller}{number}") as phone:
                begun = time.monotonic()
                await phone.answered()
                await phone.sound.hear_tone(MENU_HZ)
                await phone.hang_up()
                print(f"{part} cut off: call {number} took {time.monotonic() - begun:.2f} s")
    finally:
        await fleet.plug_in(part)
