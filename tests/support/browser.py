"""A real browser as a phone: headless Chromium with JsSIP, driven by its DevTools protocol.

async with Browser() as browser, browser.phone("000*308", "secret", "ws://127.0.0.1:8080", "127.0.0.1") as phone:
    await phone.registers()
    await phone.dials("000*100")
    await phone.connected()
    await phone.hears_tone(440)
    await phone.presses("1")
    await phone.call_ended()
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import posixpath
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.stack import POLL_S, until
from tests.support.timing import PATIENT_S

CHROMIUM = Path("/usr/bin/chromium")
PAGE = Path(__file__).parent / "browser_page"
LIBRARIES = Path(sys.prefix) / "javascript" / "node_modules"
"""As `tools/setup` installs them."""
SPEAKS_HZ = 1000
"""The tone that a phone says all the time."""
START_S, COMMAND_S = 30, 20
_PAGE_HOST = "127.0.0.1"  # Chromium gives a microphone to pages of https and of this host only
_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
)


class Browser:
    """One Chromium. `flags` are more of its command line."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Browser:
        self._directory = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        folder = Path(self._directory.name)
        self._log = (folder / "log").open("wb")
        self._process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", str(CHROMIUM), *_FLAGS, *self._flags),
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        await self._serve_page()
        where = folder / "profile" / "DevToolsActivePort"
        await until(lambda: where.exists() and where.read_text().count("\n") > 0, START_S, "Chromium's port")
        port, path = where.read_text().split("\n")[:2]
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(2):
                await self._socket.send_json({"id": 0, "method": "Browser.close"})
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._reader.cancel()
        await self._session.close()
        await self._runner.cleanup()
        self._log.close()
        self._directory.cleanup()

    def kill(self) -> None:
        """Let it die without a word."""
        self._process.kill()

    @asynccontextmanager
    async def phone(self, number: str, password: str, url: str, domain: str) -> AsyncIterator[BrowserPhone]:
        """A tab with a phone that registers. `url` is that of the WebSocket."""
        async with self.tab(f"http://{_PAGE_HOST}:{self._port}/phone.html") as tab:
            phone = BrowserPhone(tab)
            await tab.is_true("typeof phone === 'object'")
            what = json.dumps([url, f"sip:{number}@{domain}", password, SPEAKS_HZ])
            await tab.run(f"phone.begin(...{what})")
            try:
                yield phone
            except BaseException as error:
                with suppress(Exception):
                    error.add_note(f"the browser's events: {await phone.events()}")
                raise

    @asynccontextmanager
    async def tab(self, url: str) -> AsyncIterator[Tab]:
        """A tab that shows a page."""
        target = (await self.command("Target.createTarget", url=url))["targetId"]
        session = (await self.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        try:
            tab = Tab(self, session)
            await tab.is_loaded()
            yield tab
        finally:
            with suppress(Exception):
                await self.command("Target.closeTarget", targetId=target)

    async def command(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol; returns its result."""
        number = next(self._ids)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        try:
            async with asyncio.timeout(COMMAND_S):
                said = await reply
        finally:
            del self._replies[number]
        assert "error" not in said, f"{method}: {said['error']}"
        return dict(said["result"])

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            reply = self._replies.get(said.get("id", 0))
            if reply is not None and not reply.done():
                reply.set_result(said)

    async def _serve_page(self) -> None:
        app = web.Application()
        app.router.add_get("/phone.html", _file("phone.html", "text/html"))
        app.router.add_get("/phone.js", _file("phone.js", "text/javascript"))
        app.router.add_get("/jssip.js", _jssip)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _PAGE_HOST, 0)
        await site.start()
        self._port = self._runner.addresses[0][1]


class Tab:
    """A page of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it becomes."""
        said = await self._browser.command(
            "Runtime.evaluate", self._session, expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def is_loaded(self) -> None:
        """Wait until its page is there. Before that, there is nothing that could run a script."""
        async with asyncio.timeout(COMMAND_S):
            while True:
                with suppress(AssertionError):
                    if await self.run("document.readyState === 'complete' && location.href !== 'about:blank'"):
                        return
                await asyncio.sleep(POLL_S)

    async def is_true(self, condition: str) -> None:
        """Wait until it is."""
        async with asyncio.timeout(COMMAND_S):
            while not await self.run(condition):
                await asyncio.sleep(POLL_S)

    async def looks_like(self, width: int, height: int, *, is_dark: bool) -> None:
        """Be of this size, in CSS pixels, and prefer these colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._browser.command("Emulation.setDeviceMetricsOverride", self._session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self._browser.command("Emulation.setEmulatedMedia", self._session, features=[scheme])

    async def types(self, text: str) -> None:
        """Type text into what has the focus."""
        await self._browser.command("Input.insertText", self._session, text=text)

    async def strikes(self, key: str, *, code: int = 0, is_with_control: bool = False) -> None:
        """Strike a key, by its name in the DOM. `code`: its virtual code, for keys that the browser itself acts on."""
        held = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if is_with_control else 0}
        text = {"text": key} if len(key) == 1 and not is_with_control else {}
        await self._browser.command("Input.dispatchKeyEvent", self._session, type="keyDown", **held, **text)
        await self._browser.command("Input.dispatchKeyEvent", self._session, type="keyUp", **held)

    async def picture(self) -> bytes:
        """What it shows, as PNG."""
        return base64.b64decode(
            (await self._browser.command("Page.captureScreenshot", self._session, format="png"))["data"]
        )


class BrowserPhone:
    """What a person does with the phone, and what it tells."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab

    async def registers(self) -> None:
        """Wait until it is registered."""
        await self.tells("registered")

    async def dials(self, number: str) -> None:
        await self._tab.run(f"phone.dial({json.dumps(number)}), 0")

    async def rings(self) -> str:
        """Wait until it rings; returns who calls."""
        return await self.tells("rings")

    async def picks_up(self) -> None:
        await self._tab.run("phone.pickUp(), 0")

    async def connected(self) -> None:
        """Wait for the call's ACK."""
        await self.tells("confirmed")

    async def presses(self, digit: str) -> None:
        """Send an RFC 4733 event."""
        await self._tab.run(f"phone.press({json.dumps(digit)}), 0")

    async def holds(self, holds: bool) -> None:
        await self._tab.run(f"phone.hold({json.dumps(holds)}), 0")
        await self.tells("hold" if holds else "unhold")

    async def hangs_up(self) -> None:
        await self._tab.run("phone.hangUp(), 0")
        await self.tells("ended")

    async def refuses(self) -> None:
        """Reject the call that rings."""
        await self._tab.run("phone.refuse(), 0")
        await self.tells("failed")

    async def call_ended(self) -> None:
        """Wait until the other side has hung up."""
        assert await self.tells("ended") == "remote"

    async def hears_tone(self, hertz: float, within_s: float = PATIENT_S) -> None:
        deadline = time.monotonic() + within_s
        heard: list[float] = []
        while not heard or abs(heard[-1] - hertz) > 15:
            assert time.monotonic() < deadline, f"heard {heard[-20:]}, not {hertz} Hz within {within_s} s"
            await asyncio.sleep(POLL_S)
            heard.append(await self._tab.run("phone.pitch()"))

    async def tells(self, what: str, within_s: float = PATIENT_S) -> str:
        """Wait for an event of the page and take it away; returns its detail."""
        deadline = time.monotonic() + within_s
        while (event := await self._tab.run(f"phone.take({json.dumps(what)})")) is None:
            assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
            await asyncio.sleep(POLL_S)
        return str(event["detail"])

    async def events(self) -> list[str]:
        """What it has told and nobody has waited for."""
        return [" ".join(event.values()) for event in await self._tab.run("phone.events")]


def _file(name: str, kind: str) -> Any:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(text=(PAGE / name).read_text(encoding="utf-8"), content_type=kind)

    return serve


async def _jssip(_request: web.Request) -> web.Response:
    return web.Response(text=bundle("jssip"), content_type="text/javascript")


def bundle(library: str) -> str:
    """A script for browsers of a library's CommonJS modules, as npm has installed them: no bundler is needed."""
    modules: dict[str, str] = {}
    entry = _resolve(library, "")
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        source = (LIBRARIES / name).read_text(encoding="utf-8")
        if name.endswith(".json"):
            modules[name] = f"module.exports = {source}"
            continue
        folder, names = posixpath.dirname(name), {}
        for wanted in sorted(set(_REQUIRE.findall(source))):
            names[wanted] = _resolve(wanted, folder)
        waiting += names.values()
        modules[name] = f"const require = name => loadModule({json.dumps(names)}[name]);\n{source}"
    bodies = ",\n".join(f"{json.dumps(name)}: (module, exports) => {{{body}\n}}" for name, body in modules.items())
    return _LOADER % (bodies, json.dumps(entry))


def _resolve(wanted: str, folder: str) -> str:
    """The file of a module, relative to `LIBRARIES`."""
    if wanted.startswith("."):
        path = posixpath.normpath(posixpath.join(folder, wanted))
    else:
        package = json.loads((LIBRARIES / wanted / "package.json").read_text(encoding="utf-8"))
        main = package.get("browser") if isinstance(package.get("browser"), str) else package.get("main", "index.js")
        path = posixpath.normpath(posixpath.join(wanted, main))
    for candidate in (path, f"{path}.js", f"{path}/index.js"):
        if (LIBRARIES / candidate).is_file():
            return candidate
    raise FileNotFoundError(f"{wanted} of {folder or 'the test'}: run make setup")


_REQUIRE = re.compile(r"""\brequire\(['"]([^'"]+)['"]\)""")
_LOADER = """\
const process = {env: {}};
const JsSIP = (() => {
const sources = {%s};
const loaded = {};
const loadModule = name => {
    if (!(name in loaded)) {
        const module = loaded[name] = {exports: {}};
        sources[name](module, module.exports);
    }
    return loaded[name].exports;
};
return loadModule(%s);
})();
"""
