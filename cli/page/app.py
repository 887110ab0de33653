"""The page's paths, for the aiohttp application of the API, which lets only those with its token ask for data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from callinteractive.errors import Finding
from callinteractive.model import IvrFile, Site
from cli.configuration import host_commands
from cli.page.checking import check_answer, check_ivr, load_both
from cli.page.files import IvrFiles, NotSavedError
from cli.page.phone import PhoneCall, PhoneCalls, World, WrongError
from cli.page.wav import wav_of
from cli.provisioning import FILE as FETCHED
from cli.simulate import place
from sidecar.http_api import ApiError, object_in
from sidecar.media.sounds import SoundLibrary, cache_of_user
from sidecar.webhook import Webhook

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No script but ours runs, no other page frames this one, and no text can become HTML."""

_STATIC_PATHS = {"/" if file.suffix == ".html" else f"/static/{file.name}": file for file in sorted(STATIC.iterdir())}
PUBLIC = frozenset(_STATIC_PATHS)
"""Paths that everybody may see: the browser has no token yet when it asks for them."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page's files are. `ivr_path` None: no editor and no phone. `state_dir` None: the default one."""

    site_path: Path
    ivr_path: Path | None
    state_dir: Path | None = None

    @property
    def is_fetched(self) -> bool:
        """Whether ivr.yaml is what `run` has fetched from a web server: the next start would replace it."""
        return self.state_dir is not None and self.ivr_path == self.state_dir / FETCHED


class Page:
    """The page of one site."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._files = IvrFiles(place.ivr_path, is_fetched=place.is_fetched)
        self._calls = PhoneCalls()
        self._libraries: dict[Path, SoundLibrary] = {}

    def add_to(self, app: web.Application) -> None:
        """Add the page's paths to `app`, which serves them under ``/``."""
        app.cleanup_ctx.append(self._with_webhook)
        for path, file in _STATIC_PATHS.items():
            app.router.add_get(path, _static(file))
        for method, path, handler in (
            ("GET", "/page/ivr", self._ivr),
            ("POST", "/page/check", self._check),
            ("POST", "/page/save", self._save),
            ("POST", "/page/reload", self._reload),
            ("POST", "/page/phone", self._begin_call),
            ("POST", "/page/phone/{call}", self._act),
            ("GET", "/page/sounds/{name}", self._sound),
        ):
            app.router.add_route(method, path, handler)

    async def _with_webhook(self, _app: web.Application) -> AsyncIterator[None]:
        async with Webhook(folder=self._place.site_path.parent) as self._webhook:
            yield

    async def _ivr(self, _request: web.Request) -> web.Response:
        """The files of the IVR, the numbers that can be called, and the contexts where a call can go on."""
        files = await asyncio.to_thread(self._files.read)
        loaded = await self._loaded({})
        numbers: list[str] = []
        contexts: list[dict[str, Any]] = []
        if isinstance(loaded, tuple):
            numbers = [number for ivr in loaded[1].ivrs for number in (ivr.number, *ivr.dids)]
            known = loaded[1].contexts.values()
            contexts = [{"id": each.id, "name": each.name, "options": list(each.options)} for each in known]
        shown = [{"name": file.name, "text": file.text, "version": file.version, "wrong": file.wrong} for file in files]
        more = {"numbers": numbers, "contexts": contexts, "is_fetched": self._place.is_fetched}
        return _json({"files": shown, **more})

    async def _check(self, request: web.Request) -> web.Response:
        body = await object_in(request)
        texts = await asyncio.to_thread(self._files.texts, _edits(body))
        if "answer" in body:
            return _json(await asyncio.to_thread(check_answer, self._place.site_path, texts, _text(body, "answer")))
        return _json(await asyncio.to_thread(check_ivr, self._place.site_path, texts, _text(body, "name")))

    async def _save(self, request: web.Request) -> web.Response:
        body = await object_in(request)
        name, text = _text(body, "name"), _text(body, "text")
        texts = await asyncio.to_thread(self._files.texts, {name: text})
        checked = await asyncio.to_thread(check_ivr, self._place.site_path, texts, name)
        if checked["findings"]:
            return _refused(422, "not saved: correct the mistakes first", **checked)
        try:
            version = await asyncio.to_thread(self._files.save, name, text, _text(body, "version"))
        except NotSavedError as error:
            return _refused(409, f"not saved: {error}")
        return _json({"version": version, **checked})

    async def _reload(self, _request: web.Request) -> web.Response:
        """What `callinteractive reload` says."""
        is_done, said = await host_commands(self._place.site_path, self._place.state_dir, None).reload()
        return _json({"ok": is_done, "said": said})

    async def _begin_call(self, request: web.Request) -> web.Response:
        body = await object_in(request)
        loaded = await self._loaded(_edits(body))
        if isinstance(loaded, list):
            return _refused(422, "\n".join(map(str, loaded)))
        site, ivr_file = loaded
        number = _text(body, "number")
        placed = place(site, ivr_file, number, _text(body, "caller"), _text(body, "caller_name", ""))
        if placed is None:
            return _refused(422, f"{number} leads to no IVR")
        library = await asyncio.to_thread(self._library, site)
        self._webhook.learn(ivr_file)  # a secret may be another one now
        call = PhoneCall(World(self._webhook, library, site.defaults.transfer_timeout_s), ivr_file, *placed)
        name = await self._calls.begin(call)
        return _json({"call": name, **call.state()})

    async def _act(self, request: web.Request) -> web.Response:
        call = self._calls.find(request.match_info["call"])
        if call is None:
            return _refused(404, "this call is over: too many others have begun since")
        body = await object_in(request)
        try:
            await call.act(_number(body, "step"), _text(body, "what"), _text(body, "value", ""))
        except WrongError as error:
            raise ApiError(400, str(error)) from None
        return _json(call.state(_number(body, "after")))

    async def _sound(self, request: web.Request) -> web.Response:
        """A sound as a caller hears it: what RTPengine plays."""
        loaded = await self._loaded({})
        if isinstance(loaded, list):
            return _refused(422, "\n".join(map(str, loaded)))
        library = await asyncio.to_thread(self._library, loaded[0])
        sound = await library.get(request.match_info["name"])
        if sound is None:
            return _refused(404, library.why_not(request.match_info["name"]))
        data = await asyncio.to_thread(sound.path.read_bytes)
        return web.Response(body=wav_of(data), content_type="audio/wav", headers=SECURITY)

    async def _loaded(self, edits: dict[str, str]) -> tuple[Site, IvrFile] | list[Finding]:
        """The site and the IVRs as they are now, with `edits`; or what is wrong with them."""
        return await asyncio.to_thread(lambda: load_both(self._place.site_path, self._files.texts(edits)))

    def _library(self, site: Site) -> SoundLibrary:
        """The site's sounds; each is converted when it is first asked for."""
        folder = self._place.site_path.parent / site.sounds
        if folder not in self._libraries:
            self._libraries[folder] = SoundLibrary.load(folder, cache_of_user(), names=())
        return self._libraries[folder]


def _static(path: Path) -> Handler:
    kind = TYPES[path.suffix]

    async def serve(_request: web.Request) -> web.Response:
        body = await asyncio.to_thread(path.read_bytes)
        headers = SECURITY | {"Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return serve


def _json(value: Any, status: int = 200) -> web.Response:
    dumps = partial(json.dumps, ensure_ascii=False)
    return web.json_response(value, status=status, dumps=dumps, headers=SECURITY | {"Cache-Control": "no-store"})


def _refused(status: int, detail: str, **more: Any) -> web.Response:
    """A problem as data (RFC 9457)."""
    return _json({"status": status, "detail": detail, **more}, status)


def _text(body: dict[str, Any], key: str, default: str | None = None) -> str:
    value = body.get(key, default)
    if not _is_text(value):
        raise ApiError(400, f"{key} must be a text")
    return str(value)


def _number(body: dict[str, Any], key: str) -> int:
    value = body.get(key)
    if type(value) is not int:
        raise ApiError(400, f"{key} must be a whole number")
    return value


def _edits(body: dict[str, Any]) -> dict[str, str]:
    """The texts that stand in the editor and are not saved, by file name."""
    edits = body.get("edits", {})
    if not isinstance(edits, dict) or not all(map(_is_text, edits.values())):
        raise ApiError(400, "edits must be texts by file name")
    return edits


def _is_text(value: object) -> bool:
    """JSON can also write half of a surrogate pair, which is no text that a file could hold."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
