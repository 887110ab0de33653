"""Who lives, asked again and again over one socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from callinteractive.model import Address
from cli import probe, rtpengine


class Element(asyncio.DatagramProtocol):
    """Answers each question so long later; None: never."""

    def __init__(self, answer: bytes) -> None:
        self.delay_s: float | None = 0.0
        self.lost = 0
        self.askers: list[object] = []
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = Address(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.askers.append(addr)
        answer = self._answer.replace(b"COOKIE", data.partition(b" ")[0])
        if self.delay_s is not None and len(self.askers) > self.lost:
            asyncio.get_running_loop().call_later(self.delay_s, self._say, answer, addr)

    def _say(self, answer: bytes, addr: tuple[str | int, ...]) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(answer, addr)


Asking = probe.SignsOfLife | rtpengine.SignsOfLife


@pytest.fixture(params=["sip", "ng"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Element, Asking]]:
    is_sip = request.param == "sip"
    answer = b"SIP/2.0 503 x\r\n\r\n" if is_sip else b"COOKIE d6:result4:ponge"
    loop = asyncio.get_running_loop()
    _, element = await loop.create_datagram_endpoint(lambda: Element(answer), local_addr=("127.0.0.1", 0))
    asking: Asking = (probe if is_sip else rtpengine).SignsOfLife(element.address)
    yield element, asking
    asking.close()
    element.transport.close()


async def test_one_socket_while_it_answers(pair: tuple[Element, Asking]) -> None:
    element, asking = pair
    assert [await asking() for _ in range(3)] == [True] * 3
    assert len(set(element.askers)) == 1


async def test_who_has_lost_a_question_is_asked_again(
    pair: tuple[Element, Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose socket is full, in a flood."""
    monkeypatch.setattr(probe, "ANSWER_S", 5.0)
    monkeypatch.setattr(probe, "TRIES", 50)
    monkeypatch.setattr(rtpengine, "LIVES", replace(rtpengine.LIVES, total_s=5.0))
    element, asking = pair
    element.lost = 2
    assert await asking()


async def test_an_answer_counts_once(pair: tuple[Element, Asking]) -> None:
    element, asking = pair
    assert await asking()
    element.delay_s = None
    assert not await asking()
    element.delay_s = 0.0
    assert await asking()


async def test_where_nothing_listens(pair: tuple[Element, Asking]) -> None:
    element, asking = pair
    assert await asking()
    element.transport.close()
    await asyncio.sleep(0)
    async with asyncio.timeout(probe.ANSWER_S * 5):
        assert [await asking() for _ in range(3)] == [False] * 3


async def test_a_late_answer_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of one that is busy."""
    monkeypatch.setattr(probe, "ANSWER_S", 0.01)
    loop = asyncio.get_running_loop()
    _, element = await loop.create_datagram_endpoint(lambda: Element(b"SIP/2.0 200 x"), local_addr=("127.0.0.1", 0))
    asking = probe.SignsOfLife(element.address)
    element.delay_s = 0.1
    assert not await asking()
    element.delay_s = None
    async with asyncio.timeout(5):
        while not await asking():
            pass
    asking.close()
    element.transport.close()


@pytest.mark.parametrize("kind", [probe.SignsOfLife, rtpengine.SignsOfLife])
async def test_who_cannot_ask_knows_nothing(kind: type[Asking], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sockets of our own, all parts would be ended."""

    async def fails(*_args: object, **_more: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_datagram_endpoint", fails)
    assert await kind(Address("127.0.0.1", 9))()
