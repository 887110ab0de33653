"""Digit events: what counts, whose they are, and the connection that they come over."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.events import DIGITS
from sidecar.descriptor_store import DescriptorStore, Pair, make_pair
from sidecar.media import dtmf
from sidecar.media.dtmf import DigitEvent, DigitFilter, Digits, DigitSource, DtmfReceiver, Presses, digit_of
from sidecar.media.event_reader import Bencoded, EventReader, NotAnEventError

HOST = "127.11.200.1"
COOKIE = b"5878f1e816b198cf "
SEEN = (
    b"5878f1e816b198cf d6:notify6:onDTMF4:datad4:tagsl3:ivr6:callere6:callid5:0ci-x10:source_tag6:caller4:type4:DTMF"
    b"9:source_ip9:127.0.0.19:timestampi1795647762e5:eventi5e8:durationi100e6:volumei10eee"
)
"""As RTPengine 10.5 sends it. Later versions send the keys in another order."""


def bencode(value: object) -> bytes:
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            return b"d" + b"".join(bencode(each) for pair in value.items() for each in pair) + b"e"
    raise AssertionError(value)


def event(callid: object = b"0abc", notify: object = b"onDTMF", **changes: object) -> bytes:
    fields = {b"callid": callid, b"source_tag": b"caller", b"tags": [b"ivr", b"caller"], b"type": b"DTMF"}
    fields |= {b"event": 5, b"duration": 100, **{name.encode(): value for name, value in changes.items()}}
    return COOKIE + bencode({b"notify": notify, b"data": fields})


def read(stream: bytes) -> list[tuple[str, DigitEvent] | None]:
    return [digit_of(found) for found in EventReader().feed(stream)]


def test_as_rtpengine_sends_it() -> None:
    assert read(SEEN + SEEN) == [("0ci-x", DigitEvent("5", 100))] * 2


@pytest.mark.parametrize("code", range(16))
def test_every_digit(code: int) -> None:
    assert read(event(event=code)) == [("0abc", DigitEvent("0123456789*#ABCD"[code], 100))]


@pytest.mark.parametrize(
    "not_ours",
    [
        event(event=16),
        event(event=-1),
        event(event=b"5"),
        event(type=b"other"),
        event(callid=7),
        event(callid=[]),
        event(source_tag=b"b1"),
        event(notify=b"onOther"),
        event(notify=1),
        COOKIE + bencode({}),
        COOKIE + bencode({b"notify": b"onDTMF", b"data": b"x"}),
        COOKIE + b"di5ei6ee",  # a key that is no text
    ],
)
def test_what_is_no_digit_of_a_caller_is_left_out_and_harms_nothing(not_ours: bytes) -> None:
    assert read(not_ours + SEEN) == [None, ("0ci-x", DigitEvent("5", 100))]


@pytest.mark.parametrize(("told", "taken"), [(-5, 0), (10**9, 60_000), (b"x", 0), ([], 0)])
def test_an_odd_duration_is_no_reason_to_lose_the_digit(told: object, taken: int) -> None:
    assert read(event(duration=told)) == [("0abc", DigitEvent("5", taken))]


def test_an_undecodable_call_is_somebody_elses() -> None:
    assert read(event(callid=b"\xff")) == [("\N{REPLACEMENT CHARACTER}", DigitEvent("5", 100))]


@given(st.integers(1, 40))
def test_however_the_bytes_come(size: int) -> None:
    stream = SEEN + event(event=7) + event(callid=b"1b")
    reader = EventReader()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [digit_of(found) for piece in pieces for found in reader.feed(piece)] == read(stream)


@pytest.mark.parametrize(
    "hostile",
    [
        COOKIE + b"x",
        COOKIE + b"e",
        COOKIE + b"i5e",
        COOKIE + b"3:abc",
        COOKIE + b"le",
        COOKIE + b"d1:ae",  # a key without a value
        COOKIE + b"d" * 5,
        COOKIE + b"l" * 4000,
        COOKIE + b"i" + b"9" * 20,
        COOKIE + b"i" + b"9" * 5000 + b"e",
        COOKIE + b"d1:ai--1ee",
        COOKIE + b"d1:ai 1ee",
        COOKIE + b"d1:ai1_0ee",
        COOKIE + b"d1:aie",
        COOKIE + b"d-1:",
        COOKIE + b"d5000:",
        COOKIE + bencode({b"a": b"x" * 4090}),
        b"a" * 4096,
        SEEN + COOKIE + b"xyz",
    ],
)
def test_what_is_no_event_ends_the_connection(hostile: bytes) -> None:
    with pytest.raises(NotAnEventError):
        read(hostile)


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_bytes_of_any_kind_raise_nothing_else(data: bytes, more: bytes) -> None:
    reader = EventReader()
    for piece in (data, more, COOKIE + data):
        try:
            found: list[dict[bytes, Bencoded]] = list(reader.feed(piece))
        except NotAnEventError:
            return
        for each in found:
            digit_of(each)


def test_the_first_way_that_delivers_is_the_calls_way() -> None:
    for first, second in ((DigitSource.RTP, DigitSource.INFO), (DigitSource.INFO, DigitSource.RTP)):
        digits = DigitFilter()
        assert [digits.accepts(source) for source in (first, second, first, second)] == [True, False, True, False]


@pytest.mark.parametrize(
    ("reports", "presses"),
    [
        # digit, when, batch, how long it waited
        ([("7", 0.00, 1, 0), ("7", 0.02, 2, 0), ("7", 0.04, 3, 0)], "7"),  # moving timestamps
        ([("7", 0.00, 1, 0), ("7", 0.00, 1, 0), ("7", 0.00, 1, 0)], "7"),
        ([("7", 0.00, 1, 0), ("7", 0.03, 2, 0), ("7", 0.06, 3, 0)], "7"),
        ([("7", 0.00, 1, 0), ("7", 0.08, 2, 0)], "77"),  # the fastest that ITU-T Q.24 knows
        ([("7", 0.00, 1, 0), ("7", 0.08, 2, 0.05), ("7", 0.16, 3, 0)], "777"),
        ([("7", 0.20, 1, 0.1), ("7", 0.20, 1, 0.1)], "77"),  # we were busy: when the first one came is not known
        ([("7", 0.00, 1, 0), ("8", 0.01, 2, 0), ("7", 0.02, 3, 0), ("8", 0.02, 3, 0)], "78"),  # mixed ends
        ([("7", 0.00, 1, 0), ("7", 0.02, 2, 0.1)], "7"),  # we were busy only after the first one
        ([("7", 0.00, 1, 0), ("8", 0.08, 2, 0), ("7", 0.16, 3, 0)], "787"),
        ([("7", 0.30, 1, 0.2), ("8", 0.30, 1, 0.2), ("7", 0.30, 1, 0.2)], "787"),
    ],
)
def test_one_press_counts_once(reports: list[tuple[str, float, int, float]], presses: str) -> None:
    call = Presses(lambda _digit: None)
    assert "".join(report[0] for report in reports if call.is_new(*report)) == presses


def test_a_press_that_is_reported_twice_is_heard_once() -> None:
    digits, heard = Digits(), list[str]()
    digits.subscribe("0a", lambda digit: heard.append(digit.digit))
    for batch in (1, 2):
        (seen,) = EventReader().feed(event(b"0a"))
        digits.take(seen, 1.0, batch, 0.0)
    assert (heard, digits.received, digits.ignored) == (["5"], 2, 1)


class FakeEngine:
    """Answers the ping of whoever connects, and sends events. A deaf one leaves so many connections unanswered."""

    def __init__(self, deaf_to: int = 0) -> None:
        self.deaf_to = deaf_to
        self.writers: list[asyncio.StreamWriter] = []
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()

    async def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while ping := await reader.read(100):
            cookie, _, command = ping.partition(b" ")
            assert command == b"d7:command4:pinge"
            if len(self.writers) <= self.deaf_to:
                return
            writer.write(cookie + b" d6:result4:ponge")
            self.connected.set()
        self.ended.set()

    async def next_connection(self, within_s: float = 5) -> asyncio.StreamWriter:
        async with asyncio.timeout(within_s):
            await self.connected.wait()
        self.connected.clear()
        return self.writers[-1]


@asynccontextmanager
async def fake_engine(engine: FakeEngine, port: int = 0) -> AsyncIterator[int]:
    server = await asyncio.start_server(engine.on_connect, HOST, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in engine.writers:
            writer.transport.abort()


async def until(count: int, heard: list[str], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while len(heard) < count:
            await asyncio.sleep(0.01)


async def test_the_receiver_routes_by_call_and_counts_the_rest() -> None:
    engine = FakeEngine()
    heard: list[str] = []
    async with fake_engine(engine) as port:
        digits = Digits()
        receiver = DtmfReceiver(HOST, port, digits)
        await receiver.open()
        assert receiver.is_connected
        digits.subscribe("0a", lambda digit: heard.append(f"a{digit.digit}"))
        digits.subscribe("0b", lambda digit: heard.append(f"b{digit.digit}"))
        assert digits.subscribers == 2
        (await engine.next_connection()).write(event(b"1other") + event(b"0b") + event(b"0a", type=b"x") + event(b"0a"))
        await until(2, heard)
        assert heard == ["b5", "a5"]
        assert (digits.received, digits.ignored) == (4, 2)
        digits.unsubscribe("0a")
        digits.unsubscribe("0a")
        assert digits.subscribers == 1
        await receiver.close()
        await receiver.close()
    assert len(DIGITS) == 16


@pytest.mark.parametrize("how", ["closed", "reset", "rubbish"])
async def test_a_connection_that_breaks_is_made_anew_at_once(how: str) -> None:
    engine = FakeEngine()
    heard: list[str] = []
    async with fake_engine(engine) as port:
        digits = Digits()
        receiver = DtmfReceiver(HOST, port, digits)
        told: list[bool] = []
        receiver.when_broken = lambda: told.append(receiver.is_connected)
        await receiver.open()
        digits.subscribe("0a", lambda digit: heard.append(digit.digit))
        first = await engine.next_connection()
        match how:
            case "closed":
                first.write(SEEN[:30])  # half an event, which must not spoil the next connection's first one
                first.close()
            case "reset":
                linger = struct.pack("ii", 1, 0)
                first.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER: RST at close
                first.close()
            case "rubbish":
                first.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        (await engine.next_connection()).write(event(b"0a", event=7))
        await until(1, heard)
        assert (heard, told) == (["7"], [False])
        await receiver.close()


class CountingStore(DescriptorStore):
    """How often a connection was tried; and the last one that was made."""

    tries = 0
    made: socket.socket | None = None

    def take(self, address: str) -> socket.socket | None:
        self.tries += 1
        return super().take(address)

    def keep(self, address: str, descriptor: int) -> None:
        self.made = socket.socket(fileno=os.dup(descriptor))
        super().keep(address, descriptor)


async def test_the_host_of_rtpengine_may_be_gone_without_a_word() -> None:
    store = CountingStore()
    async with fake_engine(FakeEngine()) as port:
        receiver = DtmfReceiver(HOST, port, Digits(), store)
        await receiver.open()
        assert receiver.is_connected
        assert store.made is not None
        with store.made as made:
            assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        await receiver.close()


async def test_nobody_there_yet() -> None:
    engine = FakeEngine()
    heard: list[str] = []
    async with fake_engine(engine) as port:
        pass
    digits, store, broken = Digits(), CountingStore(), list[str]()
    receiver = DtmfReceiver(HOST, port, digits, store)
    receiver.when_broken = lambda: broken.append("it never stood")
    began = time.monotonic()
    await receiver.open()
    assert not receiver.is_connected
    passed_s = time.monotonic() - began
    assert passed_s >= 1  # it gave RTPengine some time
    assert store.tries <= passed_s / dtmf.RECONNECT_PAUSE_S + 1
    assert not broken
    digits.subscribe("0a", lambda digit: heard.append(digit.digit))
    async with fake_engine(engine, port):
        (await engine.next_connection()).write(event(b"0a"))
        await until(1, heard)
    await receiver.close()


async def test_a_connection_that_rtpengine_has_not_taken_up_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel connects before RTPengine knows of it. RTPengine sends no digits there, and nothing tells us."""
    monkeypatch.setattr(dtmf, "PONG_TIMEOUT_S", 0.5)
    monkeypatch.setattr(dtmf, "OPEN_TIMEOUT_S", 0.1)
    engine = FakeEngine(deaf_to=1)
    heard: list[str] = []
    async with fake_engine(engine) as port:
        digits = Digits()
        receiver = DtmfReceiver(HOST, port, digits)
        await receiver.open()
        assert not receiver.is_connected
        digits.subscribe("0a", lambda digit: heard.append(digit.digit))
        (await engine.next_connection()).write(event(b"0a"))
        assert len(engine.writers) == 2
        await until(1, heard)
        assert receiver.is_connected
        assert digits.received == 1
        await receiver.close()


async def test_a_call_whose_listener_fails_costs_no_other_its_digits() -> None:
    engine = FakeEngine()
    heard: list[str] = []

    def fails(_digit: DigitEvent) -> None:
        raise RuntimeError("a fault of ours")

    async with fake_engine(engine) as port:
        digits = Digits()
        receiver = DtmfReceiver(HOST, port, digits)
        await receiver.open()
        digits.subscribe("0a", fails)
        digits.subscribe("0b", lambda digit: heard.append(digit.digit))
        (await engine.next_connection()).write(event(b"0a") + event(b"0b"))
        await until(1, heard)
        await receiver.close()


class Mortal:
    """A sidecar that can die: the kernel closes what it has, and the pair is held by another process."""

    def __init__(self, pair: Pair, port: int) -> None:
        self.digits = Digits()
        self._store = DescriptorStore((pair[0].dup(), pair[1].dup()))
        self._receiver = DtmfReceiver(HOST, port, self.digits, self._store)

    async def __aenter__(self) -> Mortal:
        await self._receiver.open()
        assert self._receiver.is_connected
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._receiver.close()

    async def die(self) -> None:
        self._store.drop = lambda _name: None  # type: ignore[method-assign]
        for kept in self._store._kept.values():
            kept.close()
        await self._receiver.close()

    def missed(self, since: float = 0.0, *, was_ours: bool = True) -> str:
        return "".join(event.digit for event in self.digits.missed("0a", since, was_ours=was_ours))


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = make_pair()
    yield made
    for end in made:
        end.close()


async def test_what_comes_between_two_processes_waits_for_the_second_one(pair: Pair) -> None:
    engine, heard = FakeEngine(), list[str]()
    async with fake_engine(engine) as port:
        first = await Mortal(pair, port).__aenter__()
        first.digits.subscribe("0a", lambda digit: heard.append(digit.digit))
        connection = await engine.next_connection()
        connection.write(event(b"0a", event=1))
        await until(1, heard)
        died_at = time.time()
        await first.die()
        await asyncio.sleep(0.05)  # the kernel tells the time of arrival by its ticks of up to 10 ms
        connection.write(b"".join(event(b"0a", event=code) for code in (7, 7, 8)) + event(b"1other"))
        async with Mortal(pair, port) as second:
            assert len(engine.writers) == 1, "the same connection"
            assert second.missed(died_at) == "778", "not what the first one has taken; equal digits count each"
            assert second.missed(died_at, was_ours=False) == "", "who had the call meanwhile has heard them itself"
            assert second.missed(time.time()) == "", "nor when it comes back to us later"
            second.digits.subscribe("0a", lambda digit: heard.append(digit.digit))
            connection.write(event(b"0a", event=9))
            await until(2, heard)
        assert heard == ["1", "9"]


async def test_what_the_second_process_has_read_is_not_read_by_the_third(pair: Pair) -> None:
    engine = FakeEngine()
    async with fake_engine(engine) as port:
        first = await Mortal(pair, port).__aenter__()
        connection = await engine.next_connection()
        await first.die()
        connection.write(event(b"0a", event=7))
        second = await Mortal(pair, port).__aenter__()
        assert second.missed() == "7"
        await second.die()
        connection.write(event(b"0a", event=8))
        async with Mortal(pair, port) as third:
            assert third.missed() == "8"
            assert len(engine.writers) == 1


async def test_half_an_event_that_was_read_harms_no_other(pair: Pair) -> None:
    engine, heard = FakeEngine(), list[str]()
    async with fake_engine(engine) as port:
        first = await Mortal(pair, port).__aenter__()
        first.digits.subscribe("0a", lambda digit: heard.append(digit.digit))
        connection = await engine.next_connection()
        connection.write(event(b"0a", event=1) + event(b"0a", event=2)[:60])
        await until(1, heard)
        await first.die()
        connection.write(event(b"0a", event=2)[60:] + event(b"0a", event=3))
        async with Mortal(pair, port) as second:
            assert second.missed() == "3"


async def test_an_rtpengine_that_ended_meanwhile_has_told_what_it_heard_before(pair: Pair) -> None:
    engine, heard = FakeEngine(), list[str]()
    async with fake_engine(engine) as port:
        first = await Mortal(pair, port).__aenter__()
        connection = await engine.next_connection()
        await first.die()
        connection.write(event(b"0a", event=7))
        connection.close()
        await connection.wait_closed()
        async with Mortal(pair, port) as second:
            assert second.missed() == "7"
            second.digits.subscribe("0a", lambda digit: heard.append(digit.digit))
            engine.writers[-1].write(event(b"0a", event=8))
            await until(1, heard)
            assert len(engine.writers) == 2


async def test_a_process_that_stops_leaves_nothing(pair: Pair) -> None:
    engine = FakeEngine()
    async with fake_engine(engine) as port:
        async with Mortal(pair, port):
            await engine.next_connection()
        await asyncio.wait_for(engine.ended.wait(), 5)
        async with Mortal(pair, port):
            assert len(engine.writers) == 2


@pytest.mark.parametrize(
    ("reports", "since", "digits"),
    [
        # digit, and when it came
        ([("1", 0.0), ("2", 1.0)], 0.0, "2"),
        ([("1", 0.02), ("2", 1.0)], 0.0, "2"),  # the same report, read a little later than by the other one
        ([("2", 1.0), ("2", 1.02), ("2", 1.04)], 0.0, "2"),
        ([("2", 1.0), ("2", 1.08)], 0.0, "22"),
        ([("2", 1.0), ("3", 1.0)], 0.0, "23"),  # read at once on a busy machine
        ([("2", 1.0), ("3", 1.0), ("2", 1.0)], 0.0, "232"),
    ],
)
def test_what_another_sidecar_has_missed(reports: list[tuple[str, float]], since: float, digits: str) -> None:
    all_, now = Digits(), time.time()
    for batch, (digit, at) in enumerate(reports):
        (seen,) = EventReader().feed(event(b"0a", event=DIGITS.index(digit)))
        all_.take(seen, at, batch, 5 - at)
    assert "".join(each.digit for each in all_.missed("0a", now - 5 + since)) == digits


def test_what_was_missed_long_ago_counts_no_more() -> None:
    all_, (seen,) = Digits(), EventReader().feed(event(b"0a"))
    all_.take(seen, 0.0, 1, dtmf.MISSED_S + 1)
    assert all_.missed("0a", 0.0) == []
    all_.take(seen, 0.0, 2, dtmf.MISSED_S / 2)
    assert [each.digit for each in all_.missed("0a", 0.0)] == ["5"]


def test_time_is_linear_in_the_length_of_the_stream() -> None:
    def reading_s(count: int) -> float:
        stream, reader = SEEN * count, EventReader()
        began = time.process_time()
        assert sum(1 for _ in reader.feed(stream)) == count
        return time.process_time() - began

    costs = [min(reading_s(count) for _ in range(5)) for count in (100, 400, 1600)]
    assert all(more < 12 * less for less, more in pairwise(costs))
