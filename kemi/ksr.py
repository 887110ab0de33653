"""The few Kamailio calls that routing needs, named by what they do for us. Only this module imports KSR.

What reads the message raises UnicodeDecodeError where octets are not UTF-8, unless its docstring says otherwise.
"""

from __future__ import annotations

import re
import time
from enum import Enum, StrEnum, auto
from functools import lru_cache
from typing import Final, NamedTuple

import KSR

from callinteractive.fleet import Address
from callinteractive.headers import PREFIX

_PRIVATE_HEADERS: Final = f"^{PREFIX}"
_PREFIX: Final = PREFIX.lower()
_LONGEST_NAME: Final = 40
"""Of a private header."""
_RECORD_ROUTES = re.compile(r"^record-route[ \t]*:([^\r\n]{0,4000})", re.IGNORECASE | re.MULTILINE)

# Looked up once: for what runs with each message, that costs as much as the call itself.
_get_method: Final = KSR.kx.get_method
_get_srcip: Final = KSR.kx.get_srcip
_get_srcport: Final = KSR.kx.get_srcport
_get_protoid: Final = KSR.kx.get_protoid
_get_ruri: Final = KSR.kx.get_ruri
_get_duri: Final = KSR.kx.get_duri
_get_callid: Final = KSR.kx.get_callid
_get_msgbuf: Final = KSR.kx.get_msgbuf
_get_status: Final = KSR.kx.get_status
_pv_get: Final = KSR.pv.get
_hdr_get: Final = KSR.hdr.get
_hdr_get_idx: Final = KSR.hdr.get_idx
_t_check_trans: Final = KSR.tm.t_check_trans
_t_relay: Final = KSR.tm.t_relay
_has_totag: Final = KSR.siputils.has_totag
_process_maxfwd: Final = KSR.maxfwd.process_maxfwd
_sanity_check: Final = KSR.sanity.sanity_check
_get_bodylen: Final = KSR.kx.get_bodylen
_get_msglen: Final = KSR.kx.get_msglen
_xavp_get: Final = KSR.pvx.xavp_get
_xavp_sets: Final = KSR.pvx.xavp_sets
_xavp_seti: Final = KSR.pvx.xavp_seti
_sht_get: Final = KSR.htable.sht_get
_sht_inc: Final = KSR.htable.sht_inc
_loose_route: Final = KSR.rr.loose_route

_address: Final = lru_cache(maxsize=4096)(Address)
"""Remembered: most messages come from where others did, and to make one costs ten times as much."""

# What the modules' functions take as numbers, by the names of their documentation.
_MAX_FORWARDS: Final = 70
_RURI_SIP_VERSION, _RURI_SCHEME, _REQUIRED_HEADERS = 1, 2, 4
_CSEQ_METHOD, _CSEQ_VALUE, _CONTENT_LENGTH, _EXPIRES_VALUE, _PARSE_URI, _VIA1 = 32, 64, 128, 256, 1024, 16384
_MESSAGE_CHECKS: Final = (
    _RURI_SIP_VERSION
    + _RURI_SCHEME
    + _REQUIRED_HEADERS
    + _CSEQ_METHOD
    + _CSEQ_VALUE
    + _CONTENT_LENGTH
    + _EXPIRES_VALUE
    + _PARSE_URI
    + _VIA1
)
_URIS_OF_REQUEST_FROM_AND_TO: Final = 1 + 2 + 4
_TRYING_AND_PROBING = "tp"
_NO_FLAGS = 0
_USER_IS_CHECKED, _NO_CHECKS = 1, 0
_WRONG_PASSWORD, _WRONG_USER, _STALE_NONCE, _USED_NONCE = -2, -8, -4, -6
_IS_BEHIND_NAT, _PING_BY_OPTIONS = 6, 7
"""Branch flags, as in kamailio.cfg."""
_WITH_QOP_AUTH, _SAYS_STALE = 1, 16
UNCHANGED: Final = 0
"""For `set_timers`: this timer stays as it is."""
_LENGTHS: Final = ("\ncontent-length", "\nl:", "\nl ", "\nl\t")
_BINDING = ("addr", "received", "ruid", "socket")
_BINDING_NUMBERS = ("modified", "server_id")
COUNTED: Final = frozenset((400, 401, 403, 404, 405, 407, 414, 416, 420, 440, 478, 480, 481, 482, 483, 488, 500, 503))
"""Statuses that have a counter of their own, as in kamailio.cfg."""
CONNECTION_LIFETIME_S = 3605
"""As long as a registration may live (kamailio.cfg)."""
_UDP: Final = 1
_LONGEST_ALIASED: Final = 1000
"""Octets of a Request-URI with an alias."""
_TLS, _WEBSOCKETS = 3, (5, 6)
_MOST_HEADERS: Final = 20
_ITERATOR = "ci"
_OURSELVES = "sip:kamailio@callinteractive.invalid"
_CONTACTS = "ci"
"""Our name for the profile into which registrar copies contacts."""


class Route(StrEnum):
    """The callbacks that can be armed for a transaction. `kemi.main.Callbacks` has a method for each.

    No plain strings: if a callback that does not exist is armed, the worker fails at its next message.
    """

    TO_SIDECAR = "to_sidecar"
    SIDECAR_REPLIED = "sidecar_replied"
    SIDECAR_FAILED = "sidecar_failed"
    TO_TARGET = "to_target"
    TARGET_REPLIED = "target_replied"
    TARGET_FAILED = "target_failed"
    TRANSFER_FAILED = "transfer_failed"
    IN_DIALOG_REPLIED = "in_dialog_replied"
    HEIRS_WANTED = "heirs_wanted"
    TO_CANCELLED = "to_cancelled"


# --- The message at hand


def method() -> str:
    """Of a reply, that of its request."""
    return _get_method() or ""


def source() -> Address:
    """Where the message came from: IP address and port."""
    port = _get_srcport()
    assert isinstance(port, int)
    return _address(_get_srcip() or "", port)


def source_host() -> str:
    """The IP address alone."""
    return _get_srcip() or ""


def is_over_udp() -> bool:
    return _get_protoid() == _UDP


def is_over_tls() -> bool:
    return _get_protoid() == _TLS


def is_over_websocket() -> bool:
    return _get_protoid() in _WEBSOCKETS


def connection() -> int:
    """Kamailio's number of the connection that the message came by; 0 over UDP."""
    if is_over_udp():
        return 0
    number = _pv_get("$conid")
    return number if isinstance(number, int) else 0


def is_connected(connection: int) -> bool:
    """Whether that connection is open."""
    return KSR.tcpops.tcp_conid_alive(connection) > 0


def verified_certificate() -> str:
    """The certificate, in PEM, of who sent the message by TLS, if an authority that we believe vouches for it."""
    if not is_over_tls() or _text(_pv_get("$tls_peer_verified")) != "1":
        return ""
    return _text(_pv_get("$tls_peer_raw_cert"))


def packet_source() -> str:
    """In the callback that sees each packet before it is read: the IP address that it came from."""
    source = _pv_get("$rcv(srcip)")
    return source if isinstance(source, str) else ""


def request_uri() -> str:
    """The Request-URI as it is now; in a branch route, that of the branch."""
    return _get_ruri() or ""


def request_user() -> str:
    """The user part of the Request-URI, still escaped. Empty if there is none."""
    return KSR.kx.get_ruser() or ""


def from_user() -> str:
    """The user part of From's URI, still escaped. Empty if there is none."""
    return KSR.kx.get_fuser() or ""


def to_user() -> str:
    """The user part of To's URI, still escaped. Empty if there is none."""
    return KSR.kx.get_tuser() or ""


def to_uri() -> str:
    return _text(KSR.kx.get_turi())


def via_host() -> str:
    """What the sender of the request calls itself in the topmost Via. An IPv6 address has no brackets."""
    return _text(_pv_get("$sel(via.host)")).strip("[]")


def is_first_hop() -> bool:
    """Whether the request came from its author, by no other proxy."""
    return KSR.siputils.is_first_hop() > 0


def source_uri() -> str:
    """Where the message came from, as a SIP URI."""
    host, port = source()
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    by = _text(_pv_get("$pr")).lower()
    return f"sip:{where}" + (f";transport={by}" if by in ("tcp", "tls", "ws", "wss") else "")


def header(name: str) -> str:
    """The value of the first header of that name, also by its compact name. Empty if there is none.

    Octets that are not UTF-8 become U+FFFD: a display name may be in any code page.
    """
    try:
        return _hdr_get(name) or ""
    except UnicodeDecodeError:
        return _lenient(f"hdr({name})")


def headers(name: str) -> list[str]:
    """The values of the headers of that name, of the first `_MOST_HEADERS`: Kamailio seeks each from the beginning.

    Octets that are not UTF-8 become U+FFFD.
    """
    values: list[str] = []
    while len(values) < _MOST_HEADERS and (value := _header_at(name, len(values))):
        values.append(value)
    return values


def _header_at(name: str, index: int) -> str:
    try:
        return _hdr_get_idx(name, index) or ""
    except UnicodeDecodeError:
        return _lenient(f"hdr({name})", f"[{index}]")


def keep_connection() -> None:
    """The message at hand is of a party of ours: if it came by TCP or TLS, let its connection live."""
    if not is_over_udp():
        KSR.tcpops.tcp_set_connection_lifetime(CONNECTION_LIFETIME_S)


def record_routes() -> str:
    """The values of all Record-Route headers, joined by commas. Empty if there is none or the message is not UTF-8."""
    try:
        return ",".join(_RECORD_ROUTES.findall(text()))
    except UnicodeDecodeError:
        return ""


def call_id() -> str:
    return _get_callid() or ""


def via_branch(number: int = 1) -> str:
    """The branch in the topmost Via, or in that of another number; empty if there is none."""
    return _text(_pv_get(f"$sel(via[{number}].branch)"))


def from_tag() -> str:
    tag = _pv_get("$ft")
    return tag if isinstance(tag, str) else ""


def to_tag() -> str:
    """Empty if there is none."""
    tag = _pv_get("$tt")
    return tag if isinstance(tag, str) else ""


def next_hop() -> str:
    """The URI that the request is sent to; in a branch route, the branch."""
    return _get_duri() or _get_ruri() or ""


def received_at() -> str:
    """The address of ours that the message was sent to."""
    return KSR.kx.get_rcvip() or ""


def shown_at() -> str:
    """The same address as others know it, as a URI holds it."""
    host = _text(_pv_get("$RAi")) or received_at()
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_ours(host: str) -> bool:
    """Whether it is an address of this Kamailio, or one that it advertises."""
    return bool(host) and KSR.is_myself(f"sip:[{host}]" if ":" in host else f"sip:{host}")


def received_at_port() -> int:
    """The port of ours that the message was sent to."""
    port = KSR.kx.get_rcvport()
    assert isinstance(port, int)
    return port


def status() -> int:
    """Of a reply."""
    return _get_status()


def reason() -> str:
    """The reason phrase of a reply. Octets that are not UTF-8 become U+FFFD."""
    try:
        return _text(_pv_get("$rr"))
    except UnicodeDecodeError:
        return _lenient("rr")


def has_body() -> bool:
    return KSR.textops.has_body() > 0


def body() -> str:
    return KSR.kx.get_body() or ""


def body_leniently() -> str:
    """The body; octets that are not UTF-8 become U+FFFD."""
    try:
        return body()
    except UnicodeDecodeError:
        return _lenient("rb")


def text() -> str:
    """The whole message, as it came."""
    return _get_msgbuf() or ""


def length() -> int:
    """Of the same, in octets."""
    return _get_msglen()


def has_to_tag() -> bool:
    """Whether the request says that it belongs to a dialog."""
    return _has_totag() > 0


# --- Checks


def is_sane() -> bool:
    """Whether the request is well-formed, as far as a proxy must know (RFC 3261 16.3)."""
    return _sanity_check(_MESSAGE_CHECKS, _URIS_OF_REQUEST_FROM_AND_TO) > 0


def reply_to_insane() -> None:
    """Answer the request at hand with what `is_sane` has found."""
    KSR.sanity.sanity_reply()


def surplus() -> int:
    """How many octets the message has behind its body (RFC 3261 18.3).

    Negative where it ends before its body does, or where nobody can tell how long that is.
    """
    length = _pv_get("$cl")
    if not isinstance(length, int):  # no Content-Length, or none that can be read
        is_without = not may_have_header(*_LENGTHS) or _sanity_check(_CONTENT_LENGTH, 0) > 0
        return 0 if is_without else -1
    if _hdr_get_idx("Content-Length", 1) is not None:
        return -1
    return _get_bodylen() - length


def cut(surplus: int) -> bool:
    """Discard so many octets at the end. False where that failed.

    The message is then as if it had just come: what was changed in it must be changed again.
    """
    try:
        kept = text().encode()[:-surplus].decode()
    except UnicodeDecodeError:  # KEMI can't hand such a text back: the surplus stays, as a part of the body
        replace_header("Content-Length", str(_get_bodylen()))
        return KSR.textopsx.msg_apply_changes() > 0
    return KSR.textopsx.msg_set_buffer(kept) > 0


def may_be_forwarded() -> bool:
    """Max-Forwards (RFC 3261 16.3, 16.6): False at zero. Else it has been lowered, or added as 70."""
    return _process_maxfwd(_MAX_FORWARDS) > 0


def is_flooding() -> bool:
    """Count the request against its source. True if the source sends more than pike's parameters allow."""
    return KSR.pike.pike_check_req() < 0


# --- Headers


def has_private_headers() -> bool:
    """Whether the message may have X-CI-* headers. Says yes too often, never too rarely.

    Cheap: Kamailio compiles the expression of `remove_private_headers` anew at each call, which costs ten times more.
    """
    try:
        _in_small_letters()
    except UnicodeDecodeError:
        return True
    return _last.has_prefix


def remove_private_headers() -> None:
    """Remove every X-CI-* header, however its name is capitalised. Read those that are needed before.

    By their names, where the message is plain and has the prefix nowhere else: Kamailio would compile the expression.
    """
    names = _private_names()
    if names is None:
        KSR.textops.remove_hf_re(_PRIVATE_HEADERS)
        return
    for name in names:
        KSR.hdr.remove(name)


def _private_names() -> set[str] | None:
    """In small letters; None where reading the message by lines may not show all of them."""
    try:
        text = _in_small_letters()
    except UnicodeDecodeError:
        return None
    if not _last.text.isascii():
        return None
    names: set[str] = set()
    at = text.find(_PREFIX)
    while at >= 0:
        end = text.find(":", at, at + _LONGEST_NAME)
        name = text[at:end]
        if end < 0 or not at or text[at - 1] != "\n" or not name.replace("-", "").isalnum():
            return None
        names.add(name)
        at = text.find(_PREFIX, end)
    return names


def remove_header(name: str) -> None:
    KSR.hdr.remove(name)


def may_have_header(*beginnings: str) -> bool:
    """Whether the message may have a header whose name begins so. Says yes too often, never too rarely.

    `beginnings`: in small letters, each behind the line's end before it.
    """
    try:
        text = _in_small_letters()
    except UnicodeDecodeError:
        return True
    return any(beginning in text for beginning in beginnings)


def _in_small_letters() -> str:
    """The text of the message at hand. Several ask for it: it is made once. Raises UnicodeDecodeError."""
    text = _get_msgbuf() or ""
    if text != _last.text:
        _last.text, _last.in_small_letters = text, text.lower()
        _last.has_prefix = _PREFIX in _last.in_small_letters
    return _last.in_small_letters


class _LastText:
    """Of the message that was looked at last. No globals: in compiled code those cost more."""

    def __init__(self) -> None:
        self.text = ""
        self.in_small_letters = ""
        self.has_prefix = False


_last: Final = _LastText()


def remove_all_headers(*, but: str) -> None:
    """Remove all headers but those whose names match the POSIX expression, in large and small letters alike."""
    KSR.textops.remove_hf_exp(".", but)


def add_to_replies(lines: str) -> None:
    """Of ours to the request at hand, tm's 100 included. `lines`: whole header lines."""
    KSR.hdr.append_to_reply(lines)


def replace_header(name: str, value: str) -> None:
    KSR.hdr.rmappend(name, f"{name}: {value}\r\n")


def replace_contact(uri: str) -> None:
    KSR.hdr.remove("Contact")
    append_headers(f"Contact: <{uri}>\r\n")


def append_headers(lines: str) -> None:
    """Add header lines, each ended by CRLF: in a branch route to that branch, else to every branch."""
    KSR.hdr.append(lines)


def remove_option_tag(header_name: str, tag: str) -> None:
    """Take one token, in small letters, out of a header that lists them."""
    try:
        if tag not in _in_small_letters():  # Kamailio's function costs much also where there is nothing to take out
            return
    except UnicodeDecodeError:
        pass
    KSR.textopsx.exclude_hf_value(header_name, tag)


class From(NamedTuple):
    """A From header: the display name, already quoted, empty for none; and the URI."""

    display_name: str
    uri: str


def from_address() -> From:
    """That of the message, as it came. Octets of the name that are not UTF-8 become U+FFFD."""
    try:
        name = _text(_pv_get("$fn"))
    except UnicodeDecodeError:
        name = _lenient("fn")
    return From(name, KSR.kx.get_furi() or "")


def replace_from(shown: From) -> None:
    """Show another caller; in a branch route only to that branch. The tag stays.

    The values must be clean: Kamailio checks nothing.
    """
    KSR.uac.uac_replace_from(*shown)


def replace_to(shown: From) -> None:
    """As `replace_from`, in a request of the callee."""
    KSR.uac.uac_replace_to(*shown)


def turn_into_ringing() -> None:
    """In a reply route: make a 18x with SDP a plain 180."""
    remove_body()
    KSR.textopsx.change_reply_status(180, "Ringing")


def turn_into_unavailable(retry_after_s: int) -> None:
    """In the reply route: make a refusal a 503 that leads nowhere."""
    KSR.textopsx.change_reply_status(503, "Service Unavailable")
    KSR.hdr.remove("Contact")
    append_headers(f"Retry-After: {retry_after_s}\r\n")


def body_is_sdp() -> None:
    """The message's body was one of several parts; what replaces it is a session description alone."""
    KSR.hdr.remove("Content-Type")
    KSR.hdr.append("Content-Type: application/sdp\r\n")


def replace_body(text: str, content_type: str) -> None:
    """In a branch route, that of the branch."""
    KSR.textops.set_body(text, content_type)


def apply_changes() -> None:
    """In the request route, or the reply route: let what has been changed so far be the message."""
    KSR.textopsx.msg_apply_changes()


def remove_body() -> None:
    KSR.textopsx.remove_body()
    KSR.hdr.remove("Content-Type")


# --- RTPengine. `flags` are those of Kamailio's module. False if RTPengine is not there, or refuses


def use_media_set(number: int) -> bool:
    """The commands to RTPengine that follow are for the one in this set. False if there is no such set."""
    return KSR.rtpengine.set_rtpengine_set(number) > 0


def share_silent_media(text: str) -> None:
    """Tell all processes which RTPengines are silent."""
    KSR.pv.sets("$shv(silent_rtpengines)", text)


def silent_media() -> str:
    """What `share_silent_media` told last; empty before that."""
    told = _pv_get("$shv(silent_rtpengines)")
    return told if isinstance(told, str) else ""


def describe_media(sdp: str) -> None:
    """What RTPengine gets in the body's place (`read_sdp_pv` in kamailio.cfg). What it returns replaces the body."""
    KSR.pv.sets("$var(sdp)", sdp)


def offer_media(flags: str) -> bool:
    """Put RTPengine's addresses into the SDP of the message, which is an offer."""
    return KSR.rtpengine.rtpengine_offer(flags) > 0


def answer_media(flags: str) -> bool:
    """Put RTPengine's addresses into the SDP of the message, which is an answer."""
    return KSR.rtpengine.rtpengine_answer(flags) > 0


def delete_media(flags: str) -> bool:
    return KSR.rtpengine.rtpengine_delete(flags) > 0


def block_media(flags: str) -> bool:
    return KSR.rtpengine.block_media(flags) > 0


def unblock_media(flags: str) -> bool:
    return KSR.rtpengine.unblock_media(flags) > 0


# --- Answering


def reply(code: int, reason: str, headers: str = "") -> None:
    """Answer the request: through its transaction if it has one, else statelessly. `headers` are whole lines.

    An ACK is never answered (RFC 3261 17).
    """
    if KSR.is_ACK():
        return
    if headers:
        KSR.hdr.append_to_reply(headers)
    KSR.sl.send_reply(code, reason)


# --- WebSocket


def close_after_reply() -> None:
    """Of an HTTP request: its connection ends after the answer, unless that opens a WebSocket."""
    KSR.set_reply_close()
    KSR.set_reply_no_connect()


def reply_by_http(code: int, reason: str, headers: str = "") -> None:
    """Answer the HTTP request at hand. `headers` are whole lines."""
    if headers:
        KSR.hdr.append_to_reply(headers)
    KSR.xhttp.xhttp_reply(code, reason, "text/plain", f"{reason}\r\n")


def open_websocket() -> None:
    """Answer the HTTP request at hand: its connection carries SIP from now on. A bad request is refused."""
    KSR.websocket.handle_handshake()


def closed_websocket() -> int:
    """In the callback of its end: the number of the connection, as of `connection`."""
    number = _pv_get("$ws_conid")
    return number if isinstance(number, int) else 0


# --- NAT


def reply_to_source() -> None:
    """Send the replies of the request at hand to the port that it came from (RFC 3581)."""
    KSR.force_rport()


def add_contact_alias() -> None:
    """Add to the Contact where the message came from, as ``;alias=``."""
    KSR.nathelper.add_contact_alias()


def follow_alias() -> bool:
    """Send the message to the alias of its Request-URI, and remove the alias. False if the alias can't be read.

    nathelper copies the URI into 1,024 octets of the stack and heeds no bound: a longer one would end Kamailio.
    """
    is_short = len(request_uri().encode("utf-8", "surrogateescape")) <= _LONGEST_ALIASED
    return is_short and KSR.nathelper.handle_ruri_alias() > 0


def has_destination() -> bool:
    """Whether a Route says already where the message goes."""
    return KSR.isdsturiset()


def send_from(name: str) -> None:
    """Let the message leave from that socket of ours, like ``udp:192.0.2.1:5060``."""
    KSR.pv.sets("$fs", name)


def keep_source() -> None:
    """Of a REGISTER: keep with each of its contacts where it came from."""
    KSR.nathelper.fix_nated_register()


def ping_contacts() -> None:
    """Of a REGISTER: keep its contacts reachable behind their NAT, by an OPTIONS now and then."""
    KSR.setbflag(_IS_BEHIND_NAT)
    KSR.setbflag(_PING_BY_OPTIONS)


# --- Transactions


class Match(Enum):
    """What tm knows of a request."""

    NEW = auto()
    ABSORBED = auto()
    """A retransmission, or the ACK of a failure: tm has handled it, so we must not."""
    FOUND = auto()
    """tm has the INVITE of this CANCEL or ACK."""


_NEW, _ABSORBED, _FOUND = Match


def match_transaction() -> Match:
    result = _t_check_trans()
    return _NEW if result < 0 else _FOUND if result else _ABSORBED


def remember_reply() -> bool:
    """From now on, if the request at hand comes again, it gets the answer that we give it now (RFC 3261 17.2.2).

    False if it has come again already. Raises MemoryError where Kamailio has no memory for it.
    """
    if not is_over_udp():
        return True
    made = KSR.tm.t_newtran()
    if made < 0:
        raise MemoryError("transaction")
    return made != 0


def relay() -> bool:
    """Forward statefully to every branch. False if nothing could be sent; the request is not answered then."""
    global _relays  # noqa: PLW0603
    is_sent = _t_relay() > 0
    _relays += is_sent
    return is_sent


def relays() -> int:
    """How often this worker has forwarded anything."""
    return _relays


_relays = 0


def arm_branch(route: Route) -> None:
    KSR.tm.t_on_branch(route)


def arm_failure(route: Route) -> None:
    KSR.tm.t_on_failure(route)


def arm_reply(route: Route) -> None:
    KSR.tm.t_on_reply(route)


def arm_branch_failure(route: Route) -> None:
    KSR.tm.t_on_branch_failure(route)


def disarm_branch_failure() -> None:
    KSR.tm.t_on_branch_failure("")


def is_cancelled() -> bool:
    return KSR.tm.t_is_canceled() > 0


def is_new_call_cancelled() -> bool:
    """As `is_cancelled`, in the request route, where there may be no transaction yet: tm logs that as an error."""
    return _pv_get("$T(id_index)") is not None and is_cancelled()


def cancel_branches() -> None:
    """In the route of a 1xx: cancel it and all other branches that have no final response.

    Not those that tm is about to cancel, in another worker.
    """
    KSR.tmx.t_cancel_branches("this")


def status_of_branch() -> int:
    """In the route of a reply: the highest status that its branch has sent, this reply's included."""
    return _number(_pv_get("$T_reply_last"))


def transaction_id() -> str:
    """What tells the transaction of the message at hand from all others that live."""
    return f"{_text_of_number('$T(id_index)')}.{_text_of_number('$T(id_label)')}"


def branch_timed_out() -> bool:
    """In a failure route: whether our timer ended the branch, not an answer."""
    return KSR.tm.t_branch_timeout() > 0


def branch_replied() -> bool:
    """In a failure route: whether the branch has sent anything at all."""
    return KSR.tm.t_branch_replied() > 0


def branch_index() -> int:
    return KSR.tm.t_get_branch_index()


def failure_code() -> int:
    """In a branch's failure route its status; in the INVITE's, the status that the caller would get."""
    return KSR.tm.t_get_status_code()


def append_branch(uri: str) -> None:
    """Fork to one more address."""
    KSR.corex.append_branch_uri(uri)


def set_timers(until_final_ms: int, until_provisional_ms: int) -> None:
    """tm's fr_inv_timer and fr_timer for the branches to come."""
    KSR.tm.t_set_fr(until_final_ms, until_provisional_ms)


def set_lifetime(lifetime_ms: int) -> None:
    """The most that the INVITE may take. fr_inv_timer alone is not enough: a 183 after a 180 starts it again."""
    KSR.tm.t_set_max_lifetime(lifetime_ms, UNCHANGED)


def remember(name: str, value: str) -> None:
    """Keep a text with the transaction, for its branch, failure and reply routes (`kemi.transaction`).

    Raises MemoryError where Kamailio has no memory for it: what the later routes would do without it is wrong.
    """
    if _xavp_sets(name, value) == -1:
        raise MemoryError(name)


def recall(name: str) -> str:
    value = _xavp_get(name)
    return value if isinstance(value, str) else ""


def remember_number(name: str, value: int) -> None:
    if _xavp_seti(name, value) == -1:
        raise MemoryError(name)


def recall_number(name: str) -> int:
    value = _xavp_get(name)
    return value if isinstance(value, int) else 0


def send_request(method: str, uri: str, call_id: str, headers: str, body: str) -> None:
    """Send a request of our own outside any dialog. tm repeats it until it has an answer, which nobody waits for.

    `headers` are whole lines. Nothing is checked. Raises MemoryError where Kamailio has no memory for it.
    """
    for name, value in (
        *(("method", method), ("ruri", uri), ("turi", uri), ("furi", _OURSELVES), ("callid", call_id)),
        *(("hdrs", headers), ("body", body)),
    ):
        KSR.pv.sets(f"$uac_req({name})", value)
    if KSR.uac.uac_req_send() < 0:
        raise MemoryError(method)


# --- Record-Route and dispatcher


def record_route(parameters: str) -> None:
    """Stay in the dialog's path. `parameters` (``;name=value``) come back in the Route of its requests."""
    KSR.rr.record_route_params(parameters)


def add_to_record_route(written: str, more: str) -> None:
    """Reply route: write `more` behind the parameter that ends our Record-Route. `written` is how that begins.

    There are two of ours where the sides use different sockets (RFC 5658), perhaps in one header line. Both texts hold
    only letters, digits, ``;=.-``.
    """
    pattern = written.replace(".", r"\.")
    KSR.textops.subst_hf("Record-Route", f"/({pattern}[.0-9a-z-]*)/\\1{more}/g", "a")


def take_from_record_route(pattern: str) -> None:
    """Reply route: remove what matches the POSIX expression, which has no slash."""
    KSR.textops.subst_hf("Record-Route", f"/{pattern}//g", "a")


def follow_route() -> bool:
    """Loose routing (RFC 3261 16.4). False when the request has no Route of ours to follow."""
    return _loose_route() > 0


def is_from_caller() -> bool:
    """After `follow_route`: whether the side that made the dialog sends this request."""
    return KSR.rr.is_direction("downstream") > 0


def set_destination(uri: str) -> None:
    """Send the request there, whatever its Request-URI says."""
    KSR.setdsturi(uri)


def set_request_uri(uri: str) -> None:
    KSR.seturi(uri)


def mark_silent(group: int, uri: str) -> None:
    """Count the silence of that member of the dispatcher group. After two in a row the dispatcher takes it out."""
    # It marks what it has selected by itself, which it keeps there ("xavp_dst" in kamailio.cfg).
    KSR.pv.seti("$xavp(_dsdst_=>grp)", group)
    KSR.pv.sets("$xavp(_dsdst_[0]=>uri)", uri)
    KSR.dispatcher.ds_mark_dst_state(_TRYING_AND_PROBING)
    KSR.pv.unset("$xavp(_dsdst_)")


def is_alive(group: int, uri: str) -> bool:
    """Whether that member of the dispatcher group answers its probes."""
    return KSR.dispatcher.ds_is_active_uri(group, uri) > 0


# --- Registered phones


class Proof(Enum):
    """What the credentials of a request are worth."""

    GOOD = auto()
    NONE = auto()
    """There are none, or they can't be read, or their nonce is not from us: ask again."""
    STALE = auto()
    """Their nonce is used, too old, or another address's: ask again, and say that (RFC 7616 3.3)."""
    WRONG = auto()
    """A good nonce, but another password, or another user than From (REGISTER: To) names."""


def credentials_user() -> str:
    """The user name in the request's credentials; empty if there are none."""
    return _text(_pv_get("$au"))


def check_digest(realm: str, password: str, *, is_user_checked: bool = True) -> Proof:
    """Judge the request's credentials, which must be for the user in From (REGISTER: in To) if that is checked.

    auth takes the user from a Proxy-Authorization where there is one. In a REGISTER it has not read that, and would end
    Kamailio. Such a REGISTER is judged by the password alone.
    """
    if is_user_checked and method() == "REGISTER" and KSR.hdr.is_present("Proxy-Authorization") > 0:
        is_user_checked = False
    result = KSR.auth.pv_auth_check(realm, password, _NO_FLAGS, _USER_IS_CHECKED if is_user_checked else _NO_CHECKS)
    if result > 0:
        return Proof.GOOD
    if result in (_STALE_NONCE, _USED_NONCE):
        return Proof.STALE
    return Proof.WRONG if result in (_WRONG_PASSWORD, _WRONG_USER) else Proof.NONE


def challenge(realm: str, proof: Proof) -> None:
    """Answer 401 to a REGISTER, 407 to anything else, with qop=auth. `proof`: what its credentials are worth."""
    KSR.auth.auth_challenge(realm, _WITH_QOP_AUTH | (_SAYS_STALE if proof is Proof.STALE else 0))


def remove_credentials() -> None:
    KSR.auth.consume_credentials()


def save_contacts(table: str, address_of_record: str) -> None:
    """Store or remove contacts as the REGISTER says, and answer it."""
    KSR.registrar.save_uri(table, _NO_FLAGS, address_of_record)


class Binding(NamedTuple):
    """A registered contact: its URI, and the source of its REGISTER as a SIP URI.

    `id` is Kamailio's name for it. `connection` is that of a browser, as of `connection`. `socket`: where it came to.
    `modified`: when, in seconds since 1970. `edge`: which took it (`callinteractive.edge.edge_id`); 0: the only one.
    """

    uri: str
    source: str
    id: str = ""
    connection: int = 0
    socket: str = ""
    modified: int = 0
    edge: int = 0


def bindings_of(table: str, address_of_record: str) -> list[Binding]:
    """What is registered for it. One that has left is still in Kamailio's list until it is out of the file too."""
    if KSR.registrar.reg_fetch_contacts(table, address_of_record, _CONTACTS) < 0:
        return []
    count = _pv_get(f"$(ulc({_CONTACTS}=>count))")
    bindings, now = [], time.time()
    for index in range(count if isinstance(count, int) else 0):
        if 0 < _number(_pv_get(f"$(ulc({_CONTACTS}=>expires)[{index}])")) <= now:
            continue
        uri, source, id_, name = [_text(_pv_get(f"$(ulc({_CONTACTS}=>{name})[{index}])")) for name in _BINDING]
        # Only a browser's matters: it can't be reached by any other connection.
        number = _pv_get(f"$(ulc({_CONTACTS}=>conid)[{index}])") if ";transport=ws" in source.lower() else 0
        modified, edge = [_pv_get(f"$(ulc({_CONTACTS}=>{field})[{index}])") for field in _BINDING_NUMBERS]
        bindings.append(Binding(uri, source, id_, _number(number), name, _number(modified), _number(edge)))
    KSR.registrar.reg_free_contacts(_CONTACTS)
    return bindings


def forget_binding(table: str, address_of_record: str, binding: Binding) -> None:
    KSR.registrar.unregister_ruid(table, address_of_record, binding.id)


# --- Other edges (kemi/edges.py)


def hear_peer() -> None:
    """Let DMQ act on the message at hand, and answer it."""
    KSR.dmq.handle_message()


def tell_peer(subject: str, peer: str, body: str) -> None:
    """Send a message of DMQ to the edge with that peer address, a SIP URI."""
    KSR.dmq.send_message(subject, peer, body, "application/json")


# --- Counters that all workers share. They forget a key some time after its last change (kamailio.cfg)


def count_up(table: str, key: str) -> int:
    """Add one to the count of `key`, and return it. 0 where Kamailio has no memory for it."""
    return _sht_inc(table, key)


def count_of(table: str, key: str) -> int:
    value = _sht_get(table, key)
    return value if isinstance(value, int) else 0


def set_count(table: str, key: str, value: int) -> bool:
    """False where Kamailio has no memory for it."""
    return KSR.htable.sht_seti(table, key, value) != -1


def count_down(table: str, key: str) -> None:
    KSR.htable.sht_dec(table, key)


def keep_text(table: str, key: str, text: str) -> bool:
    """False where Kamailio has no memory for it."""
    return KSR.htable.sht_sets(table, key, text) != -1


def text_of(table: str, key: str) -> str:
    return _text(_sht_get(table, key))


def texts_of(table: str) -> list[str]:
    """All texts of a table."""
    texts = []
    KSR.htable.sht_iterator_start(_ITERATOR, table)
    try:
        while KSR.htable.sht_iterator_next(_ITERATOR) > 0:
            texts.append(_text(_pv_get(f"$shtitval({_ITERATOR})")))
    finally:
        KSR.htable.sht_iterator_end(_ITERATOR)
    return texts


def forget_count(table: str, key: str) -> None:
    KSR.htable.sht_rm(table, key)


# --- Logging and ending


def count_refusal(code: int) -> None:
    """For the edge's metrics. The statuses that have a counter are in kamailio.cfg."""
    KSR.counters.inc(f"refused.code_{code if code in COUNTED else 'other'}")


def drop() -> None:
    """In a branch route: do not send this branch. In the reply route: do not pass the reply on."""
    KSR.set_drop()


def log_notice(text: str) -> None:
    KSR.notice(text + "\n")


def log_warning(text: str) -> None:
    KSR.warn(text + "\n")


def log_error(text: str) -> None:
    KSR.err(text + "\n")


def _lenient(variable: str, index: str = "") -> str:
    """A pseudo-variable's value that is not UTF-8."""
    octets = bytes.fromhex(_text(_pv_get(f"$({variable}{index}{{s.encode.hexa}})")))
    return octets.decode("utf-8", "replace")


def _number(value: str | int | None) -> int:
    return value if isinstance(value, int) else 0


def _text_of_number(variable: str) -> str:
    value = _pv_get(variable)
    return "" if value is None else str(value)


def _text(value: str | int | None) -> str:
    return value if isinstance(value, str) else ""
