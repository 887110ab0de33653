"""The API put together: who may ask, what can be asked for, and in which form errors are told.

Every request needs the token: ``Authorization: Bearer TOKEN``. Only the paths of `OPEN` and the page's own files need
none. There is no cookie: a browser would send it to every port of the host. All errors are problems as data (RFC 9457).
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from callinteractive.model import Site
from cli.active import Active
from cli.api import stories
from cli.api.fleet import Fleet
from cli.api.openapi import document
from cli.api.phones import Phones
from cli.api.sidecars import Sidecars
from cli.page.app import PUBLIC, Page
from sidecar.host import HostCommands
from sidecar.http_api import ApiError, object_in, problem

OPEN = frozenset(("/openapi.json", "/healthz"))
"""Paths that tell nothing of the site."""
SIDECARS: web.AppKey[Sidecars] = web.AppKey("sidecars", Sidecars)
PHONES: web.AppKey[Phones] = web.AppKey("phones", Phones)
FLEET: web.AppKey[Fleet] = web.AppKey("fleet", Fleet)
LARGEST_BODY = 1024 * 1024
"""Octets of a request's body: the editor sends a whole ivr.yaml."""
DEFAULT_LIMIT = 100


def create_app(
    site: Site,
    key: bytes,
    token: str,
    page: Page | None = None,
    active: Active | None = None,
    commands: HostCommands | None = None,
) -> web.Application:
    """The API of `site`, and its page.

    key: the site's secret; token: what users must show; active, commands: of this host.
    """
    is_open = OPEN | PUBLIC if page else OPEN
    app = web.Application(middlewares=[problems, guard(token, is_open)], client_max_size=LARGEST_BODY)

    async def sidecars(app: web.Application) -> AsyncIterator[None]:
        async with Sidecars(site.sidecars, key) as opened:
            app[SIDECARS] = opened
            app[FLEET] = Fleet(site, opened, commands)
            yield
            await app[FLEET].close()

    app.cleanup_ctx.append(sidecars)
    app[PHONES] = Phones.of_host(site, active)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/openapi.json", _openapi)
    app.router.add_get("/v1/calls", _calls)
    app.router.add_post("/v1/calls", _make)
    app.router.add_get("/v1/calls/{id}", _call)
    app.router.add_get("/v1/calls/{id}/media", _media)
    app.router.add_get("/v1/calls/{id}/records", _records)
    app.router.add_get("/v1/calls/{id}/sip", _messages)
    app.router.add_get("/v1/recent", _recent)
    app.router.add_delete("/v1/calls/{id}", _hang_up)
    app.router.add_post("/v1/calls/{id}/jump", _jump)
    app.router.add_get("/v1/phones", _phones)
    app.router.add_post("/v1/reload", _reload)
    app.router.add_get("/v1/drain", _drained)
    app.router.add_post("/v1/drain", _drain)
    if page:
        page.add_to(app)
    return app


# Who may ask, and what goes wrong.


def guard(token: str, is_open: frozenset[str]) -> Middleware:
    """Lets those in who show the token; to the open paths, everybody."""
    expected = token.encode()

    def is_same(said: str) -> bool:
        return hmac.compare_digest(said.encode("utf-8", "surrogateescape"), expected)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, said = request.headers.get("Authorization", "").partition(" ")
        if request.path in is_open or (scheme.lower() == "bearer" and is_same(said.strip())):
            return await handler(request)
        raise ApiError(401, "show the token: Authorization: Bearer TOKEN (in the state directory, file api-token)")

    return guarded


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells every error in the same form."""
    try:
        return await handler(request)
    except ApiError as error:
        response = problem(error.status, str(error))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = problem(error.status, error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


# What can be asked for.


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _openapi(_request: web.Request) -> web.Response:
    return web.json_response(document())


async def _calls(request: web.Request) -> web.Response:
    limit = DEFAULT_LIMIT
    with suppress(KeyError):
        text = request.query["limit"]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ApiError(400, f"limit must be a number, not {text[:40]!r}")
        limit = int(text)
    return web.json_response(await request.app[SIDECARS].calls(limit))


async def _make(request: web.Request) -> web.Response:
    call = await request.app[SIDECARS].make(await object_in(request))
    return web.json_response(call, status=201, headers={"Location": f"/v1/calls/{call['call_id']}"})


async def _call(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIDECARS].call(request.match_info["id"]))


async def _media(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIDECARS].act("GET", request.match_info["id"], "/media"))


async def _records(request: web.Request) -> web.Response:
    return web.json_response(await stories.records(request.app[SIDECARS], request.match_info["id"]))


async def _messages(request: web.Request) -> web.Response:
    return web.json_response(await stories.messages(request.app[SIDECARS], request.match_info["id"]))


async def _recent(request: web.Request) -> web.Response:
    return web.json_response(await stories.recent(request.app[SIDECARS]))


async def _hang_up(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIDECARS].act("DELETE", request.match_info["id"]), status=202)


async def _jump(request: web.Request) -> web.Response:
    body = await object_in(request)
    call_id = request.match_info["id"]
    return web.json_response(await request.app[SIDECARS].act("POST", call_id, "/jump", body), status=202)


async def _phones(request: web.Request) -> web.Response:
    return web.json_response(await request.app[PHONES].told())


async def _reload(request: web.Request) -> web.Response:
    return web.json_response(await request.app[FLEET].reload())


async def _drain(request: web.Request) -> web.Response:
    names = (await object_in(request)).get("parts", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ApiError(422, "parts must be a list of texts")
    return web.json_response(request.app[FLEET].drain(names), status=202)


async def _drained(request: web.Request) -> web.Response:
    return web.json_response(request.app[FLEET].drained())
