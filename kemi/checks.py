"""What any request must be before it is looked at further (RFC 3261 8.2, 16.3)."""

from __future__ import annotations

from kemi import ksr
from kemi.refusal import Answered, Refused

_SCHEMES = frozenset(("sip", "sips", "tel"))
_NEVER_ASKED = frozenset(("ACK", "CANCEL"))
"""Nothing may be required of these (RFC 3261 8.2.2.3)."""
_ANSWERED_HERE = frozenset(("OPTIONS", "REGISTER"))
"""Outside a dialog we are the UAS of these, so Require is said to us."""
_LONGEST_LINE = 4096
_LONGEST_INVITE = 24_000
"""Octets. tm makes neither CANCEL nor ACK for an INVITE that has left with more than 32,767: it counts them in 15 bits.
The rest is for our own headers, and for what RTPengine adds."""
_MOST_NAMED = 10
_LONGEST_TAG = 40
_IN_TAG = frozenset("-.!%*_+`'~")


def check(method: str, *, is_for_us: bool) -> None:
    """`is_for_us`: the request is of no dialog. Raises Refused and Answered."""
    if not ksr.may_be_forwarded():
        if not ksr.header("Max-Forwards").isdigit():
            raise Refused(400, "Max-Forwards Is No Number")
        raise Refused(483, "Too Many Hops")
    # Kamailio gives no Request-URI that it can't read.
    uri = ksr.request_uri() or ksr.text()[:_LONGEST_LINE].partition(" ")[2]
    if not uri.startswith("sip:") and uri.partition(":")[0].lower() not in _SCHEMES:
        raise Refused(416, "Unsupported URI Scheme")  # RFC 3261 8.2.2.1
    if not ksr.is_sane():
        _mend_or_refuse()
    if not ksr.call_id().isprintable():  # RFC 3261 25.1: words
        raise Refused(400, "Malformed Call-ID")
    if method in _NEVER_ASKED:
        return
    if method == "INVITE" and ksr.length() > _LONGEST_INVITE:
        advice = f"an INVITE may have {_LONGEST_INVITE:,} octets; its sender must write a shorter one"
        raise Refused(513, "Message Too Large", advice=advice)  # RFC 3261 21.5.7
    asked = _option_tags("Proxy-Require")  # RFC 3261 16.3 check 5
    if is_for_us and method in _ANSWERED_HERE:
        asked += _option_tags("Require")
    if asked:
        raise Refused(420, "Bad Extension", f"Unsupported: {', '.join(asked)}\r\n")


def _mend_or_refuse() -> None:
    """Discard what a request by UDP or WebSocket has behind its body (RFC 3261 18.3). Raises Answered."""
    surplus = ksr.surplus()
    if surplus > 0 and ksr.cut(surplus) and not ksr.header("Max-Forwards"):
        ksr.may_be_forwarded()  # a lower number was written into the message, but a header only beside it
    if ksr.is_sane():  # if not: the answer is of the last check, and `surplus` may have made one that was passed
        return
    ksr.reply_to_insane()
    raise Answered(400, "Malformed")


def _option_tags(header: str) -> list[str]:
    """The option tags of a header. We know none that a proxy or registrar must heed."""
    if not ksr.header(header):
        return []
    tags = [tag.strip() for value in ksr.headers(header) for tag in value.split(",", _MOST_NAMED)[:_MOST_NAMED]]
    return [tag for tag in tags[:_MOST_NAMED] if tag and _is_token(tag)] or ["unreadable"]


def _is_token(text: str) -> bool:
    return len(text) <= _LONGEST_TAG and text.isascii() and all(char.isalnum() or char in _IN_TAG for char in text)
