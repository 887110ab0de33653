"""Two user agents over a network that loses, repeats and reorders datagrams: no call hangs, nothing is left."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from contextlib import suppress

import pytest

from sidecar.sip import (
    Address,
    Answered,
    Cancelled,
    Ended,
    Event,
    IncomingInvite,
    Leg,
    LegStateError,
    Rejected,
    ReOffered,
    UaConfig,
    UasLeg,
    UserAgent,
)
from tests.unit.sip.world import OUR_SDP, SDP

A, B = Address("127.10.0.1", 20000), Address("127.10.0.1", 20001)
LAST = (Ended, Rejected, Cancelled)


class Network:
    """A clock, and every datagram under way."""

    def __init__(self, seed: int, loss: float) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.time = 0.0
        self.agents: dict[Address, UserAgent] = {}
        self.flying: list[tuple[float, int, object]] = []
        self.order = itertools.count()

    def send(self, source: Address, data: bytes, destination: Address) -> None:
        for _ in range(1 + (self.random.random() < self.loss)):
            if self.random.random() >= self.loss:
                self.at(self.random.uniform(0.001, 0.3), lambda: self.agents[destination].receive(data, source))

    def at(self, delay_s: float, action: object) -> None:
        heapq.heappush(self.flying, (self.time + delay_s, next(self.order), action))

    def run(self, until: float) -> None:
        while True:
            timers = [due for agent in self.agents.values() if (due := agent.next_timer()) is not None]
            due = min([*timers, *[when for when, _, _ in self.flying[:1]]], default=None)
            if due is None or due > until:
                break
            self.time = max(self.time, due)
            if self.flying and self.flying[0][0] <= self.time:
                heapq.heappop(self.flying)[2]()  # type: ignore[operator]
            for agent in self.agents.values():
                agent.tick()
        self.time = until


class Side:
    """A user agent's wire and its whimsical transaction user."""

    def __init__(self, network: Network, local: Address, config: UaConfig) -> None:
        self.network, self.local = network, local
        self.ends: dict[str, list[Event]] = {}
        self.legs: list[Leg] = []
        self.agent = network.agents[local] = UserAgent(local, self.on_invite, config, self)

    def now(self) -> float:
        return self.network.time

    def send(self, data: bytes, destination: Address) -> None:
        self.network.send(self.local, data, destination)

    def wake_at(self, when: float) -> None:
        """The network looks at every timer itself."""

    def on_invite(self, leg: UasLeg, _invite: IncomingInvite) -> None:
        self.adopt(leg)
        choose = self.network.random
        if choose.random() < 0.8:
            self.do(choose.uniform(0, 4), lambda: leg.answer(OUR_SDP))
        else:
            self.do(choose.uniform(0, 4), lambda: leg.reject(486))

    def call(self, destination: Address) -> None:
        leg: Leg = self.agent.invite(f"sip:x@{destination}", SDP, lambda event: self.heard(leg, event))
        self.legs.append(leg)
        if self.network.random.random() < 0.3:
            self.do(self.network.random.uniform(0, 5), leg.bye)

    def adopt(self, leg: Leg) -> None:
        self.legs.append(leg)
        leg.listener = lambda event: self.heard(leg, event)

    def heard(self, leg: Leg, event: Event) -> None:
        choose = self.network.random
        if isinstance(event, LAST):
            self.ends.setdefault(f"{id(leg)}", []).append(event)
        if isinstance(event, ReOffered):
            self.network.at(choose.uniform(0, 1), lambda: event.respond.answer(OUR_SDP))
        if isinstance(event, Answered):
            for action in (lambda: leg.reinvite(SDP), lambda: leg.info("application/dtmf", b"1"), leg.bye):
                self.do(choose.uniform(0, 30), action)

    def do(self, delay_s: float, action: object) -> None:
        def act() -> None:
            with suppress(LegStateError):  # a whim at the wrong moment: the leg must survive it
                action()  # type: ignore[operator]

        self.network.at(delay_s, act)


@pytest.mark.parametrize("loss", [0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_no_call_hangs_and_nothing_is_left(seed: int, loss: float, caplog: pytest.LogCaptureFixture) -> None:
    network = Network(seed, loss)
    config = UaConfig(session_expires_s=90)
    a, b = Side(network, A, config), Side(network, B, config)
    for number in range(40):
        network.at(number * 0.5, lambda: a.call(B))
    with caplog.at_level(logging.ERROR):
        network.run(60)
        for side in (a, b):
            for leg in side.legs:
                if not leg.ended and leg.answered:
                    leg.bye()
        network.run(600)
    assert not caplog.records
    assert a.legs
    for side in (a, b):
        assert all(leg.ended for leg in side.legs)
        assert all(len(events) == 1 for events in side.ends.values())
        counters = side.agent.counters
        assert (counters.legs, counters.dialogs, counters.transactions, counters.timers) == (0, 0, 0, 0)
