"""The page in a real browser. It makes the pictures of docs/images/ too, when CALLINTERACTIVE_PICTURES is set."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image

from callinteractive.config import load_site
from cli.api.server import create_app
from cli.page.app import Page, Place
from tests.e2e.conftest import BASE_PORT, PlaceCall, _ivr_yaml, lent, own_net
from tests.e2e.ivr import MENU, TRANSFER
from tests.e2e.transfers import FIRST, CalledPhones, transfer
from tests.support.browser import Browser, Tab
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

ROOT = Path(__file__).parents[2]
PORT = BASE_PORT + 65
TOKEN = "of-the-test"
DESKTOP, PHONE = (1280, 800), (390, 844)
HOSTILE = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
"""What a caller or a web application would send to run a script in the operator's browser."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with Browser() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def folder(tmp_path: Path, web: FakeWebApp) -> Path:
    folder = tmp_path / "demo"
    shutil.copytree(ROOT / "examples" / "demo", folder)
    ivr = folder / "ivr.yaml"
    ivr.write_text(ivr.read_text().replace("http://127.0.0.1:18000", web.url))
    return folder


@pytest_asyncio.fixture(loop_scope="session")
async def url(folder: Path) -> AsyncIterator[str]:
    site = load_site((folder / "site.yaml").read_text(), "site.yaml")
    runner = web.AppRunner(create_app(site, bytes(16), TOKEN, Page(Place(folder / "site.yaml", folder / "ivr.yaml"))))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack_with_page(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    net = own_net()
    replace = {"api: no": f'api: {{listen: "{net.stack}:{PORT}"}}'}
    async with RunningStack(net, tmp_path_factory.mktemp("page"), _ivr_yaml(web), replace=replace) as stack:
        await until(lambda: any("the page is at" in line for line in stack.log), PATIENT_S, "the page")
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(stack_with_page: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    async with lent(stack_with_page, request):
        yield stack_with_page


@asynccontextmanager
async def shown(browser: Browser, url: str, view: str, token: str = TOKEN) -> AsyncIterator[Tab]:
    """The view, with the token given as the printed link gives it."""
    async with browser.tab(f"{url}/#token={token}") as tab:
        await tab.is_true("location.hash === '#/'")
        await tab.run(f"location.hash = '#/{view}'")
        await tab.looks_like(*DESKTOP, is_dark=False)
        yield tab
        assert await tab.run("document.title") != "broken in"
        assert await tab.run("document.querySelectorAll('main img, main script').length") == 0


async def pictures(tab: Tab, name: str) -> None:
    """As documents show it: wide and on a phone, light and dark. Nothing may need scrolling sideways."""
    for size, is_dark, kind in ((DESKTOP, False, "light"), (DESKTOP, True, "dark"), (PHONE, False, "phone")):
        await tab.looks_like(*size, is_dark=is_dark)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await tab.run(wide) <= 0, f"{name} is wider than {size[0]} pixels"
        if os.environ.get("CALLINTERACTIVE_PICTURES"):
            folder = ROOT / "docs" / "images"
            folder.mkdir(exist_ok=True)
            # Few colours are enough for text and lines, and make a quarter of the size.
            picture = Image.open(io.BytesIO(await tab.picture())).convert("RGB").quantize(96)
            picture.save(folder / f"page-{name}-{kind}.png", optimize=True)
    await tab.looks_like(*DESKTOP, is_dark=False)


def has(selector: str, text: str) -> str:
    """A condition: such an element shows the text."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})]"
    return f"{found}.some(element => element.textContent.includes({json.dumps(text)}))"


async def test_a_call_from_the_keypad(browser: Browser, url: str, web: FakeWebApp, caller: str) -> None:
    transfer = "<SimpleTransfer final='no'>000*306</SimpleTransfer>"
    hostile = f"<SetVar name='note'><![CDATA[{HOSTILE}]]></SetVar>"
    web.on(caller, actions(f"<PlaySound>order-in-the-oven.wav</PlaySound>{transfer}{hostile}"))
    async with browser.tab(url) as tab:
        await tab.is_true(has("form", "Open the link that callinteractive page prints"))
        assert not await tab.run("document.querySelector('table')"), "nothing is told without the token"
    async with browser.tab(f"{url}/#token=old") as tab:
        await tab.is_true(has("form", "The API does not know this token."))
    async with shown(browser, url, "phone") as tab:
        await tab.is_true("!!document.querySelector('.keys')")
        for field, text in (("caller", caller), ("name", "Ann")):
            await tab.run(f"document.getElementById({json.dumps(field)}).select()")
            await tab.types(text)
        await tab.strikes("Enter", code=13)
        await tab.is_true(has(".display", "welcome.wav"))
        await tab.is_true(
            "performance.getEntriesByType('resource').some(entry => entry.name.includes('/page/sounds/'))"
        )
        await tab.run("document.activeElement.blur()")
        await tab.strikes("1")
        await tab.run("document.getElementById('quick').click()")
        await tab.is_true(has(".display", "Listens for digits"))
        for key in "1234#":
            await tab.strikes(key)
        await tab.is_true(has(".choices button", "is busy"))
        await tab.run("document.querySelector('.row details').open = true")
        await pictures(tab, "keypad")
        request = await web.request(caller)
        assert request.query["number"] == "1234"
        assert request.parameters["CallerIDName"] == "Ann"
        await tab.is_true(has(".row pre", transfer))

        await tab.run(
            "[...document.querySelectorAll('.choices button')].find(b => b.textContent === 'is busy').click()"
        )
        await tab.is_true(has(".row .text", "486 busy"))
        assert await tab.run("document.querySelector('.row details').open"), "it stays unfolded"
        await tab.is_true(has(".row .text", f"value {HOSTILE}"))
        await tab.is_true(has(".display", "The call is over"))


async def test_the_editor_finds_and_saves(browser: Browser, url: str, folder: Path) -> None:
    ivr = folder / "ivr.yaml"
    before = ivr.read_text()
    async with shown(browser, url, "ivr") as tab:
        await tab.is_true(has(".findings .good", "No mistakes: 1 IVR, 1 context."))
        await tab.run("document.querySelector('textarea').select()")
        await tab.types(before.replace("file: goodbye.wav", "file: good-by.wav"))
        await tab.is_true("!!document.querySelector('.findings .problem')")
        line = before.splitlines().index("        - play_sound: {file: goodbye.wav}") + 1
        assert await tab.run("document.querySelector('.gutter .wrong').textContent") == str(line)
        await pictures(tab, "editor")
        await tab.run("document.querySelector('.findings button.line').click()")
        selected = "(area => area.value.slice(area.selectionStart, area.selectionEnd))(document.activeElement)"
        assert await tab.run(selected) == "        - play_sound: {file: good-by.wav}"
        await tab.types(f"        - play_sound: {{file: {json.dumps(HOSTILE)}}}")
        await tab.is_true(has(".findings .problem", "<img src=x"))
        await tab.strikes("s", is_with_control=True)
        await tab.is_true(has("#said.bad", "not saved"))
        assert ivr.read_text() == before
        await tab.run("document.querySelector('textarea').select()")
        await tab.types(before.replace("4000", "4500"))
        await tab.is_true("!!document.querySelector('.findings .good')")
        await tab.strikes("s", is_with_control=True)
        await tab.is_true(has("#said.good", "Saved"))
        assert ivr.read_text() == before.replace("4000", "4500")
        await tab.run("location.hash = '#/answer'")
        await tab.is_true(has(".findings .good", "A good answer: PlaySound, Jump."))
        await tab.run("document.querySelector('textarea').select()")
        await tab.types("<Response>\n<Nonsense/>\n</Response>")
        await tab.is_true(has(".findings .problem", "line 2"))


def token_of(stack: RunningStack) -> str:
    return (stack.site_path.parent / "state" / "api-token").read_text()


async def test_a_real_call_is_seen_and_ended(
    browser: Browser, stack: RunningStack, call: PlaceCall, callees: CalledPhones, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, transfer(FIRST))
    token = token_of(stack)
    async with shown(browser, f"http://{stack.net.stack}:{PORT}", "calls", token) as tab:
        await tab.is_true(has(".lead", "No calls in progress"))
        async with callees.first() as first, call(TRANSFER) as phone:
            await phone.answered()
            await first.rings()
            await tab.is_true(has(".badge.live", "in progress"))
            await pictures(tab, "calls")
            await tab.run("document.querySelector('tbody a').click()")
            await tab.is_true(has(".row .text", "180 ringing"))
            await first.picks_up()
            await tab.is_true(has(".row .text", "200 OK by"))
            await tab.is_true("/caller: [1-9].*callee: [1-9]/.test(document.querySelector('.media').textContent)")
            await tab.run("document.querySelector('.row details:nth-of-type(2)').open = true")
            await pictures(tab, "timeline")
            assert await tab.run(has(".row pre", f">{FIRST}</SimpleTransfer>"))
            for title in ("INVITE sip:", "180 Ringing", "200 OK", "ACK sip:"):
                await tab.is_true(has(".row .message", title))
            assert await tab.run(has(".row pre", "X-CI-Call: ***"))
            assert not await tab.run(has(".row pre", "call_id="))
            await tab.run("document.getElementById('sip').click()")
            assert not await tab.run("document.querySelector('.row .message')")
            await tab.run("document.getElementById('sip').click()")
            await tab.run("document.querySelector('button.end').click()")
            await phone.hung_up()
            await first.hung_up()
        await tab.is_true(has(".facts dt", "Ended"))
        assert await tab.run("document.querySelector('button.end').hidden")
        await tab.is_true(has(".row .message", "BYE sip:"))
        counted = "/caller: [1-9].*callee: [1-9]/.test(document.querySelector('.media').textContent)"
        await tab.is_true(counted)
        await tab.run("location.hash = '#/calls'")
        await tab.is_true(has(".badge.ended", "ended"))


async def test_a_call_is_made_led_elsewhere_and_hung_up(
    browser: Browser, stack: RunningStack, callees: CalledPhones
) -> None:
    """By the buttons; and what the editor saves counts at once."""

    async def fills(tab: Tab, **fields: str) -> None:
        for field, text in fields.items():
            await tab.run(f"document.getElementById({json.dumps(field.replace('_', '-'))}).select()")
            await tab.types(text)

    async def presses(tab: Tab, text: str) -> None:
        button = f"[...document.querySelectorAll('button')].find(each => each.textContent === {json.dumps(text)})"
        await tab.run(f"{button}.click()")

    async with shown(browser, f"http://{stack.net.stack}:{PORT}", "ivr", token_of(stack)) as tab:
        await tab.is_true("!!document.querySelector('textarea')?.value")
        text = await tab.run("document.querySelector('textarea').value")
        await tab.run("document.querySelector('textarea').select()")
        await tab.types(f"# another one\n{text}")
        await tab.is_true("!!document.querySelector('.findings .good')")
        await presses(tab, "Save and use")
        await tab.is_true(has("#said.good", "new calls get what"))
        await tab.run("location.hash = '#/calls'")
        await tab.is_true("!!document.getElementById('dial-number')")
        await tab.run("document.querySelector('.steer').open = true")
        await fills(tab, dial_number=FIRST, dial_context="menu", dial_ivr=MENU)
        async with callees.first() as first:
            await presses(tab, "Call")
            await first.rings()
            await first.picks_up()
            await tab.is_true(has(".row .text", "200 OK"))
            await tab.run("document.querySelector('.steer').open = true")
            await fills(tab, jump_context="99")
            await presses(tab, "Jump")
            await tab.is_true(has("#said.bad", "99"))
            await tab.run("document.getElementById('said').textContent = ''")
            await fills(tab, jump_context="menu", jump_option="start")
            await presses(tab, "Jump")
            await tab.is_true(has("#said.good", "The call goes on at menu: start."))
            await tab.run("location.hash = '#/calls'")
            await tab.is_true("!!document.querySelector('td button.end')")
            await tab.run("document.querySelector('td button.end').click()")
            await first.hung_up()
        await tab.is_true(has(".badge.ended", "ended"))


async def test_all_hosts_reload_and_drain_by_the_api(stack: RunningStack) -> None:
    """As `--api` does on each host: new files count, and every sidecar is another process afterwards."""
    url = f"http://{stack.net.stack}:{PORT}"

    async def ask(*argv: str) -> str:
        environment = {**os.environ, "CALLINTERACTIVE_TOKEN": token_of(stack)}
        program = (sys.executable, "-m", "callinteractive", *argv, "--api", url)
        process = await asyncio.create_subprocess_exec(
            *program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
        )
        async with asyncio.timeout(2 * PATIENT_S):
            said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said
        return said

    assert "this host: new calls get what" in await ask("reload")
    said = (await ask("drain")).splitlines()
    assert said[0] == "sidecar 0 drains"
    assert said[-1].endswith("is back")
