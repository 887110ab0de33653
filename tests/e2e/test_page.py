"""The page in a real browser. It makes the pictures of docs/images/ too, when CALLINTERACTIVE_PICTURES is set."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio
from aiohttp import web

from callinteractive.config import load_site
from cli.api.server import create_app
from cli.page.app import Page, Place
from tests.support.browser import Browser, Tab
from tests.support.webapp import FakeWebApp, actions

ROOT = Path(__file__).parents[2]
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


@asynccontextmanager
async def shown(browser: Browser, url: str, view: str) -> AsyncIterator[Tab]:
    """The view, with the token given as the printed link gives it."""
    async with browser.tab(f"{url}/#token={TOKEN}") as tab:
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
            (folder / f"page-{name}-{kind}.png").write_bytes(await tab.picture())
    await tab.looks_like(*DESKTOP, is_dark=False)


def has(selector: str, text: str) -> str:
    """A condition: such an element shows the text."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})]"
    return f"{found}.some(element => element.textContent.includes({json.dumps(text)}))"


async def test_a_call_from_the_keypad(browser: Browser, url: str, web: FakeWebApp, caller: str) -> None:
    transfer = "<SimpleTransfer final='no'>000*306</SimpleTransfer>"
    hostile = f"<SetVar name='note'><![CDATA[{HOSTILE}]]></SetVar>"
    web.on(caller, actions(f"<PlaySound>order-in-the-oven.wav</PlaySound>{transfer}{hostile}"))
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
        await pictures(tab, "keypad")
        request = await web.request(caller)
        assert request.query["number"] == "1234"
        assert request.parameters["CallerIDName"] == "Ann"
        await tab.is_true(has(".row pre", transfer))

        await tab.run(
            "[...document.querySelectorAll('.choices button')].find(b => b.textContent === 'is busy').click()"
        )
        await tab.is_true(has(".row .text", "486 busy"))
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
