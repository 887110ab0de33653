"""How a call of a test asks the web application: in this process (WSGI, ASGI, a function), or over HTTP."""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from callinteractive.asking import (
    MAX_REDIRECTS,
    after_fallback,
    credentials_of,
    failure_of,
    headers_of,
    may_be_better,
    to_fallback,
    told_of_redirect,
    why_not_sent,
)
from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest, redirected, shown_redirect
from callinteractive.response import MAX_BODY
from callinteractive.secret import Secret, SecretError
from callinteractive.urls import host_of, origin_of

_FUNCTION, _WSGI, _ASGI = 1, 2, 3
"""How many arguments each kind of application takes."""


@dataclass(frozen=True)
class Request:
    """A request to the web application. `request["CallerIDNum"]` is a parameter, of the query or of the body.

    `answer` is the body of its answer and `status` the answer's status, 0 where there was none. `failure` then says
    why, and is empty otherwise.
    """

    method: str
    url: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    answer: str = ""
    status: int = 0
    failure: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """All parameters, by name."""
        return self.query | self.form

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


Function = Callable[[Request], "str | bytes | int | tuple[int, str | bytes] | None"]
Application = str | Callable[..., Any] | None
"""A web application: a WSGI or ASGI application, a function that gets the `Request`, the URL of a server that runs, or
None to ask the URLs that are in the IVR."""


class Web(ABC):
    """Asks one web application, as a sidecar does: signed, again, then its fallback, all as the key `web` says.

    Connections break no test: there is no breaker, no pause between two tries, and any address may be asked.
    """

    read_secret: Callable[[Secret], str]
    """Raises SecretError."""

    @abstractmethod
    def send(self, request: HttpRequest, headers: dict[str, str]) -> httpx.Response:
        """The answer, whatever its status. Raises httpx.HTTPError, TimeoutError or OSError where there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads."""

    def fetch(self, request: HttpRequest, tell: Callable[[Request], None]) -> Fetched | FetchFailed:
        """What the script of the call is told. Only what the application itself raises is raised here.

        `tell` is told of each request that is sent, or would be.
        """
        answer = self._ask(request, tell)
        if request.fallback is None or (before := failure_of(answer)) is None:
            return answer
        return after_fallback(before, self._ask(to_fallback(request.fallback, answer, before), tell))

    def _ask(self, request: HttpRequest, tell: Callable[[Request], None]) -> Fetched | FetchFailed:
        """One URL, as often as `retries` says (R7)."""
        tries = 1 + request.web.retries
        while True:
            seen: list[dict[str, str]] = []
            hops: list[str] = []
            answer = told_of_redirect(self._try(request, seen, hops), hops)
            sent = replace(described(request), headers=seen[0] if seen else {})
            if isinstance(answer, Fetched):
                tell(replace(sent, status=answer.status, answer=answer.body.decode(errors="replace")))
            else:
                tell(replace(sent, failure=answer.reason))
            tries -= 1
            if not tries or not may_be_better(answer):
                return answer

    def _try(self, request: HttpRequest, seen: list[dict[str, str]], hops: list[str]) -> Fetched | FetchFailed:
        if (never := why_not_sent(request)) is not None:
            return never
        try:
            seen.append(self._headers(request))
            response = self.send(request, seen[0])
            for _ in range(MAX_REDIRECTS + 1):
                if not response.has_redirect_location:
                    break
                location = _location(response)
                hops.append(shown_redirect(request, location))
                if not request.follow_redirects:
                    break
                try:
                    request = redirected(request, response.status_code, location)
                except ValueError as error:
                    return FetchFailed("protocol", f"a redirect to something that is no URL: {error}")
                response = self.send(request, self._headers(request))
            else:
                return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except (TimeoutError, httpx.TimeoutException):
            return FetchFailed("timeout", f"no answer within {request.timeout_s:g} s")
        except SecretError as error:
            return FetchFailed("secret", f"not sent: {error}")
        except _ForbiddenError as error:
            return FetchFailed("forbidden", f"not sent: allow_hosts does not name {error}")
        except (ConnectionError, httpx.NetworkError) as error:
            return FetchFailed("unreachable", str(error) or type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return FetchFailed("protocol", f"not an HTTP answer: {type(error).__name__}: {error}"[:200])
        if response.is_success and len(response.content) > MAX_BODY:
            return FetchFailed("too_large", f"the answer is longer than {MAX_BODY} octets")
        told = hops[-1] if hops else ""
        return Fetched(response.status_code, response.content, response.headers.get("Content-Type"), redirected_to=told)

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        """Raises SecretError, _ForbiddenError."""
        host = host_of(origin_of(request.url))
        if not request.web.allows(host):
            raise _ForbiddenError(host)
        return headers_of(request, _target(request), credentials_of(request.web, self.read_secret), int(time.time()))


class _ForbiddenError(Exception):
    """`allow_hosts` does not name the host."""


def _location(response: httpx.Response) -> str:
    """As the sidecar reads it: each octet is a character, whatever it means."""
    response.headers.encoding = "latin-1"
    return response.headers["Location"]


def _target(request: HttpRequest) -> str:
    """What stands in the request line."""
    url = urlsplit(request.url)
    return f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"


def web_of(application: Application) -> Web:
    """Raises TypeError for what is no application."""
    if application is None or isinstance(application, str):
        return _OverHttp(application)
    kind = _arguments(application)
    if kind == 0:
        return web_of(application())  # a factory, such as Flask's create_app
    if kind == _FUNCTION:
        return _InFunction(application)
    if kind == _WSGI:
        return _InWsgi(application)
    if kind == _ASGI:
        return _InAsgi(application)
    raise TypeError(
        f"{application!r} is no web application: give a WSGI application (2 arguments), an ASGI application (3), "
        f"a function that gets the request (1), or the URL of a server; this takes {kind} arguments"
    )


def described(request: HttpRequest) -> Request:
    """The request as a test looks at it, without headers."""
    url = urlsplit(request.url)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    form = dict(parse_qsl((request.body or b"").decode(), keep_blank_values=True))
    return Request(request.method, request.url, url.path or "/", query, form, {})


def _arguments(application: Callable[..., Any]) -> int:
    """How many arguments it must be given."""
    if not callable(application):
        raise TypeError(f"{application!r} is no web application: it cannot be called")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(application).parameters.values()
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)


def _arguments_of(request: HttpRequest, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "content": request.body,
        "headers": headers,
        "timeout": httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
    }


class _OverHttp(Web):
    def __init__(self, origin: str | None) -> None:
        """`origin`: the scheme, host and port to ask, in place of those of the IVR's URLs."""
        self._client = httpx.Client(trust_env=False)
        self._origin = origin and origin.rstrip("/")
        if self._origin and (not urlsplit(self._origin).netloc or urlsplit(self._origin).path):
            raise TypeError(f"{origin!r} is no server: write it as http://127.0.0.1:5000")

    def send(self, request: HttpRequest, headers: dict[str, str]) -> httpx.Response:
        self._client.cookies.clear()  # the next caller must not send the cookies of this one
        arguments = _arguments_of(request, headers)
        if self._origin:
            arguments["url"] = self._origin + request.url.removeprefix(origin_of(request.url))
        return self._client.request(**arguments)

    def close(self) -> None:
        self._client.close()


class _InWsgi(Web):
    """Flask, Django, Pyramid, …"""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._target = ""

        def called(environ: dict[str, Any], start_response: Any) -> Any:
            # What is signed of a GET. Servers give it to applications under these names.
            return application(environ | {"RAW_URI": self._target, "REQUEST_URI": self._target}, start_response)

        self._client = httpx.Client(transport=httpx.WSGITransport(called))

    def send(self, request: HttpRequest, headers: dict[str, str]) -> httpx.Response:
        self._client.cookies.clear()
        self._target = _target(request)
        return self._client.request(**_arguments_of(request, headers))

    def close(self) -> None:
        self._client.close()


class _InAsgi(Web):
    """FastAPI, Starlette, Quart, … They need an event loop. Theirs is in a thread: the test may have its own."""

    def __init__(self, application: Callable[..., Any]) -> None:
        import asyncio  # noqa: PLC0415  the core is imported where there is no event loop

        self._thread = ThreadPoolExecutor(1, "callinteractive.testing")
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(application))

    def send(self, request: HttpRequest, headers: dict[str, str]) -> httpx.Response:
        self._client.cookies.clear()
        send = lambda: self._runner.run(self._client.request(**_arguments_of(request, headers)))  # noqa: E731
        return self._thread.submit(send).result()

    def close(self) -> None:
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


class _InFunction(Web):
    """A function: it returns the XML, a status, both, or None for nothing (204). To raise TimeoutError or
    ConnectionError is to be slow or dead."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def close(self) -> None:
        """It holds nothing."""

    def send(self, request: HttpRequest, headers: dict[str, str]) -> httpx.Response:
        answer = self._function(replace(described(request), headers=headers))
        if answer is None:
            return httpx.Response(204)
        if isinstance(answer, int):
            return httpx.Response(answer)
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        if not isinstance(body, str | bytes):
            raise TypeError(f"the application answers {body!r}: it must be the XML as text or bytes, a status, or None")
        charset = "; charset=utf-8" if isinstance(body, str) else ""  # octets say it themselves
        return httpx.Response(status, content=body, headers={"Content-Type": f"application/xml{charset}"})
