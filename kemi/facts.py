"""What a SIP request says about its caller and the number called, as facts of the call (R2). Pure."""

from __future__ import annotations

import re
import secrets
from urllib.parse import unquote

from callinteractive.identity import Identity
from kemi.refusal import Refused

# RFC 3261 25.1 name-addr and addr-spec, as far as a display name and a user part go. A tel URI's number ends at ";".
_ADDRESS = re.compile(
    r"""\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"\s*|(?P<token>[^"<,]*?)\s*)   # display name
        <?\s*(?:sips?:(?:(?P<user>[^@<>]*)@)?|tel:(?P<tel>[^;<>]*))""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class UnreadableError(Refused):
    """The request can't be understood. The text is the reason phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


def decode_user(text: str) -> str:
    """A user part without its escapes, parameters (``;phone-context=``) and password.

    Raises UnreadableError where the escapes are not UTF-8.
    """
    return _unescape(text.partition(";")[0].partition(":")[0])


def _unescape(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UnreadableError("User Part Is Not UTF-8") from None


def uri_parameters(uri: str) -> dict[str, str]:
    """The parameters of a SIP URI's user part and of the URI itself, unescaped. A parameter of the user part wins.

    Raises UnreadableError where the escapes are not UTF-8.
    """
    user, at, host = uri.partition("?")[0].rpartition("@")
    found: dict[str, str] = {}
    for part in (*(user.split(";")[1:] if at else ()), *host.split(";")[1:]):
        name, _, value = part.partition("=")
        found.setdefault(_unescape(name).lower(), _unescape(value))
    return found


def parse_address(text: str) -> Identity:
    """The display name and the user of a From or P-Asserted-Identity value; of the first, if there are several.

    Raises UnreadableError where there is no SIP or tel URI in it.
    """
    match = _ADDRESS.match(text)
    if not match:
        raise UnreadableError("Unreadable Caller")
    quoted = match["quoted"]
    name = match["token"] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
    return Identity.of(name or "", decode_user(match["user"] or match["tel"] or ""))


def find_identity(from_value: str, asserted_value: str) -> Identity:
    """Who calls: as From says; if From is anonymous, as the network asserts (RFC 3325 9.1)."""
    caller = parse_address(from_value)
    if caller.is_anonymous and asserted_value:
        return parse_address(asserted_value)
    return caller


def new_call_id() -> str:
    """32 lower-case hex digits (R2)."""
    return secrets.token_hex(16)
