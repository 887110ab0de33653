"""The page over HTTP: who may ask, what a browser is told to allow, and a call against a real web application."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from callinteractive.config import load_site
from cli.api.server import OPEN, create_app
from cli.page.app import STATIC, Page, Place
from examples.demo.webapp import PizzaLine

DEMO = Path(__file__).parents[4] / "examples" / "demo"
HOST = "127.13.203.1"
TOKEN = "of-the-test"


@pytest.fixture(scope="module")
def sounds_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sounds are converted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sounds_cache: Path) -> Iterator[Path]:
    """The demo's files, and its web application on a port of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(sounds_cache))
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder, symlinks=True)
    with ThreadingHTTPServer((HOST, 0), PizzaLine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        ivr = folder / "ivr.yaml"
        ivr.write_text(ivr.read_text().replace("127.0.0.1:18000", f"{HOST}:{server.server_port}"))
        yield folder
        server.shutdown()
        thread.join()


def app_of(place: Place) -> web.Application:
    site = load_site(place.site_path.read_text(), "site.yaml")
    return create_app(site, bytes(16), TOKEN, Page(place))


@pytest_asyncio.fixture
async def page(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(app_of(Place(folder / "site.yaml", folder / "ivr.yaml")))
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"http://{HOST}:{port}", headers=headers) as session:
        yield session
    await runner.cleanup()


async def post(page: aiohttp.ClientSession, path: str, body: object) -> tuple[int, Any]:
    async with page.post(path, json=body) as response:
        return response.status, await response.json()


async def test_only_the_static_files_are_for_everybody(page: aiohttp.ClientSession, folder: Path) -> None:
    app = app_of(Place(folder / "site.yaml", folder / "ivr.yaml"))
    paths = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    assert {path for _, path in paths} >= {"/", "/page/save", "/page/phone/{call}"}
    for method, path in paths:
        for token in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
            headers = {"Authorization": token}
            async with page.request(method, path.replace("{", "").replace("}", ""), headers=headers) as response:
                is_open = path == "/" or path in OPEN or path.startswith("/static/")
                assert (response.status == 401) is not is_open, (method, path, token)


async def test_without_ivr_yaml_there_is_nothing_to_edit(folder: Path) -> None:
    client = TestClient(TestServer(app_of(Place(folder / "site.yaml", None)), host=HOST))
    async with client, client.get("/page/ivr", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert await response.json() == {"files": [], "numbers": [], "contexts": [], "is_fetched": False}


async def test_what_comes_from_a_web_server_is_changed_there(folder: Path) -> None:
    client = TestClient(TestServer(app_of(Place(folder / "site.yaml", folder / "ivr.yaml", folder)), host=HOST))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with client:
        async with client.get("/page/ivr", headers=headers) as response:
            said = await response.json()
        assert said["is_fetched"] is True
        async with client.post("/page/save", headers=headers, json=said["files"][0]) as response:
            assert response.status == 409
            assert "comes from a web server" in (await response.json())["detail"]


async def test_the_static_files_let_no_foreign_script_run(page: aiohttp.ClientSession) -> None:
    for file in STATIC.iterdir():
        async with page.get("/" if file.suffix == ".html" else f"/static/{file.name}") as response:
            assert response.status == 200
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert await response.read() == file.read_bytes()


async def test_the_page_has_no_inline_script_or_style() -> None:
    html = (STATIC / "index.html").read_text()
    assert "<style" not in html
    assert " style=" not in html
    assert " on" not in html.lower().replace(" only", "")
    assert html.count("<script") == 1
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js"))
    for way_to_html in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way_to_html not in scripts, "texts of a call become text nodes"


async def test_a_file_is_edited(page: aiohttp.ClientSession, folder: Path) -> None:
    async with page.get("/page/ivr") as response:
        said = await response.json()
    assert said["numbers"] == ["000*332", "+15550199"]
    [context] = said["contexts"]
    assert context["id"] == "1"
    assert "start" in context["options"]
    (file,) = said["files"]
    wrong = file["text"].replace("goodbye.wav", "goodby.wav")
    status, checked = await post(page, "/page/check", {"name": "ivr.yaml", "edits": {"ivr.yaml": wrong}})
    assert status == 200
    assert "goodby.wav" in checked["findings"][0]["text"]
    line = checked["findings"][0]["line"]
    assert "goodby.wav" in wrong.splitlines()[line - 1]
    status, refused = await post(page, "/page/save", file | {"text": wrong})
    assert status == 422
    assert refused["findings"] == checked["findings"]
    assert "goodby.wav" not in (folder / "ivr.yaml").read_text()
    good = file["text"].replace("4000", "4500")
    status, saved = await post(page, "/page/save", file | {"text": good})
    assert status == 200
    assert (folder / "ivr.yaml").read_text() == good
    status, _ = await post(page, "/page/save", file | {"text": file["text"]})
    assert status == 409, "the version is the old one"
    status, _ = await post(page, "/page/save", file | {"text": file["text"], "version": saved["version"]})
    assert status == 200


async def test_an_answer_is_checked(page: aiohttp.ClientSession) -> None:
    status, said = await post(page, "/page/check", {"answer": "<Response><Hangup/></Response>"})
    assert (status, said["summary"]) == (200, "A good answer: Hangup.")


async def test_a_call_asks_the_web_application(page: aiohttp.ClientSession) -> None:
    status, state = await post(page, "/page/phone", {"number": "000*332", "caller": "+15550123"})
    assert status == 200
    path = f"/page/phone/{state['call']}"
    assert state["waits"]["sound"] == "welcome.wav"
    for digit in "11234#":
        after = state["records"][-1]["seq"]
        status, state = await post(page, path, {"step": state["step"], "after": after, "what": "digit", "value": digit})
        assert status == 200
        assert state["records"][0]["seq"] == after + 1
    requests = [record for record in state["records"] if record["event"] == "call.request"]
    assert [request["status"] for request in requests] == [200]
    assert "order-in-the-oven.wav" in requests[0]["response"]
    assert state["waits"]["sound"] == "order-in-the-oven.wav"


async def test_a_call_of_the_text_in_the_editor(page: aiohttp.ClientSession, folder: Path) -> None:
    edited = (folder / "ivr.yaml").read_text().replace("welcome.wav", "goodbye.wav")
    call = {"number": "+15550199", "caller": "+15550123", "edits": {"ivr.yaml": edited}}
    status, state = await post(page, "/page/phone", call)
    assert (status, state["waits"]["sound"]) == (200, "goodbye.wav")
    status, said = await post(page, "/page/phone", call | {"number": "4711"})
    assert (status, said["detail"]) == (422, "4711 leads to no IVR")
    status, said = await post(page, "/page/phone", call | {"edits": {"ivr.yaml": "ivrs: 5"}})
    assert status == 422
    assert "ivr.yaml:1" in said["detail"]


async def test_a_sound_is_heard(page: aiohttp.ClientSession) -> None:
    async with page.get("/page/sounds/welcome.wav") as response:
        assert response.content_type == "audio/wav"
        assert (await response.read())[:4] == b"RIFF"
    for name in ("missing.wav", "..%2Fsite.yaml", "%2E%2E", "a" * 300):
        async with page.get(aiohttp.client.URL(f"/page/sounds/{name}", encoded=True)) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 9999,
        b'{"answer": 5}',
        b'{"answer": "\\ud800"}',
        b'{"name": "x", "edits": [1]}',
        b"\xff",
    ],
)
async def test_a_malformed_request_is_refused(page: aiohttp.ClientSession, body: bytes) -> None:
    async with page.post("/page/check", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 400
        assert (await response.json())["detail"]


async def test_a_charset_that_nobody_knows_is_refused(page: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json; charset=nonsense"}
    async with page.post("/page/check", data=b"{}", headers=headers) as response:
        assert response.status == 400


async def test_an_unknown_call_is_no_defect(page: aiohttp.ClientSession) -> None:
    status, said = await post(page, "/page/phone/nobody", {"step": 0, "after": 0, "what": "hangup"})
    assert status == 404
    assert said["detail"]


async def test_a_reload_that_fails_is_told(page: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLINTERACTIVE_KEY", raising=False)
    status, said = await post(page, "/page/reload", {})
    assert status == 200
    assert said["ok"] is False
    assert said["said"]
