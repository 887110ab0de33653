"""The few Kamailio calls that routing needs, under the names of what they do here; the only module that imports KSR.

Reading functions raise UnicodeDecodeError where the message's octets are not UTF-8.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto

import KSR

from callinteractive.headers import PREFIX

_PRIVATE_HEADERS = f"^{PREFIX}"
_PREFIX = PREFIX.lower()


class Route(StrEnum):
    """The callbacks that can be armed for a transaction; `kemi.main.Callbacks` has a method for each.

    Arming one that does not exist poisons the worker's next message, hence no plain strings.
    """

    TO_SIDECAR = "to_sidecar"
    SIDECAR_FAILED = "sidecar_failed"


# --- The message at hand


def method() -> str:
    return _text(KSR.kx.get_method())


def source() -> tuple[str, int]:
    """Where the message came from: IP address and port."""
    port = KSR.kx.get_srcport()
    assert isinstance(port, int)
    return _text(KSR.kx.get_srcip()), port


def request_user() -> str:
    """The user part of the Request-URI, escapes as they came; empty without one."""
    return _text(KSR.kx.get_ruser())


def from_user() -> str:
    """The user part of From's URI, escapes as they came; empty without one."""
    return _text(KSR.kx.get_fuser())


def header(name: str) -> str:
    """The value of the first header of that name, also in its compact form; empty without one."""
    return _text(KSR.hdr.get(name))


def call_id() -> str:
    return _text(KSR.kx.get_callid())


def has_to_tag() -> bool:
    """Whether the request says that it belongs to a dialog."""
    return KSR.siputils.has_totag() > 0


# --- Checks; each answers the request itself where it fails


def is_sane() -> bool:
    """Well-formed as far as a proxy must know (RFC 3261 16.3); else it has been answered with 4xx."""
    return KSR.sanity.sanity_check(17895, 7) > 0


def may_be_forwarded() -> bool:
    """Max-Forwards (RFC 3261 16.3): False at zero; else it has been lowered, or added as 10 where missing."""
    return KSR.maxfwd.process_maxfwd(10) > 0


def is_flooding() -> bool:
    """Counts the request against its source. True once that sends more than pike's parameters allow."""
    return KSR.pike.pike_check_req() < 0


# --- Headers


def remove_private_headers() -> None:
    """Remove every X-CI-* header, however its name is capitalised. `header` still reads them in this route."""
    if _may_have_private_headers():
        KSR.textops.remove_hf_re(_PRIVATE_HEADERS)


def _may_have_private_headers() -> bool:
    """Cheap, and right in most messages: Kamailio compiles the expression anew at each call, ten times dearer."""
    try:
        return _PREFIX in _text(KSR.kx.get_msgbuf()).lower()
    except UnicodeDecodeError:
        return True


def remove_header(name: str) -> None:
    KSR.hdr.remove(name)


def append_headers(lines: str) -> None:
    """Add header lines, each ended by CRLF, to the branch in a branch route, else to every branch."""
    KSR.hdr.append(lines)


# --- Answering


def reply(code: int, reason: str, headers: str = "") -> None:
    """Answer the request: by its transaction if it has one, else statelessly. `headers` are whole lines.

    An ACK is never answered (RFC 3261 17.1.1.3).
    """
    if KSR.is_ACK():
        return
    if headers:
        KSR.hdr.append_to_reply(headers)
    KSR.sl.send_reply(code, reason)


# --- Transactions


class Match(Enum):
    """What tm knows of a request."""

    NEW = auto()
    ABSORBED = auto()
    """A retransmission, or the ACK of a failure: tm has dealt with it, leave it alone."""
    FOUND = auto()
    """A CANCEL's INVITE, or the ACK of a reply of our own."""


def match_transaction() -> Match:
    result = KSR.tm.t_check_trans()
    if result == 0:
        return Match.ABSORBED
    return Match.FOUND if result > 0 else Match.NEW


def relay() -> bool:
    """Forward statefully to every branch. False when nothing could be sent: the caller answers."""
    return KSR.tm.t_relay() > 0


def arm_branch(route: Route) -> None:
    KSR.tm.t_on_branch(route)


def arm_failure(route: Route) -> None:
    KSR.tm.t_on_failure(route)


def is_cancelled() -> bool:
    return KSR.tm.t_is_canceled() > 0


def branch_timed_out() -> bool:
    """In a failure route: whether the winning branch failed by our timer, not by an answer."""
    return KSR.tm.t_branch_timeout() > 0


def failure_code() -> int:
    """In a failure route: the status that the caller would get."""
    return KSR.tm.t_get_status_code()


def set_timers(until_final_ms: int, until_provisional_ms: int) -> None:
    """tm's fr_inv_timer and fr_timer for the branches to come."""
    KSR.tm.t_set_fr(until_final_ms, until_provisional_ms)


def remember(name: str, value: str) -> None:
    """Keep a text with the transaction, for its branch, failure and reply routes."""
    KSR.pvx.xavp_sets(name, value)


def recall(name: str) -> str:
    return _text(KSR.pvx.xavp_get(name))


# --- Record-Route and dispatcher


def record_route(parameters: str) -> None:
    """Stay in the dialog's path; `parameters` (``;name=value``) come back in its requests' Route."""
    KSR.rr.record_route_params(parameters)


def follow_route() -> bool:
    """Loose routing (RFC 3261 16.4). False when the request has no Route of ours to follow."""
    return KSR.rr.loose_route() > 0


def set_request_uri(uri: str) -> None:
    KSR.seturi(uri)


def select_destination(group: int) -> bool:
    """Put the host of a living member of the dispatcher group, in turn, into the Request-URI."""
    return KSR.dispatcher.ds_select_domain(group, 4) > 0


def mark_silent() -> None:
    """In a failure route: count the destination's silence; the second without an answer between takes it out."""
    KSR.dispatcher.ds_mark_dst_state("tp")


def next_destination() -> bool:
    """In a failure route: the next member of the group that was selected from. False when all were tried."""
    return KSR.dispatcher.ds_next_domain() > 0


# --- Logging and ending


def drop() -> None:
    """In a branch route: do not send this branch."""
    KSR.set_drop()


def log_error(text: str) -> None:
    KSR.err(text + "\n")


def _text(value: str | int | None) -> str:
    return value if isinstance(value, str) else ""
