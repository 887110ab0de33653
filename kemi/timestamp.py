"""The header Timestamp, by which a caller measures how long its INVITE takes to us (RFC 3261 8.2.6.1, 20.38)."""

from __future__ import annotations

import re

from kemi import ksr

_TIMESTAMP = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[ \t][0-9.]{1,20})?", re.ASCII)


def repeat_timestamp() -> None:
    """Of the INVITE at hand, in our 100. That is sent at once, so no delay is added."""
    if ksr.may_have_header("\ntimestamp") and _TIMESTAMP.fullmatch(value := ksr.header("Timestamp")):
        ksr.add_to_replies(f"Timestamp: {value}\r\n")
