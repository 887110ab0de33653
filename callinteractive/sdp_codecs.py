"""A session description with only some of its audio codecs (RFC 8866 5.14, RFC 3264 5.1). Pure, linear in length."""

from __future__ import annotations

import re
from collections.abc import Collection

from callinteractive.sdp import LINE_END, MAX_SDP

_STATIC = {"0": "pcmu", "3": "gsm", "4": "g723", "8": "pcma", "9": "g722", "13": "cn", "15": "g728", "18": "g729"}
"""RFC 3551 6."""
_BESIDE = ("telephone-event", "cn")
"""No codecs: digits and silence, for any of them."""
_RTPMAP = re.compile(r"a=rtpmap:([0-9]{1,3}) ([^/\s]{1,40})", re.IGNORECASE)
_OF_PAYLOAD = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):([0-9]{1,3})\b", re.IGNORECASE)
_AUDIO = re.compile(r"m=audio [0-9/]{1,12} [^ ]{1,64} ", re.IGNORECASE)


def keep_codecs(sdp: str, codecs: Collection[str]) -> str | None:
    """The description without other codecs than these, named in lower case.

    None where a sound would have none left, or where the description is too long.
    """
    if len(sdp) > MAX_SDP:
        return None
    sections: list[list[str]] = [[]]
    for line in filter(None, LINE_END.split(sdp)):
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    kept = [section if not section or not _AUDIO.match(section[0]) else _keep(section, codecs) for section in sections]
    if None in kept:
        return None
    return "".join(f"{line}\r\n" for section in kept if section for line in section)


def _keep(section: list[str], codecs: Collection[str]) -> list[str] | None:
    """One section of audio; None where none of its codecs is left."""
    head = _AUDIO.match(section[0])
    assert head is not None
    payloads = section[0][head.end() :].split()
    names = _STATIC | {match[1]: match[2].lower() for line in section if (match := _RTPMAP.match(line))}
    kept = [payload for payload in payloads if names.get(payload) in codecs or names.get(payload) in _BESIDE]
    if all(names.get(payload) in _BESIDE for payload in kept):
        return None
    gone = set(payloads) - set(kept)
    lines = [line for line in section[1:] if not ((match := _OF_PAYLOAD.match(line)) and match[1] in gone)]
    return [head[0] + " ".join(kept), *lines]
