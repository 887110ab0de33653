"""The codecs of a trunk (`trunks[].codecs`): its offers, and what it is offered, have no others."""

from __future__ import annotations

import re
from collections.abc import Collection

from callinteractive.multipart import SDP, media_type, session_description
from callinteractive.sdp_codecs import keep_codecs
from kemi import ksr
from kemi.refusal import Refused

_ABOUT_SENDER = re.compile(r"^[iuep]=[^\r\n]*(?:\r\n?|\n|\Z)", re.MULTILINE)
_SESSION_NAME = re.compile(r"^s=[^\r\n]*", re.MULTILINE)
_ORIGIN = re.compile(r"^o=[^ \r\n]*", re.MULTILINE)


def limit_caller(codecs: Collection[str]) -> None:
    """A trunk's INVITE, before anything is done with it. Raises Refused where it offers none of them."""
    if codecs and not limit(codecs, at_once=True):
        raise Refused(488, "Not Acceptable Here", advice="it offers none of the trunk's codecs in site.yaml")


def can_offer(codecs: Collection[str]) -> bool:
    """Whether the INVITE at hand offers any of them, or nothing yet."""
    text = _description() if codecs and ksr.has_body() else None
    return text is None or keep_codecs(text, codecs) is not None


def limit(codecs: Collection[str], *, at_once: bool = False, is_hidden: bool = False) -> bool:
    """Take the others out of the message at hand; in a branch route, of that branch. False where none is left.

    None are taken out where `codecs` is empty. `at_once`: what reads the message after us sees it so. `is_hidden`: what
    tells of its sender is taken out too. A message without a description stays as it is.
    """
    if not ksr.has_body():
        return True
    text = _description()
    if text is None:
        return True  # others say what is wrong with it
    kept = keep_codecs(text, codecs) if codecs else text
    if kept is None:
        return False
    if is_hidden:
        kept = without_sender(kept)
    if kept != text or (is_hidden and media_type(ksr.header("Content-Type")) != SDP):
        ksr.replace_body(kept, SDP)
        if at_once:
            ksr.apply_changes()
    return True


def _description() -> str | None:
    part = session_description(ksr.header("Content-Type"), ksr.body_leniently().encode())
    return None if part is None else part.decode()


def without_sender(sdp: str) -> str:
    """The description without what may tell who has sent it (RFC 8866 5, RFC 3323 4.1)."""
    return _ORIGIN.sub("o=-", _SESSION_NAME.sub("s=-", _ABOUT_SENDER.sub("", sdp)))
