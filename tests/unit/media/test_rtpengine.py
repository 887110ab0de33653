"""The NG client against a scripted RTPengine: order, retransmission, bounds, errors."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from sidecar.eager import begin
from sidecar.media import bencode
from sidecar.media.ng_command import NgTimeouts
from sidecar.media.ng_failures import NgError, NgOverloaded, NgTimeout, NgUnknownCall, NgUnreachable
from sidecar.media.purge import purge
from sidecar.media.rtpengine import NgClient
from sidecar.state.keeper import All
from tests.support.timing import PATIENT_S

HOST = "127.11.201.1"
QUICK = NgTimeouts(retransmit_s=0.05, total_s=0.3, tick_s=0.01)
PATIENT = NgTimeouts(retransmit_s=60, total_s=60, tick_s=30)

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


class FakeRtpEngine(asyncio.DatagramProtocol):
    """Answers every command by `answer`; None is silence."""

    def __init__(self) -> None:
        self.answer: Answer = lambda command: {"result": "ok"}  # noqa: ARG005
        self.seen: list[tuple[bytes, dict[str, Any]]] = []
        self.held: list[tuple[bytes, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        cookie, _, body = data.partition(b" ")
        command = bencode.decode(body)
        self.seen.append((cookie, command))
        reply = self.answer(command)
        if reply is None:
            self.held.append((cookie, addr))
        else:
            self.reply(cookie, addr, reply)

    def reply(self, cookie: bytes, addr: Any, reply: dict[str, Any] | bytes) -> None:
        body = reply if isinstance(reply, bytes) else bencode.encode(reply)
        self.transport.sendto(b"%b %b" % (cookie, body), addr)

    @property
    def commands(self) -> list[str]:
        return [f"{command.get('call-id')}:{command['command']}" for _, command in self.seen]


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[FakeRtpEngine]:
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(FakeRtpEngine, local_addr=(HOST, 0))
    yield fake
    transport.close()


@pytest_asyncio.fixture
async def patient_ng(engine: FakeRtpEngine) -> AsyncIterator[NgClient]:
    """It waits as long as a real one, for tests with many commands."""
    client = NgClient(*engine.transport.get_extra_info("sockname"))
    await client.open()
    yield client
    client.close()


@pytest_asyncio.fixture
async def ng(engine: FakeRtpEngine) -> AsyncIterator[NgClient]:
    client = NgClient(*engine.transport.get_extra_info("sockname"), timeouts=QUICK)
    await client.open()
    yield client
    client.close()
    assert client.waiting == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_command_and_its_reply(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: {"result": "ok", "sdp": command["sdp"].upper()}
    assert (await ng.command("offer", "c", {"sdp": "é", "from-tag": "a"}))["sdp"] == "É"
    assert engine.seen[0][1] == {"command": "offer", "call-id": "c", "sdp": "é", "from-tag": "a"}


async def test_one_call_in_order_and_others_beside_it(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None if command["call-id"] == "slow" else {"result": "ok"}
    slow = [asyncio.create_task(ng.command(name, "slow")) for name in ("offer", "answer", "delete")]
    await until(lambda: bool(engine.held))
    await asyncio.gather(*(ng.command("offer", f"other{n}") for n in range(50)))
    assert engine.commands.count("slow:answer") == 0
    assert ng.waiting == 3
    engine.answer = lambda command: {"result": "ok"}  # noqa: ARG005
    engine.reply(*engine.held[0], {"result": "ok"})
    await asyncio.gather(*slow)
    order = list(dict.fromkeys(command for command in engine.commands if command.startswith("slow")))
    assert order == ["slow:offer", "slow:answer", "slow:delete"]


async def test_a_lost_datagram_is_sent_again_with_the_same_cookie(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: {"result": "ok"} if len(engine.seen) == 3 else None  # noqa: ARG005
    await ng.command("offer", "c")
    assert len(engine.seen) == 3
    assert len({cookie for cookie, _ in engine.seen}) == 1
    assert ng.counters.retransmissions == 2


async def test_a_second_reply_is_nobodys(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    waiting = asyncio.create_task(ng.command("offer", "c"))
    await until(lambda: bool(engine.held))
    engine.reply(*engine.held[0], {"result": "ok"})
    engine.reply(*engine.held[0], {"result": "error"})
    assert await waiting == {"result": "ok"}
    engine.answer = lambda command: {"result": "ok"}  # noqa: ARG005
    await ng.command("answer", "c")


async def test_silence_ends_in_a_timeout_and_the_next_command_goes_out(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None if command["command"] == "offer" else {"result": "ok"}
    loop = asyncio.get_running_loop()
    started = loop.time()
    offering = asyncio.create_task(ng.command("offer", "c"))
    await asyncio.sleep(0)
    assert await ng.command("delete", "c") == {"result": "ok"}
    assert loop.time() - started >= QUICK.total_s - QUICK.tick_s
    with pytest.raises(NgTimeout):
        await offering
    assert ng.counters.timeouts == 1
    sent = engine.commands.count("c:offer")
    assert sent <= 3, "at 0, 0.05 and 0.15 s: the next one would be after its time"
    assert sum(ng.durations.counts) == 2, "a command that was given up counts, too"
    assert ng.durations.sum_s >= QUICK.total_s - QUICK.tick_s


async def test_one_timer_for_all_and_none_when_idle(engine: FakeRtpEngine, ng: NgClient) -> None:
    await asyncio.gather(*(ng.command("offer", f"c{n}") for n in range(100)))
    assert ng.waiting == 0
    await until(lambda: ng._timer is None)
    assert not ng._queues


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"result": "error", "error-reason": "Unknown call-id"}, NgUnknownCall),
        ({"result": "error", "error-reason": "Unknown call-ID"}, NgUnknownCall),
        ({"result": "error", "error-reason": "Failed to parse SDP"}, NgError),
        ({"result": "load limit", "message": "Parallel session limit reached"}, NgOverloaded),
        ({"result": "error", "error-reason": "Parallel session limit reached"}, NgOverloaded),
        ({"result": "error", "error-reason": "Ran out of ports"}, NgOverloaded),
        ({"result": "strange"}, NgError),
        ({}, NgError),
    ],
)
async def test_errors_by_kind(engine: FakeRtpEngine, ng: NgClient, reply: dict[str, Any], error: type) -> None:
    engine.answer = lambda command: reply  # noqa: ARG005
    with pytest.raises(NgError) as raised:
        await ng.command("play media", "c")
    assert type(raised.value) is error
    assert raised.value.command == "play media"
    assert ng.counters.errors == 1


@pytest.mark.parametrize("body", [b"", b"d", b"le", b"i7e", b"\0", b'{"result":"ok"}', b"d6:result" + b"l" * 20_000])
async def test_a_reply_that_is_none_is_an_error(engine: FakeRtpEngine, ng: NgClient, body: bytes) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    waiting = asyncio.create_task(ng.command("offer", "c"))
    await until(lambda: bool(engine.held))
    engine.reply(*engine.held[0], body)
    with pytest.raises(NgError, match="not bencoded"):
        await waiting


async def test_a_cancelled_wait_keeps_the_order(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None if command["command"] == "offer" else {"result": "ok"}
    tasks = [asyncio.create_task(ng.command(name, "c")) for name in ("offer", "play media", "delete")]
    await until(lambda: bool(engine.held))
    tasks[0].cancel()
    tasks[1].cancel()
    await until(lambda: tasks[0].done() and tasks[1].done())
    await ng.command("query", "other")
    assert engine.commands.count("c:delete") == 0  # the offer is still on its way
    engine.reply(*engine.held[0], {"result": "ok"})
    assert await tasks[2] == {"result": "ok"}
    assert "c:play media" not in engine.commands


async def test_who_waits_goes_on_at_once_when_the_next_command_is_out(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    seen = []

    async def offer() -> None:
        seen.append(await ng.command("offer", "c"))
        seen.append(await ng.command("delete", "c"))

    task = begin(offer())
    behind = begin(answer(ng))
    await until(lambda: len(engine.seen) == 1)
    ng.on_datagram(engine.seen[0][0] + b" d6:result2:oke")
    assert seen == [{"result": "ok"}]
    for number, command in enumerate(["c:offer", "c:answer", "c:delete"], 1):
        await until(lambda number=number: len(engine.seen) == number)  # type: ignore[misc]
        assert engine.commands[-1] == command
        ng.on_datagram(engine.seen[-1][0] + b" d6:result2:oke")
    await asyncio.gather(task.ended(), behind.ended())


async def answer(ng: NgClient) -> None:
    await ng.command("answer", "c")


async def test_some_together_and_the_next_one_after_all_of_them(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None if command["command"] != "delete" else {"result": "ok"}
    first = asyncio.create_task(ng.together("c", (("offer", {}), ("answer", {}))))
    await until(lambda: len(engine.held) == 2)
    then = asyncio.create_task(ng.command("delete", "c"))
    await until(lambda: ng.waiting == 3)
    assert engine.commands == ["c:offer", "c:answer"]
    engine.reply(*engine.held[1], {"result": "error", "error-reason": "Unknown call-id"})
    await until(lambda: ng.waiting == 2)
    await ng.command("delete", "other")
    assert "c:delete" not in engine.commands  # the offer is still on its way
    engine.reply(*engine.held[0], {"result": "ok"})
    offered, answered = await first
    assert offered == {"result": "ok"}
    assert isinstance(answered, NgUnknownCall)
    assert await then == {"result": "ok"}


async def test_some_together_wait_for_what_is_out(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    tasks = [asyncio.create_task(ng.command("offer", "c"))]
    tasks += [asyncio.create_task(ng.together("c", ((name, {}), (name, {})))) for name in ("dropped", "stop media")]
    await until(lambda: len(engine.held) == 1)
    tasks[1].cancel()
    await until(tasks[1].done)
    engine.reply(*engine.held[0], {"result": "ok"})
    await until(lambda: len(engine.held) == 3)
    assert engine.commands == ["c:offer", "c:stop media", "c:stop media"]
    assert ng.waiting == 2
    ng.close()
    assert [type(each) for each in await tasks[2]] == [NgUnreachable] * 2


async def test_one_of_some_that_is_lost_is_sent_again_alone(engine: FakeRtpEngine, ng: NgClient) -> None:
    lost = iter((None, {"result": "ok"}, {"result": "ok"}))
    engine.answer = lambda command: next(lost)  # noqa: ARG005
    assert await ng.together("c", (("stop media", {}), ("unblock media", {}))) == [{"result": "ok"}] * 2
    assert engine.commands == ["c:stop media", "c:unblock media", "c:stop media"]


@pytest_asyncio.fixture
async def patient(engine: FakeRtpEngine) -> AsyncIterator[NgClient]:
    """Nothing happens in it just because time passes."""
    client = NgClient(*engine.transport.get_extra_info("sockname"), timeouts=PATIENT)
    await client.open()
    yield client
    client.close()


async def test_the_last_reply_of_some_together_wakes_us(engine: FakeRtpEngine, patient: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    both = asyncio.create_task(patient.together("c", (("offer", {}), ("answer", {}))))
    await until(lambda: len(engine.held) == 2)
    engine.reply(*engine.held[0], {"result": "ok", "sdp": "1"})
    await asyncio.sleep(0.02)
    assert patient.waiting == 2, "it is there, and was not read"
    engine.reply(*engine.held[1], {"result": "ok", "sdp": "2"})
    async with asyncio.timeout(2):
        assert await both == [{"result": "ok", "sdp": "1"}, {"result": "ok", "sdp": "2"}]


async def test_a_reply_that_comes_after_the_last_one(engine: FakeRtpEngine, patient: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    both = asyncio.create_task(patient.together("c", (("offer", {}), ("answer", {}))))
    await until(lambda: len(engine.held) == 2)
    engine.reply(*engine.held[1], {"result": "ok"})
    await until(lambda: patient.waiting == 1)
    engine.reply(*engine.held[0], {"result": "ok"})
    async with asyncio.timeout(2):
        assert await both == [{"result": "ok"}] * 2


async def test_a_quiet_reply_is_read_with_the_next_one(engine: FakeRtpEngine, patient: NgClient) -> None:
    quiet = asyncio.create_task(patient.command("delete", "c", is_quiet=True))
    await until(lambda: bool(engine.seen))
    await asyncio.sleep(0.01)
    assert patient.waiting == 1
    await patient.command("offer", "other")
    async with asyncio.timeout(2):
        assert await quiet == {"result": "ok"}
    assert sum(patient.durations.counts) == 1, "when its reply came is not known"


async def test_a_quiet_reply_is_read_at_a_tick(ng: NgClient) -> None:
    async with asyncio.timeout(2):
        assert await ng.command("delete", "c", is_quiet=True) == {"result": "ok"}


async def test_a_quiet_command_to_nobody() -> None:
    """The next tick finds that out, though nobody watches its socket."""
    client = NgClient(HOST, unused_port(), NgTimeouts(retransmit_s=60, total_s=60, tick_s=0.01))
    await client.open()
    async with asyncio.timeout(PATIENT_S):
        with pytest.raises(NgUnreachable):
            await client.command("delete", "c", is_quiet=True)
    client.close()


class UselessSocket:
    """A quiet socket that sends nothing, and how often somebody has looked for replies."""

    reads = 0

    def __init__(self, error: int) -> None:
        self._error = error

    def send(self, _datagram: bytes) -> int:
        raise OSError(self._error, "not sent")

    def recv(self, _size: int) -> bytes:
        self.reads += 1
        raise BlockingIOError

    def close(self) -> None: ...


@pytest.mark.parametrize("error", [errno.ENOBUFS, errno.ECONNREFUSED])
async def test_a_quiet_command_that_cannot_be_sent_counts_as_lost(
    engine: FakeRtpEngine, ng: NgClient, error: int
) -> None:
    assert ng._quiet is not None
    ng._quiet.close()
    ng._quiet = useless = UselessSocket(error)  # type: ignore[assignment]
    assert await ng.command("delete", "c", is_quiet=True) == {"result": "ok"}, "it was sent again, not quietly"
    assert ng.counters.retransmissions
    await until(lambda: ng._timer is None)
    reads = useless.reads
    await ng.command("offer", "other")
    assert useless.reads == reads, "no quiet reply can come any more"


async def test_a_second_socket_that_cannot_be_had(engine: FakeRtpEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = NgClient(*engine.transport.get_extra_info("sockname"))
    transports: list[asyncio.DatagramTransport] = []

    def refuse(*_arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    loop = asyncio.get_running_loop()
    make = loop.create_datagram_endpoint

    async def made(*arguments: Any, **named: Any) -> Any:
        transport, protocol = await make(*arguments, **named)
        transports.append(transport)
        monkeypatch.setattr(socket, "socket", refuse)
        return transport, protocol

    monkeypatch.setattr(loop, "create_datagram_endpoint", made)
    with pytest.raises(OSError, match="Too many"):
        await client.open()
    monkeypatch.undo()
    assert transports[0].is_closing()
    assert not client.is_open


async def test_what_was_refused_before_says_nothing_of_now() -> None:
    port = unused_port()
    client = NgClient(HOST, port, PATIENT)
    await client.open()
    both = (("offer", {}), ("answer", {}))
    assert [type(each) for each in await client.together("c", both)] == [NgUnreachable] * 2
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(FakeRtpEngine, local_addr=(HOST, port))
    async with asyncio.timeout(PATIENT_S):
        assert await client.together("c", both) == [{"result": "ok"}] * 2
    transport.close()
    client.close()


async def test_company_is_another_command(engine: FakeRtpEngine) -> None:
    ng = NgClient(*engine.transport.get_extra_info("sockname"), timeouts=NgTimeouts(tick_s=30, gather_s=0))
    await ng.open()
    alone = [asyncio.create_task(ng.company()) for _ in range(3)]
    await asyncio.sleep(0)
    alone[0].cancel()
    await ng.command("offer", "c")
    async with asyncio.timeout(2):
        await asyncio.gather(*alone[1:])
    ng.close()


async def test_those_who_wait_for_company_are_gathered(engine: FakeRtpEngine) -> None:
    ng = NgClient(*engine.transport.get_extra_info("sockname"), timeouts=NgTimeouts(tick_s=30, gather_s=20))
    await ng.open()
    alone = asyncio.create_task(ng.company())
    await asyncio.sleep(0)
    await ng.command("offer", "c")
    assert not alone.done(), "others may still come"
    ng.close()
    await alone


async def test_who_stays_alone_waits_for_a_tick(ng: NgClient) -> None:
    async with asyncio.timeout(2):
        await asyncio.gather(ng.company(), ng.company())
    assert ng.counters.commands == 0


async def test_nobody_waits_for_company_in_a_client_that_is_closed(engine: FakeRtpEngine) -> None:
    ng = NgClient(*engine.transport.get_extra_info("sockname"), timeouts=NgTimeouts(tick_s=30))
    await ng.open()
    alone = asyncio.create_task(ng.company())
    await asyncio.sleep(0)
    ng.close()
    async with asyncio.timeout(2):
        await alone
        await ng.company()


async def test_closing_ends_every_wait(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    tasks = [asyncio.create_task(ng.command("offer", call)) for call in ("a", "a", "b")]
    await until(lambda: len(engine.held) == 2)
    ng.close()
    ng.close()
    assert all(isinstance(r, NgUnreachable) for r in await asyncio.gather(*tasks, return_exceptions=True))
    with pytest.raises(NgUnreachable):
        await ng.command("offer", "c")


async def test_a_command_too_large_for_a_datagram(engine: FakeRtpEngine, ng: NgClient) -> None:
    with pytest.raises(NgError, match="too large"):
        await ng.command("offer", "c", {"sdp": "x" * 70_000})
    await ng.command("offer", "c")
    assert len(engine.seen) == 1


async def test_ping(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: {"result": "pong"} if command == {"command": "ping"} else None
    assert await ng.ping()
    engine.answer = lambda command: None  # noqa: ARG005
    assert not await ng.ping()


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def _nobody_listens() -> None:
    client = NgClient(HOST, unused_port())
    await client.open()
    for _ in range(3):
        tasks = [client.command("offer", call) for call in ("a", "a", "b")]
        together = client.together("c", (("offer", {}), ("answer", {})))
        *results, both = await asyncio.gather(*tasks, together, return_exceptions=True)
        assert [type(each) for each in both] == [NgUnreachable] * 2
        assert [type(result) for result in results] == [NgUnreachable] * 3  # at once: after a while it is NgTimeout
    assert client.waiting == 0
    assert client.counters.refusals >= 1
    client.close()


def test_a_dead_engine_ends_the_wait_at_once_on_both_event_loops() -> None:
    asyncio.run(_nobody_listens())
    uvloop.run(_nobody_listens())


async def test_an_engine_that_dies_under_many_waits_ends_them_all(engine: FakeRtpEngine, ng: NgClient) -> None:
    engine.answer = lambda command: None  # noqa: ARG005
    tasks = [asyncio.create_task(ng.command("offer", f"c{n}")) for n in range(20)]
    await until(lambda: len(engine.held) == 20)
    told: list[bool] = []
    ng.is_heard, ng.when_refused = True, lambda: told.append(ng.is_heard)
    engine.transport.abort()
    loop = asyncio.get_running_loop()
    died = loop.time()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(type(result) is NgUnreachable for result in results)
    assert told == [False], "once: what has failed is not sent again"
    assert loop.time() - died < 2 * QUICK.retransmit_s  # at the first retransmission


async def test_an_engine_that_comes_back_is_used_at_once() -> None:
    port = unused_port()
    client = NgClient(HOST, port, QUICK)
    await client.open()
    assert not await client.ping()
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(FakeRtpEngine, local_addr=(HOST, port))
    assert await client.command("offer", "c") == {"result": "ok"}
    assert len(fake.seen) == 1
    transport.close()
    client.close()


async def test_purge_deletes_the_calls_of_its_own_index_only(engine: FakeRtpEngine, patient_ng: NgClient) -> None:
    calls = [f"{index}call{n}" for index in range(3) for n in range(550)]

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if command["command"] == "list":
            return {"result": "ok", "calls": calls[: command["limit"]]}
        if command["call-id"] in calls:  # a slow machine has the client send one again
            calls.remove(command["call-id"])
        return {"result": "ok"}

    engine.answer = answer
    assert await purge(patient_ng, "1", All()) == 0, "the store has not said which ones are alive"
    assert await purge(patient_ng, "1") == 550
    assert sorted({call[0] for call in calls}) == ["0", "2"]
    assert await purge(patient_ng, "1") == 0
