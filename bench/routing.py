"""What Kamailio's Python does for one call, replayed without Kamailio (`bench.layers`).

Messages are those of a dip: INVITE, 200, ACK, the sidecar's BYE, 200. And those of a call that its sidecar leaves to
Kamailio: INVITE, 302, the callee's 200, ACK, the callee's BYE, 200. `KSR` is replaced by a few dicts, so a figure holds
the work of `kemi/` and little else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from callinteractive.config import load_ivr_file, load_site
from callinteractive.headers import CallerHeader, EntryHeader, TransferHeader

CALLER, EDGE, SIDECAR = ("127.15.0.2", 25100), ("127.15.0.1", 25060), ("127.15.0.1", 25070)
CALLEE = ("127.15.0.3", 25062)
KEY = bytes(32)
_HERE = Path(__file__).parent
_SDP = "v=0\r\no=- 1 1 IN IP4 127.15.0.2\r\ns=-\r\nc=IN IP4 127.15.0.2\r\nt=0 0\r\nm=audio 50000 RTP/AVP 0\r\n"


class Message:
    """One message as Kamailio's functions show it."""

    def __init__(self, first: str, source: tuple[str, int], lines: str, body: str = "") -> None:
        self.text = f"{first}\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}"
        self.body, self.source = body, source
        self.headers: dict[str, str] = {}
        for line in lines.split("\r\n"):
            name, _, value = line.partition(": ")
            self.headers.setdefault(name, value)
        is_reply = first.startswith("SIP/2.0")
        self.status = int(first.split(" ")[1]) if is_reply else 0
        self.method = self.headers["CSeq"].split(" ")[1]
        self.uri = "" if is_reply else first.split(" ")[1]
        self.user = self.uri.partition(":")[2].rpartition("@")[0]
        self.tags = {f"${each[0].lower()}t": _after(self.headers[each], ";tag=") for each in ("From", "To")}
        self.from_uri = _after(self.headers["From"], "<").partition(">")[0]
        self.from_user = self.from_uri.partition(":")[2].partition("@")[0]


def _after(text: str, mark: str) -> str:
    return text.partition(mark)[2]


class Ksr(ModuleType):
    """As much of Kamailio as a dip needs: the message at hand, and what its transaction remembers."""

    def __init__(self) -> None:
        super().__init__("KSR")
        self.memory: dict[str, Any] = {}
        self.tables: dict[tuple[str, str], Any] = {}
        self.route, self.relays, self.branch = "", 0, 0
        for name, functions in self._modules().items():
            setattr(self, name, SimpleNamespace(**functions))
        self.is_ACK = lambda: self.now.method == "ACK"
        self.seturi = self._set_uri
        self.isdsturiset = lambda: False
        self.is_myself = lambda uri: EDGE[0] in uri
        self.err = self.warn = _stop
        self.notice = lambda _: 1

    def receive(self, message: Message) -> None:
        self.now = message
        self.uri = message.uri
        self.variables: dict[str, Any] = {
            **message.tags,
            "$rcv(srcip)": message.source[0],
            "$sel(via.host)": message.source[0],
            "$sel(via[1].branch)": f"z9hG4bK-1-{message.method}",
            "$RAi": EDGE[0],
            "$fn": "",
            "$conid": None,
            "$cl": len(message.body),
        }

    def _modules(self) -> dict[str, dict[str, Callable[..., Any]]]:
        return {
            "kx": {
                "get_method": lambda: self.now.method,
                "get_srcip": lambda: self.now.source[0],
                "get_srcport": lambda: self.now.source[1],
                "get_protoid": lambda: 1,
                "get_bodylen": lambda: len(self.now.body),
                "get_msglen": lambda: len(self.now.text),
                "get_ruri": lambda: self.uri,
                "get_ruser": lambda: self.now.user,
                "get_fuser": lambda: self.now.from_user,
                "get_furi": lambda: self.now.from_uri,
                "get_duri": lambda: None,
                "get_callid": lambda: self.now.headers["Call-ID"],
                "get_status": lambda: self.now.status,
                "get_msgbuf": lambda: self.now.text,
                "get_body": lambda: self.now.body,
                "get_rcvip": lambda: EDGE[0],
                "get_rcvport": lambda: EDGE[1],
            },
            "pv": {"get": lambda name: self.variables[name], "sets": lambda *_: 1},
            "hdr": {
                "get": lambda name: self.now.headers.get(name),  # noqa: PLW0108  # now changes
                "get_idx": lambda *_: None,
                "append": lambda _: 1,
                "remove": lambda _: 1,
                "rmappend": lambda *_: 1,
            },
            "tm": {
                "t_check_trans": lambda: 1 if self.now.status else -1,
                "t_relay": self._relay,
                "t_on_branch": lambda _: 1,
                "t_on_reply": lambda _: 1,
                "t_on_failure": lambda _: 1,
                "t_on_branch_failure": lambda _: 1,
                "t_is_canceled": lambda: -1,
                "t_branch_timeout": lambda: -1,
                "t_get_status_code": lambda: 302,
                "t_set_fr": lambda *_: 1,
                "t_set_max_lifetime": lambda *_: 1,
                "t_get_branch_index": lambda: self.branch,
            },
            "siputils": {"has_totag": lambda: 1 if self.now.tags["$tt"] else -1, "is_first_hop": lambda: 1},
            "sanity": {"sanity_check": lambda *_: 1},
            "maxfwd": {"process_maxfwd": lambda _: 1},
            "textops": {
                "has_body": lambda: 1 if self.now.body else -1,
                "remove_hf_re": lambda _: 1,
            },
            "rr": {"record_route_params": self._record, "loose_route": lambda: 1},
            "pvx": {
                "xavp_get": self.memory.get,
                "xavp_sets": self.memory.__setitem__,
                "xavp_seti": self.memory.__setitem__,
            },
            "htable": {
                "sht_get": lambda table, key: self.tables.get((table, key)),
                "sht_sets": lambda table, key, value: self.tables.__setitem__((table, key), value),
                "sht_seti": lambda table, key, value: self.tables.__setitem__((table, key), value),
                "sht_inc": self._count,
                "sht_dec": lambda table, key: self._count(table, key, -1),
                "sht_rm": lambda table, key: self.tables.pop((table, key), None),
            },
            "textopsx": {"exclude_hf_value": lambda *_: 1},
            "dispatcher": {"ds_is_active_uri": lambda *_: 1},
        }

    def _set_uri(self, uri: str) -> None:
        self.uri = uri

    def _relay(self) -> int:
        self.relays += 1
        return 1

    def _record(self, parameters: str) -> int:
        self.route = parameters
        return 1

    def _count(self, table: str, key: str, by: int = 1) -> int:
        value: int = self.tables.get((table, key), 0) + by
        self.tables[table, key] = value
        return value


def _stop(text: str) -> None:
    raise AssertionError(text)


def rows() -> dict[str, Callable[[], object]]:
    """What is measured, by name. In a process that has not imported `kemi`, and with a run directory."""
    ksr = Ksr()
    sys.modules["KSR"] = ksr
    routing, routed = Routing(ksr), Routed(ksr)
    return {
        "Kamailio's Python: an INVITE to a sidecar": routing.invite,
        "Kamailio's Python: its 200": routing.ok,
        "Kamailio's Python: its ACK": routing.ack,
        "Kamailio's Python: the BYE": routing.bye,
        "Kamailio's Python: its 200 (BYE)": routing.bye_ok,
        "Kamailio's Python: a call that is left to it by 302": routed.call,
    }


class Routing:
    """The messages of one dip, each with what Kamailio calls for it."""

    def __init__(self, ksr: Ksr) -> None:
        """`ksr`: what `kemi.ksr` has imported."""
        from kemi.main import compose  # noqa: PLC0415  # it needs KSR

        self._ksr = ksr
        site = load_site(_HERE.joinpath("site.yaml").read_text("utf-8"), "site.yaml")
        self._on = compose(site, load_ivr_file(_HERE.joinpath("ivr.yaml").read_text("utf-8"), "ivr.yaml"), KEY)
        self._on.make_ready()
        self._invite = _request("INVITE", CALLER, body=_SDP)
        self.invite()
        route = f"<sip:{EDGE[0]}:{EDGE[1]};lr=on;ftag=1{self._ksr.route}>"
        self._ok, self._bye_ok = _reply("INVITE", SIDECAR, route), _reply("BYE", CALLER, "")
        self._ack, self._bye = _request("ACK", CALLER, route), _request("BYE", SIDECAR, route)

    def invite(self) -> None:
        """The caller's INVITE, and its branch to a sidecar."""
        self._ksr.memory.clear()
        self._ksr.tables.clear()
        self._receive(self._invite)
        self._on.ksr_request_route(self._ksr)
        self._on.to_sidecar(self._ksr)

    def ok(self) -> None:
        """The sidecar's 200."""
        self._receive(self._ok)
        self._on.ksr_reply_route(self._ksr)
        self._on.sidecar_replied(self._ksr)

    def ack(self) -> None:
        """The caller's ACK."""
        self._receive(self._ack)
        self._on.ksr_request_route(self._ksr)

    def bye(self) -> None:
        """The sidecar's BYE."""
        self._receive(self._bye)
        self._on.ksr_request_route(self._ksr)

    def bye_ok(self) -> None:
        """The caller's 200 to it."""
        self._receive(self._bye_ok)
        self._on.ksr_reply_route(self._ksr)

    def dip(self) -> None:
        """All of them."""
        self.invite()
        self.ok()
        self.ack()
        self.bye()
        self.bye_ok()

    def _receive(self, message: Message) -> None:
        self._ksr.receive(message)  # `ksr_received` is not asked: Kamailio knows these sources


class Routed(Routing):
    """A call that its sidecar leaves to Kamailio by 302."""

    def __init__(self, ksr: Ksr) -> None:
        super().__init__(ksr)
        headers = (
            TransferHeader(("000*306",)),
            CallerHeader("", "+15550100"),
            EntryHeader("000*904", "transfer", "start"),
        )
        private = "".join(f"{header.NAME}: {header}\r\n" for header in headers)
        self._moved = _reply("INVITE", SIDECAR, "", "302 Moved Temporarily", private)
        self.moved()
        route = f"<sip:{EDGE[0]}:{EDGE[1]};lr=on;ftag=1{self._ksr.route}>"
        self._answered = _reply("INVITE", CALLEE, route)
        self._ack, self._bye = _request("ACK", CALLER, route, to=CALLEE), _request("BYE", CALLEE, route)

    def moved(self) -> None:
        """The sidecar's 302, and the branch to the callee."""
        self._ksr.branch = 0
        self._receive(self._moved)
        self._on.ksr_reply_route(self._ksr)
        self._on.sidecar_replied(self._ksr)
        self._ksr.receive(self._invite)  # in a failure route the request is at hand
        self._on.sidecar_failed(self._ksr)
        self._ksr.branch = 1
        self._on.to_target(self._ksr)

    def answered(self) -> None:
        """The callee's 200."""
        self._receive(self._answered)
        self._on.ksr_reply_route(self._ksr)
        self._on.target_replied(self._ksr)

    def call(self) -> None:
        """All of them."""
        self.invite()
        self.moved()
        self.answered()
        self.ack()
        self.bye()
        self.bye_ok()


def _request(
    method: str, source: tuple[str, int], route: str = "", body: str = "", to: tuple[str, int] = SIDECAR
) -> Message:
    from_caller = source == CALLER
    host, port = to if from_caller and route else EDGE if from_caller else CALLER
    return Message(f"{method} sip:000*900@{host}:{port} SIP/2.0", source, _lines(method, source, route), body)


def _reply(method: str, source: tuple[str, int], route: str, status: str = "200 OK", more: str = "") -> Message:
    lines = _lines(method, source, "") + (route and f"Record-Route: {route}\r\n") + more
    return Message(f"SIP/2.0 {status}", source, lines)


def _lines(method: str, source: tuple[str, int], route: str) -> str:
    caller, callee = f"<sip:+15550100@{CALLER[0]}>;tag=1", f"<sip:000*900@{EDGE[0]}:{EDGE[1]}>"
    if method != "INVITE" or source != CALLER:
        callee += ";tag=a1b2c3"
    is_callee_s = method == "BYE"
    return (
        f"Via: SIP/2.0/UDP {source[0]}:{source[1]};branch=z9hG4bK-1-{method}\r\n"
        f"From: {callee if is_callee_s else caller}\r\nTo: {caller if is_callee_s else callee}\r\n"
        f"Call-ID: 1-12345@127.15.0.2\r\nCSeq: 1 {method}\r\nContact: <sip:a@{source[0]}:{source[1]}>\r\n"
        f"Max-Forwards: 70\r\n" + (route and f"Route: {route}\r\n")
    )
