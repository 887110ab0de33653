"""When an RTPengine has lost the media of anchored calls, both sides get their BYE: sockets and a clock of the test."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from callinteractive.media_sets import set_of
from callinteractive.model import Address, RtpEngine
from kemi.anchored import AnchoredCalls
from kemi.engines import Watch
from kemi.lost_media import ENDED_AT_ONCE, GONE_S, GRACE_S, SWEEP_S, LostMedia
from kemi.record_route import LONGEST_S
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_anchored import CALL

HOST = "127.9.8.1"
TICK_S = 0.25


class FakeEngine:
    """The control port of an RTPengine: what is `known` there, and whether it lives."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.asked: list[str] = []
        self.address = Address(HOST, 0)
        self.start()

    def start(self) -> None:
        self._udp = socket.socket(type=socket.SOCK_DGRAM)
        self._tcp = socket.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind(self.address)
        self.address = Address(*self._tcp.getsockname())
        self._udp.bind(self.address)
        self._tcp.listen()
        self._clients: list[socket.socket] = []
        for each in (self._udp, self._tcp):
            each.setblocking(False)

    def kill(self) -> None:
        for each in (self._udp, self._tcp, *self._clients):
            each.close()
        self.known = set()

    def answer(self) -> None:
        with suppress(BlockingIOError):
            self._clients.append(self._tcp.accept()[0])
        while True:
            try:
                data, source = self._udp.recvfrom(4096)
            except BlockingIOError:
                return
            cookie, _, text = data.partition(b" ")
            command = json.loads(text)
            reply = {"result": "pong"}
            if command["command"] == "query":
                self.asked.append(command["call-id"])
                is_known = command["call-id"] in self.known
                reply = {"result": "ok"} if is_known else {"result": "error", "error-reason": "Unknown call-id"}
            self._udp.sendto(cookie + b" " + json.dumps(reply).encode(), source)


class Edge:
    """All of it, and a Kamailio that takes the BYEs."""

    def __init__(self, run_dir: Path) -> None:
        self.now = 1000.0
        self.engine = FakeEngine()
        self.calls = AnchoredCalls(run_dir)
        self.kamailio = socket.socket(type=socket.SOCK_DGRAM)
        self.kamailio.bind((HOST, 0))
        self.kamailio.setblocking(False)
        own = Address(*self.kamailio.getsockname())
        config = RtpEngine(ng=self.engine.address)
        self._prefix = f"anchored-{set_of(config):06x}00"
        self._lost = LostMedia(self.calls, own, lambda: self.now)
        self._watch = Watch([config], self._lost.on_tick)
        self.is_living = self.is_hung = False

    def begin(self, number: int = 0) -> str:
        media = f"{self._prefix}{number}"
        self.calls.keep(media, CALL._replace(call_id=media))
        self.engine.known.add(media)
        return media

    def tick(self, for_s: float) -> list[str]:
        """Returns the BYEs, each as its Call-ID and Request-URI."""
        byes = []
        for _ in range(round(for_s / TICK_S)):
            self.now += TICK_S
            self._watch.on_tick()
            if self.is_living and not self.is_hung:
                self.engine.answer()
            byes += self._answer_byes()
        return byes

    def _answer_byes(self) -> list[str]:
        byes = []
        while True:
            try:
                data, source = self.kamailio.recvfrom(65_536)
            except BlockingIOError:
                return byes
            text = data.decode()
            call_id, via = re.findall(r"^(?:Call-ID|Via): (.*?)\r", text, re.M)[::-1]
            byes.append(f"{call_id} {text.split()[1]}")
            self.kamailio.sendto(f"SIP/2.0 200 OK\r\nVia: {via}\r\n\r\n".encode(), source)

    def start(self) -> None:
        self.engine.start()
        self.is_living = True

    def kill(self) -> None:
        self.engine.kill()
        self.is_living = False


@pytest.fixture
def edge(ksr: FakeKsr, tmp_path: Path) -> Iterator[Edge]:
    edge = Edge(tmp_path)
    edge.is_living = True
    edge.tick(GRACE_S + 1)
    yield edge
    if edge.is_living:
        edge.engine.kill()
    edge.kamailio.close()


def byes_of(media: str) -> set[str]:
    return {f"{media} {CALL.caller.target}", f"{media} {CALL.callee.target}"}


def left(edge: Edge) -> list[str]:
    return list(edge.calls.names(""))


def test_calls_that_go_on_are_left_alone(edge: Edge) -> None:
    edge.begin()
    assert edge.tick(30) == []
    assert edge.engine.asked == []


@pytest.mark.parametrize("for_s", [0, 0.25, 1, 3])
def test_one_that_was_started_again(edge: Edge, for_s: float) -> None:
    media = edge.begin()
    edge.tick(1)
    edge.kill()
    edge.tick(for_s)
    edge.start()
    byes = edge.tick(4)
    assert sorted(byes) == sorted(byes_of(media))
    assert left(edge) == []
    assert edge.tick(5) == []


@pytest.mark.parametrize("is_back", [True, False])
def test_while_no_socket_is_free_calls_are_not_given_up(
    edge: Edge, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    def none_is_free(*_: object, **_more: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    media = edge.begin()
    edge.kill()
    edge.tick(0.5)
    if is_back:
        edge.start()
    with monkeypatch.context() as context:
        context.setattr("kemi.lost_media.socket.socket", none_is_free)
        assert edge.tick(GONE_S + 1) == []
    errors = [text for (text,) in ksr.called("err")]
    wanted = "calls whose media is lost can't be ended yet: [Errno 24] Too many open files\n"
    assert errors == [] if is_back else [wanted]
    assert sorted(edge.tick(4)) == sorted(byes_of(media))
    assert left(edge) == []


def test_it_knows_its_calls_again(edge: Edge) -> None:
    """With `rtpengine.redis`, or where a party has sent a re-INVITE meanwhile."""
    media, lost = edge.begin(1), edge.begin(2)
    edge.kill()
    edge.start()
    edge.engine.known = {media}
    assert set(edge.tick(4)) == byes_of(lost)
    assert left(edge) == [media]


def test_one_that_stays_away(edge: Edge) -> None:
    media = edge.begin()
    edge.kill()
    assert edge.tick(GONE_S - 0.5) == []
    assert set(edge.tick(2)) == byes_of(media)


def test_one_that_hangs_and_goes_on(edge: Edge) -> None:
    media = edge.begin()
    edge.tick(1)
    edge.is_hung = True
    assert edge.tick(GONE_S - 1) == []
    edge.is_hung = False
    assert edge.tick(5) == []
    assert left(edge) == [media]


def test_a_host_that_is_gone(edge: Edge) -> None:
    media = edge.begin()
    edge.is_hung = True
    assert edge.tick(GONE_S - 0.5) == []
    assert set(edge.tick(1.5)) == byes_of(media)


def test_what_happened_before_kamailio_was_started(ksr: FakeKsr, tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    kept, lost = edge.begin(1), edge.begin(2)
    edge.engine.known = {kept}
    edge.is_living = True
    assert set(edge.tick(4)) == byes_of(lost)
    assert left(edge) == [kept]
    edge.kill()
    edge.kamailio.close()


def test_at_a_bounded_rate(edge: Edge) -> None:
    media = {edge.begin(number) for number in range(ENDED_AT_ONCE * 3)}
    edge.kill()
    edge.start()
    most = max(len(edge.tick(TICK_S)) for _ in range(20))
    assert most == 2 * ENDED_AT_ONCE
    assert left(edge) == [], media


def test_a_bye_that_is_lost_is_sent_again(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    media = edge.begin()
    edge.kill()
    edge.start()
    with monkeypatch.context() as patch:
        patch.setattr(edge, "_answer_byes", lambda: [])
        edge.tick(2.5)
    assert len(edge.kamailio.recv(65_536) + edge.kamailio.recv(65_536)) > 100  # both are lost
    assert set(edge.tick(5)) == byes_of(media)
    assert left(edge) == []


def test_calls_that_nobody_has_ended_leave_no_file_for_ever(edge: Edge) -> None:
    media, young = edge.begin(), edge.begin(1)
    file = edge.calls._folder / media
    old = file.stat().st_mtime - LONGEST_S - 1
    os.utime(file, (old, old))
    edge.tick(TICK_S)
    assert file.exists()
    edge.now += SWEEP_S
    assert edge.tick(TICK_S) == []
    assert os.listdir(file.parent) == [young]
