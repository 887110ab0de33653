"""The request to the web application: call facts, variables and a configured URL make an `HttpRequest` (R1-R6)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote_plus

from callinteractive.remember import keep, remember
from callinteractive.urls import (
    ascii_host,
    follow,
    is_same_origin,
    login_problem,
    redirect_target,
    server_problem,
    split_login,
)
from callinteractive.web import NOTHING, Web

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VARIABLE = re.compile(r"\$(" + VARIABLE_NAME.pattern + ")", re.ASCII)
FORM: Final = "application/x-www-form-urlencoded"
MAX_URL = 8000
"""Characters of a URL, as it is written and as it is sent. RFC 9110 4.1 asks servers for so many; few take more."""
_NOT_IN_URLS = re.compile(r"[^!-~]")
_RESERVED = re.compile(r"[^A-Za-z0-9_.~-]", re.ASCII)
"""All but what RFC 3986 2.3 lets stand."""
_SHORT: Final = 64
"""Texts of at most so many characters are decoded once and remembered. Most come again in the next call."""
_REMEMBERED: Final = 31
_MOST_REMEMBERED: Final = 2048
"""The longest that is remembered encoded, in characters, and how many are."""


@dataclass(slots=True, init=False, unsafe_hash=True)
class HttpRequest:
    """A request ready to be sent. Timeouts in seconds; `content_type` is set exactly when `body` is.

    `id`: the header webhook-id. It tells the web application a repeated request from a new one.
    `masked_url`: what is shown in place of the URL, where that has digits to be masked, and `hidden` are those (E3).
    `authorization`: the header of that name (W2). `web` says how it is sent, `fallback` what is asked when it has
    failed, without an ErrorCode yet (R8).

    Frozen by `Final`, with an `__init__` of its own: the one that a frozen dataclass makes is never compiled, and takes
    ten times as long as all else that makes a request.
    """

    method: Final[str]
    url: Final[str]
    body: Final[bytes | None]
    content_type: Final[str | None]
    connect_timeout_s: Final[float]
    timeout_s: Final[float]
    follow_redirects: Final[bool]
    id: Final[str]
    masked_url: Final[str]
    hidden: Final[tuple[str, ...]]
    authorization: str | None = field(repr=False)
    web: Final[Web]
    fallback: Final[HttpRequest | None]

    def __init__(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        content_type: str | None = None,
        connect_timeout_s: float = 2,
        timeout_s: float = 10,
        follow_redirects: bool = False,
        id: str = "",
        masked_url: str = "",
        hidden: tuple[str, ...] = (),
        authorization: str | None = None,
        web: Web = NOTHING,
        fallback: HttpRequest | None = None,
    ) -> None:
        self.method = method
        self.url = url
        self.body = body
        self.content_type = content_type
        self.connect_timeout_s = connect_timeout_s
        self.timeout_s = timeout_s
        self.follow_redirects = follow_redirects
        self.id = id
        self.masked_url = masked_url
        self.hidden = hidden
        self.authorization = authorization
        self.web = web
        self.fallback = fallback

    @property
    def deadline_s(self) -> float:
        """Within how many seconds all tries and the fallback are over (R7)."""
        if not self.web.retries and self.fallback is None:
            return self.timeout_s if self.web.deadline_s is None else min(self.timeout_s, self.web.deadline_s)
        return 2 * self.timeout_s if self.web.deadline_s is None else self.web.deadline_s

    @property
    def shown_url(self) -> str:
        """The URL for logs and events."""
        return self.masked_url or self.url

    def hide(self, text: str) -> str:
        """The text for logs and events: the same without what the caller has dialled in secret (E3)."""
        return str(hide(text, self.hidden)) if self.hidden else text


_LONGEST_SHOWN = 100
"""Characters of where a redirect leads."""
MASK = "***"
"""Shown in place of digits that are masked (E3)."""
_SHORTEST_HIDDEN = 2
"""One digit is in every text. Hiding it would hide nothing and spoil the text."""


def hide(shown: Any, values: Collection[str]) -> Any:
    """A text, or a list of them, with a mask in place of each of the values (E3). Anything else stays as it is."""
    if isinstance(shown, (list, tuple)):
        return [hide(item, values) for item in shown]
    if isinstance(shown, str):
        for value in sorted(values, key=len, reverse=True):  # one may be a part of another
            if len(value) >= _SHORTEST_HIDDEN:
                shown = shown.replace(value, MASK)
    return shown


def is_url(text: str) -> bool:
    """Whether it means to be a URL, not a file's name."""
    return text.lower().startswith(("http://", "https://"))


def check_url(url: str) -> str | None:
    """What is wrong with a configured URL, or None. Variables may stand in its query only (R4)."""
    if len(url) > MAX_URL:
        return f"a URL has at most {MAX_URL} characters; give longer values to your application by POST"
    if (host := ascii_host(url)) is not None:
        return f"a URL holds ASCII only; write the host as {host[:253]}"
    if (odd := _NOT_IN_URLS.search(url)) is not None:
        written = quote(odd[0], errors="replace")
        return f"a URL holds printable ASCII without spaces; percent-encode the rest: {written} for {odd[0]!r}"
    if _VARIABLE.search(url.partition("?")[0]):
        return "variables may stand in the query only (after ?), never in scheme, host, port or path"
    if "#" in url:
        return "a fragment (#) is never sent to a web application; write %23 for a literal #"
    return server_problem(url) or login_problem(url)


def variables_of(url: str) -> tuple[str, ...]:
    """The names of the variables in its query (R4), each once."""
    return tuple(dict.fromkeys(_VARIABLE.findall(url.partition("?")[2])))


def application_of(url: str) -> str:
    """Which web application a URL asks: its host, and its port where one is written. For logs and metrics.

    Never its user name and password (W2).
    """
    return _application_of(url.partition("?")[0])


@remember(256)
def _application_of(base: str) -> str:
    """base: the URL up to its query, which is new in each call."""
    authority = base.partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[2].lower()


def build(
    url: str,
    method: str,
    parameters: Mapping[str, str],
    variables: Mapping[str, str],
    masked: Collection[str] = (),
    *,
    id: str = "",
    connect_timeout_s: float = 2,
    timeout_s: float = 10,
    follow_redirects: bool = False,
    web: Web = NOTHING,
) -> HttpRequest:
    """Make the request of a Call Interactive rule.

    `url` is as configured and has passed `check_url`; `parameters` come from `CallFacts.parameters`.
    GET adds them to the URL's query, POST sends them as its body (R1). `masked`: variables that nobody may see (E3).
    """
    url, authorization = split_login(url)
    form = encode_form(parameters)
    is_post = method == "POST"
    added = None if is_post else form
    masked_url = ""
    if masked:
        shown = _filled_in(url, {**variables, **dict.fromkeys(masked, MASK)}, added)
        masked_url = shown.replace(quote(MASK), MASK)
    return HttpRequest(
        method,
        _filled_in(url, variables, added),
        form.encode("ascii") if is_post else None,
        FORM if is_post else None,
        connect_timeout_s,
        timeout_s,
        follow_redirects,
        id,
        masked_url,
        tuple([variables[name] for name in masked]),
        authorization,
        web,
    )


def _filled_in(url: str, variables: Mapping[str, str], added: str | None) -> str:
    """The URL with the values of its variables, and what is added to its query."""
    base, mark, query = url.partition("?")
    if "$" in query:
        query = _with_values(query, variables)
    if added is None:
        return base + mark + query
    return f"{base}?{query}&{added}" if query else f"{base}?{added}"


def _with_values(query: str, variables: Mapping[str, str]) -> str:
    # R4: a value is encoded, so that it can neither end its parameter nor add another. Octets of a SIP header that are
    # not UTF-8 arrive as lone surrogates. They have no UTF-8, so "?" is sent.
    return _VARIABLE.sub(lambda match: quote(variables.get(match[1], ""), safe="", errors="replace"), query)


def with_error_code(fallback: HttpRequest, code: str) -> HttpRequest:
    """The request to the fallback, with the reason why it is asked (R8)."""
    more = f"&ErrorCode={code}"
    shown = fallback.masked_url
    if fallback.body is not None:
        return replace(fallback, body=fallback.body + more.encode("ascii"))
    return replace(fallback, url=fallback.url + more, masked_url=shown and shown + more)


def redirected(request: HttpRequest, status: int, location: str) -> HttpRequest:
    """The request that a redirect asks for (RFC 9110 15.4). Raises ValueError.

    Another origin learns no password and no configured header.
    """
    url, authorization = split_login(follow(request.url, location))
    if len(url) > MAX_URL:
        raise ValueError(f"the redirect leads to a URL of {len(url)} characters, and at most {MAX_URL} are sent")
    if is_same_origin(url, request.url):
        request = replace(request, authorization=authorization or request.authorization)
    else:
        request = replace(request, authorization=authorization, web=replace(request.web, headers=()))
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        return replace(request, method="GET", url=url, body=None, content_type=None)
    return replace(request, url=url)


def shown_redirect(request: HttpRequest, location: str) -> str:
    """Where a redirect of the request leads, for messages: no login (W2), and no query, which may hold digits (E3)."""
    target = redirect_target(request.url, location)
    if "@" in target:
        target = "" if server_problem(target) else split_login(target)[0]
    path, mark, _ = request.hide(target).partition("?")
    return (path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…") + (mark and "?…")


def encode_form(values: Mapping[str, str]) -> str:
    """The same as `urllib.parse.urlencode`, several times as fast. What has no UTF-8 becomes "?"."""
    return "&".join([f"{_QUOTED[name]}={_QUOTED[value]}" for name, value in values.items()])


def decode_form(text: str) -> dict[str, str]:
    """The reverse of `encode_form`, several times as fast as `urllib.parse.parse_qsl`.

    Raises ValueError where a field is no ``name=value``, is given twice or is not UTF-8.
    """
    form: dict[str, str] = {}
    for pair in text.split("&"):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair[:40]!r} is no field")
        form[_unquote(name)] = _unquote(value)
    if len(form) != text.count("&") + 1:
        raise ValueError("a field is given twice")
    return form


def _unquote(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    plain = text.replace("%3A", ":")
    if plain.isascii() and plain.replace(":", "").isalnum():  # each call has a CallAPIID of its own
        return plain
    return _unquote_short(text) if len(text) <= _SHORT else unquote_plus(text, errors="strict")


@lru_cache(maxsize=2048)
def _unquote_short(text: str) -> str:
    return unquote_plus(text, errors="strict")


class _Quoted(dict[str, str]):
    """How texts are encoded. Short ones are remembered: most come again with the next call, an id does not."""

    def __missing__(self, text: str) -> str:
        if not text.isascii():
            quoted = quote_plus(text, errors="replace")
        elif text.replace(":", "").isalnum():  # each call has a CallID and a CallAPIID of its own
            quoted = text.replace(":", "%3A")
        else:
            quoted = _RESERVED.sub(_escape, text)
        return keep(self, _MOST_REMEMBERED, text, quoted) if len(text) <= _REMEMBERED else quoted


_QUOTED: Final = _Quoted()


def _escape(match: re.Match[str]) -> str:
    return "+" if match[0] == " " else f"%{ord(match[0]):02X}"
