"""Several RTPengines: which one takes a call, which one is left out and for how long, and what it forgets then."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from callinteractive.model import Address, RtpEngine
from sidecar.descriptor_store import DescriptorStore, make_pair
from sidecar.media import engines as engines_module
from sidecar.media import moving
from sidecar.media.dtmf import Digits
from sidecar.media.engines import BUSY, Engine, Engines
from sidecar.media.ng_failures import NgError, NgOverloaded, NgTimeout, NgUnreachable
from sidecar.media.rtpengine import NgClient
from tests.support.workers import own_host
from tests.unit.media.test_rtpengine import FakeRtpEngine

HOSTS = tuple(own_host(number) for number in (11, 12, 13))
PORT = 22222


class FakeDtmf:
    """The connection for digits, which always stands unless the test says otherwise."""

    def __init__(self, _host: str, _port: int, _digits: Digits, _store: DescriptorStore | None) -> None:
        self.is_connected = True

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Site:
    """RTPengines that can be killed, hung and started, and a sidecar's view of them."""

    def __init__(self, weights: tuple[int, ...]) -> None:
        configs = [RtpEngine(ng=Address(host, PORT)) for host, _ in zip(HOSTS, weights, strict=False)]
        self.is_cut_off = False
        self.engines = Engines(configs, is_cut_off=lambda: self.is_cut_off)
        self.of: list[Engine] = list(self.engines)
        for engine, weight in zip(self.of, weights, strict=True):
            engine.weight = weight
        self.fakes: list[FakeRtpEngine] = []

    async def start(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # a transport that was closed gives its port back in the next round
        _, fake = await loop.create_datagram_endpoint(FakeRtpEngine, local_addr=(HOSTS[index], PORT))
        fake.answer = lambda command: {"result": "pong" if command["command"] == "ping" else "ok"}
        self.fakes[index : index + 1] = [fake]

    def kill(self, index: int) -> None:
        self.fakes[index].transport.close()

    def hang(self, index: int) -> None:
        self.fakes[index].answer = lambda _command: None

    def wake(self, index: int) -> None:
        self.fakes[index].answer = lambda _command: {"result": "ok"}

    async def until(self, condition: Callable[[], bool], within_s: float = 3) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.005)

    def chosen(self, count: int) -> str:
        """Who takes the next calls, by letter."""
        return "".join("ABC"[self.of.index(engine)] for _ in range(count) if (engine := self.engines.choose()))

    def calls(self, index: int) -> list[str]:
        return [command for command in self.fakes[index].commands if "ping" not in command and "list" not in command]


@pytest_asyncio.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    monkeypatch.setattr(engines_module, "DtmfReceiver", FakeDtmf)
    async with AsyncExitStack() as stack:

        async def make(*weights: int, dead: tuple[int, ...] = ()) -> Site:
            site = Site(weights)
            for index in range(len(weights)):
                await site.start(index)
                if index in dead:
                    site.kill(index)
                stack.callback(site.kill, index)
            await site.engines.open("1-0-")
            stack.push_async_callback(site.engines.close)
            return site

        yield make


@pytest.mark.parametrize(
    ("weights", "turn"), [((1,), "AAAA"), ((1, 1), "ABAB"), ((2, 1), "ABAABA"), ((5, 1, 1), "AABACAA")]
)
async def test_calls_are_shared_by_weight(made: Any, weights: tuple[int, ...], turn: str) -> None:
    site = await made(*weights)
    assert site.chosen(len(turn)) == turn


async def test_a_killed_one_is_left_out_and_taken_back(made: Any) -> None:
    site = await made(1, 1)
    site.kill(0)
    await site.until(lambda: not site.of[0].is_alive, 2.5)
    assert site.chosen(4) == "BBBB"
    await site.start(0)
    await site.until(lambda: site.of[0].is_alive, 2.5)
    assert set(site.chosen(4)) == {"A", "B"}


async def test_a_hung_one_is_left_out_and_taken_back(made: Any) -> None:
    site = await made(1, 1)
    site.hang(1)
    await site.until(lambda: not site.of[1].is_alive, 2.5)
    assert site.chosen(3) == "AAA"
    site.wake(1)
    await site.until(lambda: site.of[1].is_alive, 2.5)


async def test_one_lost_ping_means_nothing(made: Any) -> None:
    site = await made(1, 1)
    engine = site.of[0]
    engine.ng.is_heard = True
    engine.tick(is_late=False)
    engine.ng.is_heard = False
    engine.tick(is_late=False)
    assert engine.is_alive
    engine.ng.is_heard = False
    engine.tick(is_late=False)
    assert not engine.is_alive


async def test_our_own_delay_says_nothing_of_rtpengine(made: Any) -> None:
    site = await made(1, 1)
    for _ in range(5):
        site.of[0].ng.is_heard = False
        site.of[0].tick(is_late=True)
    assert site.of[0].is_alive


async def test_a_call_keeps_to_its_rtpengine(made: Any) -> None:
    site = await made(1, 1)
    first, second = site.engines.call("1-0-a"), site.engines.call("1-0-b")
    assert not first.is_settled
    for command in ("offer", "answer", "query"):
        await first.command(command)
        assert first.is_settled
        await second.command(command)
    await first.delete()
    assert site.calls(0) == [f"1-0-a:{command}" for command in ("offer", "answer", "query", "delete")]
    assert site.calls(1) == [f"1-0-b:{command}" for command in ("offer", "answer", "query")]


async def test_a_first_offer_to_a_dead_one_goes_to_another_at_once(made: Any) -> None:
    site = await made(1, 1)
    site.kill(0)
    began = asyncio.get_running_loop().time()
    for name in "abcdef":  # no ping has told us yet
        call = site.engines.call(f"1-0-{name}")
        assert await call.command("offer") == {"result": "ok"}
        await call.command("answer")
    assert asyncio.get_running_loop().time() - began < 1
    assert len(site.calls(1)) == 12


async def test_first_offers_to_a_hung_one_go_to_another_and_it_forgets_them_when_back(made: Any) -> None:
    site = await made(1, 1)
    began = asyncio.get_running_loop().time()
    site.hang(0)
    calls = [site.engines.call(f"1-0-{name}") for name in "abcd"]
    assert await asyncio.gather(*(call.command("offer") for call in calls)) == [{"result": "ok"}] * 4
    assert asyncio.get_running_loop().time() - began < 2.5
    assert {"1-0-a:offer", "1-0-b:offer", "1-0-c:offer", "1-0-d:offer"} == set(site.calls(1))
    moved = {each.partition(":")[0] for each in site.calls(0)}
    assert len(moved) == 2
    site.wake(0)
    await site.until(lambda: {f"{name}:delete" for name in moved} <= set(site.calls(0)))
    assert not [each for each in site.calls(1) if "delete" in each]


async def test_a_later_command_does_not_go_elsewhere(made: Any) -> None:
    site = await made(1, 1)
    call = site.engines.call("1-0-a")
    await call.command("offer")
    site.kill(0)
    with pytest.raises(NgUnreachable):
        await call.command("play media")
    assert site.calls(1) == []


async def test_a_full_one_sends_a_new_call_to_another(made: Any) -> None:
    site = await made(1, 1)
    site.fakes[0].answer = lambda _command: {"result": "load limit"}
    assert await site.engines.call("1-0-a").command("offer") == {"result": "ok"}
    site.fakes[1].answer = lambda _command: {"result": "error", "error-reason": "Ran out of ports"}
    with pytest.raises(NgOverloaded):
        await site.engines.call("1-0-b").command("offer")


async def test_what_one_refuses_no_other_is_asked(made: Any) -> None:
    site = await made(1, 1)
    site.fakes[0].answer = lambda _command: {"result": "error", "error-reason": "Failed to parse SDP"}
    with pytest.raises(NgError):
        await site.engines.call("1-0-a").command("offer")
    assert site.calls(1) == []


async def test_all_dead_is_told_at_once_and_they_come_back(made: Any) -> None:
    site = await made(1, 1)
    site.kill(0)
    site.kill(1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NgUnreachable):
        await site.engines.call("1-0-a").command("offer")
    assert asyncio.get_running_loop().time() - began < 1
    await site.start(1)
    await site.until(lambda: site.of[1].is_alive, 2.5)
    await site.engines.call("1-0-b").command("offer")


async def test_the_only_one_hung_is_waited_for(made: Any) -> None:
    site = await made(1)
    site.hang(0)
    await site.until(lambda: not site.of[0].is_alive, 2.5)
    offer = asyncio.create_task(site.engines.call("1-0-a").command("offer"))
    await site.until(lambda: "1-0-a:offer" in site.calls(0))
    site.wake(0)
    assert await offer == {"result": "ok"}  # sent again
    site.hang(0)
    with pytest.raises(NgTimeout):
        await site.engines.call("1-0-b").command("offer")


async def test_one_that_is_dead_at_the_start_is_purged_before_it_gets_a_call(made: Any) -> None:
    site = await made(1, 1, dead=(0,))
    assert site.chosen(3) == "BBB"
    left = ["1-0-left", "11-0-other", "1-01-other"]

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if command["command"] == "delete":
            left.remove(command["call-id"])
        return {"result": "ok", "calls": list(left)}

    await site.start(0)
    site.fakes[0].answer = answer
    await site.until(lambda: site.of[0].is_alive, 2.5)
    assert left == ["11-0-other", "1-01-other"]
    assert "A" in site.chosen(2)


async def test_it_is_purged_once_though_its_digits_come_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second purge, a moment behind, would delete calls that have begun after the first one."""
    monkeypatch.setattr(engines_module, "DtmfReceiver", FakeDtmf)
    site = Site((1,))
    await site.start(0)
    site.fakes[0].answer = lambda _command: None
    opening = asyncio.create_task(site.engines.open("1-0-"))
    await site.until(lambda: bool(site.fakes[0].held))
    site.of[0].dtmf.when_connected()
    await asyncio.sleep(0)
    site.wake(0)
    site.fakes[0].reply(*site.fakes[0].held[0], {"result": "ok", "calls": []})
    await opening
    await site.engines.close()
    assert site.fakes[0].commands.count("None:list") == 1
    site.kill(0)


async def test_without_its_connection_for_digits_or_behind_it_gets_calls_only_if_no_other_is_better(made: Any) -> None:
    site = await made(1, 1)
    site.of[0].dtmf.is_connected = False
    assert site.chosen(3) == "BBB"
    site.hang(1)
    offers = [asyncio.create_task(site.of[1].ng.command("offer", str(number))) for number in range(BUSY)]
    await asyncio.sleep(0)
    assert site.chosen(2) in ("AB", "BA")
    for offer in offers:
        offer.cancel()


async def test_calls_go_on_at_one_that_answers_but_tells_no_digits_for_long(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives, only the way of its digits is broken: no sound may count as lost for ever."""
    monkeypatch.setattr(moving, "WAIT_S", 0.05)
    site = await made(1)
    await site.engines.call("1-0-c").command("offer")
    engine = site.of[0]
    engine.dtmf.is_connected = False
    engine.dtmf.when_broken()
    assert engine.lost_at is not None
    await site.until(lambda: engine.lost_at is None)
    assert engine.is_alive


async def test_one_that_is_cut_off_deletes_nothing_that_may_be_another_s(made: Any) -> None:
    """Its store does not answer either. When it is plugged in again, it hears first which calls are another's."""
    site = await made(1)
    site.is_cut_off = True
    calls = [site.engines.call(f"1-0-{name}") for name in "ab"]
    for call in calls:
        await call.command("offer")
    site.hang(0)
    failures = await asyncio.gather(*(call.delete() for call in calls), return_exceptions=True)
    assert [type(each) for each in failures] == [NgTimeout, NgTimeout]
    await site.until(lambda: not site.of[0].is_alive)
    site.wake(0)
    await site.until(lambda: site.of[0].is_alive)
    before = len(site.fakes[0].commands)
    await site.until(lambda: len(site.fakes[0].commands) > before + 1)  # two pings later
    calls[0].forget()
    site.is_cut_off = False
    before = len(site.calls(0))
    await site.until(lambda: len(site.calls(0)) > before)
    assert site.calls(0)[before:] == ["1-0-b:delete"]


async def test_a_call_that_told_nothing_deletes_nothing(made: Any) -> None:
    site = await made(1, 1)
    await site.engines.call("1-0-a").delete()
    assert site.calls(0) == site.calls(1) == []


async def test_a_call_gets_one_with_an_interface_of_its_family(made: Any) -> None:
    site = await made(1, 1, 1)
    site.of[2].families = frozenset({"IP4", "IP6"})
    for name in "abc":
        call = site.engines.call(f"1-0-{name}")
        assert call.has("IP6")
        await call.command("offer")
        assert call.has("IP4")
    assert site.calls(2) == ["1-0-a:offer", "1-0-b:offer", "1-0-c:offer"]
    site.of[2].families = frozenset({"IP4"})
    assert not site.engines.call("1-0-d").has("IP6")


async def test_no_way_to_one_while_its_link_is_down(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket can't even be connected then (ENETUNREACH). The sidecar starts with the others, and finds it later."""
    opened = NgClient.open

    async def open_(client: NgClient) -> None:
        if is_down and client.address.host == HOSTS[1]:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        await opened(client)

    is_down = True
    monkeypatch.setattr(NgClient, "open", open_)
    site = await made(1, 1)
    assert site.chosen(2) == "AA"
    is_down = False
    await site.until(lambda: site.of[1].is_alive)
    assert set(site.chosen(2)) == {"A", "B"}


async def test_commands_of_calls_wait_until_it_is_known_whose_the_calls_are(made: Any) -> None:
    site = await made(1)
    call = site.engines.call("1-0-a")
    await call.command("offer")
    site.engines.gate.until = 0.0  # this process was asleep
    waiting = [asyncio.create_task(call.command("play media")), asyncio.create_task(call.delete())]
    await asyncio.sleep(0.05)
    assert len(site.calls(0)) == 1
    site.engines.gate.reopen(float("inf"))
    await asyncio.gather(*waiting)
    assert len(site.calls(0)) == 3


async def test_the_connection_to_one_that_is_no_longer_in_the_site_ends() -> None:
    """The process before has left it. RTPengine would write to it, and nobody would read."""
    pair = make_pair()
    here, there = socket.socketpair()
    with here, there:
        DescriptorStore((pair[0].dup(), pair[1].dup())).keep("127.0.0.1:9", here.fileno())
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)
        engines = Engines((), store=DescriptorStore(pair))
        await engines.open("1-0-")
        assert there.recv(1) == b""
        await engines.close()
