"""How the web application is asked, by a sidecar and by a test alike: everything but the sending (R7, R8, W1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from callinteractive.errors import ResponseError
from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import MAX_URL, HttpRequest, with_error_code
from callinteractive.response import parse
from callinteractive.secret import Secret, SecretError
from callinteractive.urls import after_redirect, status_problem
from callinteractive.web import Web
from callinteractive.web_file import header_problem
from callinteractive.webhook_signature import key_of, sign

MAX_REDIRECTS = 5
_ALWAYS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # 64 KiB of compressed answer can unpack to gigabytes
}
_MOST_REASON = 400


@dataclass(frozen=True, slots=True)
class Credentials:
    """`keys` sign a request. `headers` are those of every request, the configured ones among them."""

    keys: tuple[bytes, ...] = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def credentials_of(web: Web, read: Callable[[Secret], str]) -> Credentials:
    """Those of the key `web` of an IVR. `read` gives the text of a secret, and may raise SecretError, as this does."""
    own: dict[str, str] = {}
    for name, secret in web.headers:
        own[name] = _header(secret, read(secret))
    overridden = {name.lower() for name in own}
    always = {name: value for name, value in _ALWAYS.items() if name.lower() not in overridden}
    return Credentials(tuple([_key(secret, read(secret)) for secret in web.secrets]), {**always, **own})


def headers_of(request: HttpRequest, target: str, credentials: Credentials, at: int) -> dict[str, str]:
    """The headers of a request. target: as it will stand in the request line. at: now, in seconds since the epoch."""
    headers = dict(credentials.headers)
    if request.authorization:
        for name in [name for name in headers if name.lower() == "authorization"]:
            del headers[name]
        headers["Authorization"] = request.authorization
    if request.content_type:
        headers["Content-Type"] = request.content_type
    if request.id:
        headers["webhook-id"] = request.id
        if credentials.keys:
            payload = target.encode("ascii") if request.body is None else request.body
            headers |= sign(credentials.keys, request.id, at, payload)
    return headers


def why_not_sent(request: HttpRequest) -> FetchFailed | None:
    """Why nobody should send it; None where it can be sent."""
    length = len(request.url)
    if length <= MAX_URL:
        return None
    return FetchFailed(
        "too_long",
        f"not sent: the URL has {length} characters with its variables and parameters, and at most {MAX_URL} are sent; "
        "use POST, and put no long variable into the URL",
    )


def may_be_better(answer: Fetched | FetchFailed) -> bool:
    """Whether another try may help (R7)."""
    if isinstance(answer, Fetched):
        return answer.status >= 500
    return answer.outcome in ("timeout", "unreachable")


def told_of_redirect(answer: Fetched | FetchFailed, hops: Sequence[str]) -> Fetched | FetchFailed:
    """hops: where the request was redirected to, for messages, one after the other."""
    if not hops or isinstance(answer, Fetched):
        return answer
    return FetchFailed(answer.outcome, after_redirect(answer.reason, hops[-1]))


def failure_of(answer: Fetched | FetchFailed) -> FetchFailed | None:
    """Why a fallback must be asked; None if the answer can be used (R8)."""
    if isinstance(answer, FetchFailed):
        return answer
    if not 200 <= answer.status <= 299:
        return FetchFailed("status", status_problem(answer.status, answer.redirected_to))
    try:
        parse(answer.body, answer.content_type)
    except ResponseError as error:
        return FetchFailed("invalid", after_redirect(str(error), answer.redirected_to))
    return None


def to_fallback(fallback: HttpRequest, answer: Fetched | FetchFailed, failure: FetchFailed) -> HttpRequest:
    """The request to the fallback. failure: what `failure_of` says of the answer."""
    code = str(answer.status) if isinstance(answer, Fetched) and failure.outcome == "status" else failure.outcome
    return with_error_code(fallback, code)


def after_fallback(before: FetchFailed, answer: Fetched | FetchFailed) -> Fetched | FetchFailed:
    """What the script is told. before: why the fallback was asked. answer: the fallback's."""
    if isinstance(answer, FetchFailed):
        reason = f"{before.reason}; fallback_url: {answer.reason}"
        return FetchFailed(answer.outcome, reason[:_MOST_REASON])
    return replace(answer, before=before)


def _key(secret: Secret, text: str) -> bytes:
    try:
        return key_of(text)
    except ValueError as error:
        raise SecretError(f"the secret {_where(secret)}{error}") from None


def _header(secret: Secret, text: str) -> str:
    if problem := header_problem(text):
        raise SecretError(f"the header {_where(secret)}can't be sent: {problem}")
    return text


def _where(secret: Secret) -> str:
    place = secret.file or secret.variable
    return f"of {place} " if place else ""
