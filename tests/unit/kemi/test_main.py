"""No callback lets an exception out, Refused is answered, and every callback that can be armed exists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest

from callinteractive import prepared
from callinteractive.errors import HeaderError
from callinteractive.headers import TransferHeader
from callinteractive.keys import PREPARED, derive
from callinteractive.prepared import Sources
from kemi import guard, main
from kemi.anchor import MediaAnchor
from kemi.edges import Edges
from kemi.engines import Watch
from kemi.facts import UnreadableError
from kemi.flood import Floods
from kemi.fork import Forks
from kemi.ingress import Ingress
from kemi.ksr import Route, remember_reply
from kemi.limits import Limits
from kemi.main import Callbacks
from kemi.names import NameFile
from kemi.record_route import RecordRoute
from kemi.redirect import Redirects
from kemi.refusal import NO_MEMORY, Answered, Outcome, Refused
from kemi.refusal_log import WINDOW_S
from kemi.registrar import Registrar
from kemi.reports import Reports
from kemi.ringing import Ringing
from kemi.sidecars import Sidecars
from kemi.sockets import Sockets
from kemi.tls_peer import TlsPeers
from kemi.transaction import Exchange, transaction
from kemi.websocket import WebSockets
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import IVR, SITE

KINDS = (
    Ingress, Sidecars, Redirects, Forks, MediaAnchor, RecordRoute, Limits, Floods, WebSockets, Registrar, TlsPeers,
    NameFile, Watch, Sockets, Edges, Ringing, Reports,
)  # fmt: skip
NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
BOOM = RuntimeError("boom")
HAS_NUL = SystemError("sht_sets returned a result with an exception set")
HAS_NUL.__cause__ = ValueError("embedded null character")


class Rooms:
    """What the callbacks call: each a mock of the real class."""

    def __init__(self) -> None:
        (
            self.ingress,
            self.sidecars,
            self.redirects,
            self.forks,
            self.media,
            self.record_route,
            self.limits,
            self.floods,
            self.websockets,
            self.registrar,
            self.tls_peers,
            self.names,
            self.watch,
            self.sockets,
            self.edges,
            self.ringing,
            self.reports,
        ) = rooms = [create_autospec(kind, instance=True) for kind in KINDS]
        self.callbacks = Callbacks(*rooms)
        self.floods.ours = set()
        self.names.is_used = self.ingress.anchors = self.tls_peers.is_needed = self.sockets.is_choosing = True
        self.tls_peers.is_impostor_s_answer.return_value = False
        self.tls_peers.is_impostor_s_reply.return_value = False
        self.record_route.is_stray_reply.return_value = False


@pytest.fixture
def rooms(ksr: FakeKsr) -> Rooms:
    return Rooms()


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (BOOM, 500, 1),
        (UnreadableError("Unreadable Caller"), 400, 0),
        (HeaderError("X-CI-Call: 'call_id' is missing"), 400, 0),
        (NOT_UTF8, 400, 0),
        (HAS_NUL, 400, 0),
        (Refused(404, "Not Found"), 404, 0),
        (MemoryError("ci_user"), 503, 0),
    ],
)
def test_exception_in_the_request_route_is_answered(
    rooms: Rooms, ksr: FakeKsr, error: Exception, code: int, logged: int
) -> None:
    rooms.ingress.route.side_effect = error
    assert rooms.callbacks.ksr_request_route(None) == 1
    assert ksr.replies == [code]
    assert len(ksr.called("err")) == logged
    assert ksr.called("counters.inc") == [(f"refused.code_{code}",)]


@pytest.mark.parametrize(("answered", "counted"), [(Answered(), []), (Answered(404, "No"), [("refused.code_404",)])])
def test_what_is_answered_already_is_not_answered_again(
    rooms: Rooms, ksr: FakeKsr, answered: Answered, counted: list[tuple[str]]
) -> None:
    rooms.ingress.route.side_effect = answered
    assert rooms.callbacks.ksr_request_route(None) == 1
    assert ksr.replies == []
    assert ksr.called("counters.inc") == counted


def test_refusal_has_its_header_lines(rooms: Rooms, ksr: FakeKsr) -> None:
    rooms.redirects.on_sidecar_failure.side_effect = Refused(503, "Service Unavailable", "Retry-After: 5\r\n")
    rooms.callbacks.sidecar_failed(None)
    assert ksr.calls[:2] == [
        ("hdr.append_to_reply", ("Retry-After: 5\r\n",)),
        ("sl.send_reply", (503, "Service Unavailable")),
    ]


@pytest.mark.parametrize("refused", [Refused(503, "Service Unavailable"), Outcome(480, "Temporarily Unavailable")])
def test_rfc_3261_9_2_who_has_cancelled_meanwhile_gets_487(rooms: Rooms, ksr: FakeKsr, refused: Refused) -> None:
    """The CANCEL came while the failure route was choosing what is next: tm takes no more branches then."""

    def fails() -> None:
        ksr.results["tm.t_is_canceled"] = 1
        raise refused

    rooms.redirects.on_transfer_failure.side_effect = fails
    rooms.callbacks.transfer_failed(None)
    assert ksr.replies == [487]
    assert rooms.reports.on_failed.call_args.args[0] == 487


@pytest.mark.parametrize("error", [HeaderError("of our own sidecar"), BOOM, NOT_UTF8])
def test_exception_in_a_failure_route_is_our_fault(rooms: Rooms, ksr: FakeKsr, error: Exception) -> None:
    rooms.redirects.on_sidecar_failure.side_effect = error
    rooms.callbacks.sidecar_failed(None)
    assert ksr.replies == [500]
    assert len(ksr.called("err")) == 1


def test_what_kamailio_has_no_memory_for_is_not_forgotten_in_silence(ksr: FakeKsr) -> None:
    ksr.results.update({"pvx.xavp_sets": -1, "pvx.xavp_seti": -1})
    with pytest.raises(MemoryError):
        transaction.user = "a"
    with pytest.raises(MemoryError):
        transaction.branches_used = 1
    ksr.results["tm.t_newtran"] = -1
    with pytest.raises(MemoryError):
        remember_reply()


def test_no_memory_in_a_failure_route_is_overload(rooms: Rooms, ksr: FakeKsr) -> None:
    rooms.redirects.on_transfer_failure.side_effect = MemoryError("ci_user")
    rooms.callbacks.transfer_failed(None)
    assert ksr.replies == [503]
    assert rooms.reports.on_failed.call_args.args[0] == 503, "the record says what the caller was told"
    assert ksr.called("err") == []


def test_no_memory_where_nothing_is_answered_is_one_line_in_a_while(
    rooms: Rooms, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(guard.time, "monotonic", lambda: now)
    monkeypatch.setattr(guard, "_quiet_until", 0.0)
    for room in (rooms.forks.on_branch, rooms.forks.on_reply, rooms.redirects.on_reply):
        room.side_effect = MemoryError("ci_branch")
    for _ in range(3):
        for callback in (rooms.callbacks.to_target, rooms.callbacks.target_replied, rooms.callbacks.sidecar_replied):
            callback(None)
    assert ksr.called("err") == [(NO_MEMORY + "\n",)]
    assert len(ksr.called("set_drop")) == 3
    now += WINDOW_S
    rooms.callbacks.to_target(None)
    assert len(ksr.called("err")) == 2


def test_exception_while_answering_is_logged(rooms: Rooms, ksr: FakeKsr) -> None:
    ksr.results["sl.send_reply"] = RuntimeError("no memory")
    rooms.ingress.route.side_effect = BOOM
    assert rooms.callbacks.ksr_request_route(None) == 1
    assert len(ksr.called("err")) == 2


@pytest.mark.parametrize("rings", [False, True])
def test_a_stranger_s_stray_reply_is_dropped_unless_its_invite_rings(rooms: Rooms, ksr: FakeKsr, rings: bool) -> None:
    rooms.record_route.is_stray_reply.return_value = True
    rooms.ringing.is_answer_to_ringing.return_value = rings
    assert rooms.callbacks.ksr_reply_route(None) == 1
    assert len(ksr.called("set_drop")) == (not rings)


def test_exception_in_the_reply_route_lets_the_reply_pass(rooms: Rooms, ksr: FakeKsr) -> None:
    ksr.results["kx.get_msgbuf"] = BOOM
    assert rooms.callbacks.ksr_reply_route(None) == 1
    assert ksr.replies == []
    assert len(ksr.called("err")) == 1


@pytest.mark.parametrize("error", [None, BOOM])
def test_private_headers_of_a_reply_are_read_before_they_are_removed(
    rooms: Rooms, ksr: FakeKsr, error: Exception | None
) -> None:
    removed_before: list[int] = []

    def read() -> None:
        removed_before.append(len(ksr.called("hdr.remove")))
        if error:
            raise error

    rooms.redirects.read_reply.side_effect = read
    ksr.results["kx.get_msgbuf"] = f"SIP/2.0 302 Moved Temporarily\r\n{TransferHeader.NAME}: to=1\r\n"
    rooms.callbacks.ksr_reply_route(None)
    assert removed_before == [0]
    assert ksr.called("hdr.remove") == [("x-ci-transfer",)]


@pytest.mark.parametrize("callback", ["to_sidecar", "to_target"])
def test_branch_that_cannot_be_made_ready_is_not_sent(rooms: Rooms, ksr: FakeKsr, callback: str) -> None:
    rooms.sidecars.on_branch.side_effect = rooms.forks.on_branch.side_effect = BOOM
    assert getattr(rooms.callbacks, callback)(None) == 1
    assert ksr.called("set_drop")


def anchor_branches() -> None:
    transaction.is_anchored = True


def anchor_dialog() -> None:
    transaction.exchange = Exchange("anchored-1", is_from_caller=True, has_offer=True)


@pytest.mark.parametrize(
    ("callback", "remember", "withheld"),
    [
        ("target_replied", None, False),
        ("target_replied", anchor_branches, True),
        ("in_dialog_replied", None, False),
        ("in_dialog_replied", anchor_dialog, True),
    ],
)
def test_reply_that_could_not_be_handled_passes_without_what_it_tells_of_anchored_media(
    rooms: Rooms, ksr: FakeKsr, callback: str, remember: Mock | None, withheld: bool
) -> None:
    if remember:
        remember()
    rooms.forks.on_reply.side_effect = rooms.media.on_in_dialog_reply.side_effect = BOOM
    getattr(rooms.callbacks, callback)(None)
    assert bool(ksr.called("textopsx.remove_body")) is withheld
    assert len(ksr.called("err")) == 1


def test_every_route_has_its_callback() -> None:
    assert all(callable(getattr(Callbacks, route)) for route in Route)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, name, text in (
        ("CALLINTERACTIVE_SITE", "site.yaml", SITE),
        ("CALLINTERACTIVE_IVR", "ivr.yaml", IVR),
    ):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


@pytest.mark.usefixtures("files")
def test_start() -> None:
    assert main.mod_init().child_init(1) == 0


@pytest.fixture
def active(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Activate these texts, in place of those of the files."""
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    monkeypatch.setenv(prepared.VARIABLE, str(files))

    def write(site: str, ivr: str) -> None:
        sources = Sources("site.yaml", site, "ivr.yaml", {"ivr.yaml": ivr})
        new = files / "new"
        new.write_bytes(prepared.pack(sources, sources.load(), derive(bytes(16), PREPARED)))
        new.replace(files / prepared.KAMAILIO)

    return write


def test_what_is_active_counts_and_not_the_files(files: Path, active: Callable[[str, str], None]) -> None:
    active(SITE, IVR)
    (files / "ivr.yaml").write_text("broken: [")
    main.mod_init()


def looks(callbacks: Callbacks, ksr: FakeKsr, number: str) -> list[int]:
    """An INVITE comes a second later."""
    callbacks._look_again_at = 0.0
    ksr.calls.clear()
    ksr.message("INVITE", number)
    callbacks.ksr_request_route(None)
    return ksr.replies


def test_a_worker_takes_up_a_new_configuration(ksr: FakeKsr, active: Callable[[str, str], None]) -> None:
    active(SITE, IVR)
    callbacks = main.mod_init()
    sockets, edges = callbacks.sockets, callbacks.edges
    assert looks(callbacks, ksr, "333") == [404]
    active(SITE, IVR.replace("000*332", "000*333"))
    assert looks(callbacks, ksr, "333") == []
    assert len(ksr.called("tm.t_relay")) == 1
    assert ksr.called("htable.sht_inc")[0][0] == "reloads"
    assert (callbacks.sockets, callbacks.edges) == (sockets, edges)  # what they have learned stays
    assert looks(callbacks, ksr, "332") == [404]
    active(SITE, IVR)
    assert looks(callbacks, ksr, "332") == []


@pytest.mark.parametrize("wrong", ["damaged", "another key", "restart", "secret"])
def test_a_worker_that_can_t_take_it_up_goes_on_as_before(
    files: Path, ksr: FakeKsr, active: Callable[[str, str], None], wrong: str
) -> None:
    active(SITE, IVR)
    callbacks = main.mod_init()
    new = IVR.replace("000*332", "000*333")
    if wrong == "restart":
        active(SITE.replace("node: 1", "node: 2"), new)
    elif wrong == "secret":
        login = 'to: "sip:127.0.0.2", username: a, password: {file: none.txt}'
        active(SITE.replace("{name: carrier,", f"{{name: carrier, {login},"), new)
    else:
        active(SITE, new)
        data = (files / prepared.KAMAILIO).read_bytes()
        (files / prepared.KAMAILIO).write_bytes(data[:-9] if wrong == "damaged" else bytes(32) + data[32:])
    replies = looks(callbacks, ksr, "332")
    if wrong == "damaged":  # its texts are whole
        assert replies == [404]
        return
    assert replies == []
    assert len(ksr.called("err")) == 1
    assert ksr.called("htable.sht_sets")[0][:2] == ("reloads", "refused")
    assert looks(callbacks, ksr, "332") == []
    assert not ksr.called("err")  # told once


@pytest.mark.parametrize("name", ["site.yaml", "ivr.yaml"])
def test_bad_configuration_refuses_to_start(
    files: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / name).write_text("node: x\n")
    exits: list[int] = []

    def exit_with(status: int) -> None:
        exits.append(status)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", exit_with)
    with pytest.raises(SystemExit):
        main.mod_init()
    assert exits == [main.EXIT_CONFIG]
    assert f"cannot start: {files / name}:1: " in capsys.readouterr().err


@pytest.mark.parametrize("is_impostor", [False, True])
def test_replies_of_an_impostor_are_dropped(rooms: Rooms, ksr: FakeKsr, is_impostor: bool) -> None:
    rooms.tls_peers.is_impostor_s_answer.return_value = is_impostor
    rooms.tls_peers.is_impostor_s_reply.return_value = is_impostor
    rooms.callbacks.ksr_reply_route(None)
    rooms.callbacks.target_replied(None)
    rooms.names.refresh.assert_called()  # a certificate is judged by what the names lead to now
    assert len(ksr.called("set_drop")) == 2 * is_impostor
    assert rooms.ingress.on_reply.called is rooms.forks.on_reply.called is not is_impostor


@pytest.mark.parametrize(("status", "cancelled", "believed"), [(480, 1, True), (480, -1, False), (200, 1, False)])
def test_our_own_answer_for_a_lost_carrier_needs_no_certificate(
    rooms: Rooms, ksr: FakeKsr, status: int, cancelled: int, believed: bool
) -> None:
    rooms.tls_peers.is_impostor_s_reply.return_value = True
    ksr.results |= {"tm.t_is_canceled": cancelled, "kx.get_status": status}
    rooms.callbacks.target_replied(None)
    assert rooms.forks.on_reply.called is believed
