"""What a SIP request says about its caller and the number called, as facts of the call (R2). Pure.

Lenient: phones and carriers write names as they like. What we send on is made by `callinteractive.identity`. Every text
is bounded in length first and read in linear time: a worker that is busy serves nobody else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from callinteractive.identity import Identity
from callinteractive.remember import remember
from kemi.contacts import without_headers
from kemi.refusal import Refused

MAX_ADDRESS = 4096
"""Characters of a From or P-Asserted-Identity."""
MAX_URI = 2048
"""Characters of a Request-URI."""

# Nothing in these patterns can be read in two ways, so that a failure costs one pass.
_QUOTED_NAME = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_SCHEME = re.compile(r"(?:sips?|(tel)):", re.IGNORECASE)
_VISUAL_SEPARATORS = str.maketrans("", "", "-.()")  # RFC 3966 3
_HIDING = frozenset(("id", "user", "header", "full"))
_GLOBAL_NUMBER = re.compile(r"\+[0-9]{1,20}", re.ASCII)


class UnreadableError(Refused):
    """The request can't be understood. The text is the reason phrase."""

    def __init__(self, reason: str, code: int = 400) -> None:
        super().__init__(code, reason)


def decode_user(text: str) -> str:
    """A user part without its escapes, parameters (``;phone-context=``) and password.

    Raises UnreadableError where the escapes are not UTF-8.
    """
    return _unescape(text.partition(";")[0].partition(":")[0])


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UnreadableError("User Part Is Not UTF-8") from None


class Dialled(NamedTuple):
    """The number that a Request-URI calls.

    `user`: the user part for our own Request-URI, escaped. `number`: the same as the caller dialled it. `telephone`:
    the number without visual separators, with its context in front (RFC 3966 5.1); the same as `number` mostly.
    """

    user: str
    number: str
    telephone: str


@lru_cache(maxsize=512)
def parse_dialled(uri: str) -> Dialled:
    """Read a Request-URI, a SIP or tel URI. Raises UnreadableError."""
    if len(uri) > MAX_URI:
        raise UnreadableError("Request-URI Too Long", 414)
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":  # RFC 3261 19.1.6: the number and its parameters are a SIP URI's user part
        user = rest.partition("?")[0].replace("@", "%40")
    else:
        user, at, _ = rest.partition("@")
        user = user if at else ""
    if " " in user or not user.isprintable():  # of a folded header: it would end the Request-URI, or its line
        raise UnreadableError("Unreadable Request-URI")
    number = decode_user(user)
    telephone = number.translate(_VISUAL_SEPARATORS)
    context = uri_parameters(user + "@").get("phone-context", "") if ";" in user else ""
    if context and not telephone.startswith("+"):
        context = context.partition(":")[0].translate(_VISUAL_SEPARATORS)  # behind it is the URI's password
        telephone = f"{context}{telephone}" if _GLOBAL_NUMBER.fullmatch(context) else telephone
    return Dialled(user, number, telephone)


def uri_parameters(uri: str) -> dict[str, str]:
    """The parameters of a SIP URI's user part and of the URI itself, unescaped. A parameter of the user part wins.

    Raises UnreadableError where the escapes are not UTF-8.
    """
    user, at, host = without_headers(uri).rpartition("@")
    found: dict[str, str] = {}
    for part in (*(user.split(";")[1:] if at else ()), *host.split(";")[1:]):
        name, _, value = part.partition("=")
        found.setdefault(_unescape(name).lower(), _unescape(value))
    return found


def parse_address(text: str) -> Identity:
    """The display name and the user of a From or P-Asserted-Identity value; of the first, if there are several.

    RFC 3261 25.1 name-addr and addr-spec. A name without quotes may hold anything but ``<``: CALLER (US), INC.
    Raises UnreadableError where there is no SIP or tel URI in it.
    """
    if len(text) > MAX_ADDRESS:
        raise UnreadableError("Caller's Address Is Too Long")
    return _identity_in(_without_parameters(text))


def _without_parameters(text: str) -> str:
    """Those behind the URI's bracket: the tag is new in each call, and nothing behind it says who calls."""
    end = text.rfind(">") + 1
    behind = text[end:]
    return text[:end] if end and '"' not in behind and "<" not in behind else text


@remember(256)
def _identity_in(text: str) -> Identity:
    name, uri = _split_address(text.strip())
    scheme = _SCHEME.match(uri)
    if not scheme:
        raise UnreadableError("Unreadable Caller")
    rest = uri[scheme.end() :]
    if scheme[1]:
        return Identity.of(name, decode_user(rest))
    user, at, _ = rest.partition("@")
    return Identity.of(name, decode_user(user) if at else "")


def _split_address(text: str) -> tuple[str, str]:
    """The display name without its quotes, and what begins with the URI."""
    if text.startswith('"'):
        quoted = _QUOTED_NAME.match(text)
        if not quoted:
            raise UnreadableError("Unreadable Caller")
        before, bracket, after = text[quoted.end() :].partition("<")
        return _QUOTED_PAIR.sub(r"\1", quoted[1]), (after if bracket else before).partition(">")[0].strip()
    before, bracket, after = text.partition("<")
    # A URI without brackets ends before a comma; another value may follow it.
    if not bracket or (_SCHEME.match(text) and "," in before):
        return "", text.partition(",")[0].partition(">")[0]
    return before.strip(), after.partition(">")[0].strip()


def asks_to_be_hidden(privacy: str) -> bool:
    """Whether a Privacy header asks for that (RFC 3323 4.2, RFC 3325 9.3)."""
    return not _HIDING.isdisjoint("".join(privacy[:MAX_ADDRESS].lower().split()).replace(",", ";").split(";"))


def find_identity(from_value: str, asserted: Callable[[], str]) -> Identity:
    """Who calls: as From says; if From is anonymous, as the network asserts (RFC 3325 9.1).

    `asserted` gives the value of P-Asserted-Identity. Most calls need not look for it.
    """
    caller = parse_address(from_value)
    if caller.is_anonymous and (value := asserted()):
        return parse_address(value)
    return caller


def new_call_id() -> str:
    """32 lower-case hex digits (R2)."""
    return os.urandom(16).hex()
