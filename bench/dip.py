"""What a sidecar does for a whole call, without the network: answer, one request, hang up.

The user agent, the call, its script, its media and the webhook are those of a sidecar, on its event loop. RTPengine,
the web application and Kamailio answer at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.layers import ACK, INVITE, LOCAL, PROXY, SDP, XML, Line
from callinteractive.config import load_ivr_file, load_site
from callinteractive.model import Defaults, RtpEngine
from sidecar import sip
from sidecar.app import TRYING_DELAY_S, Sidecar
from sidecar.call.services import Services
from sidecar.connections import Protocol
from sidecar.generations import Generations
from sidecar.media import bencode
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.engines import Engines
from sidecar.metrics import Metrics
from sidecar.outcomes import Outcomes
from sidecar.plain_http import server_of
from sidecar.state.keeper import Keeper
from sidecar.story import Stories
from sidecar.webhook import Webhook

SITE = 'node: 1\nsip: {listen: ["udp:127.15.0.1:25060"]}\n'
URL = "http://127.15.0.9:25080/hangup"
NG_REPLY = bencode.encode({"result": "ok", "sdp": SDP, "tags": {CALLER_TAG: {}}})
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(XML), XML)
"""As of `webapp.py`."""
MOST_ROUNDS = 100
"""Of the event loop until something must have happened."""


class Sent(list[bytes]):
    """A transport that keeps what is sent by it."""

    def sendto(self, datagram: bytes) -> None:
        self.append(datagram)

    write = sendto

    def get_extra_info(self, _name: str) -> None:
        """It has no socket."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to do."""

    def take(self) -> list[bytes]:
        taken = list(self)
        self.clear()
        return taken


class Dips:
    """Calls, one after the other."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._line = Line()
        self._commands, self._requests = Sent(), Sent()
        self._number = 0
        self._loop.run_until_complete(self._set_up())

    async def _set_up(self) -> None:
        ivr_file = load_ivr_file(Path(__file__).with_name("ivr.yaml").read_text("utf-8"), "ivr.yaml")
        sidecar = self.sidecar = Sidecar(load_site(SITE, "site.yaml"), ivr_file, 0, bytes(32), Keeper())
        engines = Engines([RtpEngine()])
        (engine,) = engines
        engine.is_alive = engine.is_clean = True
        engine.tells_at_delete = False
        self._ng = engine.ng
        self._ng._loop = self._loop
        self._ng._transport = cast("asyncio.DatagramTransport", self._commands)
        webhook = self._webhook = await Webhook().__aenter__()
        server = server_of(URL)
        assert server is not None
        self._connection = Protocol(self._loop)
        self._connection.connection_made(cast("asyncio.Transport", self._requests))
        webhook._sender._plain._idle[server] = [(self._connection, math.inf)]
        stories, outcomes = Stories(), Outcomes()
        stories.watch(outcomes.EVENTS, outcomes.take)
        sidecar._metrics = Metrics(sidecar._gauges, sidecar._counts)
        self.agent = sip.UserAgent(LOCAL, sidecar._on_invite, sip.UaConfig(trying_delay_s=TRYING_DELAY_S), self._line)
        nothing: Any = None
        sidecar._services = Services(
            media_prefix="1-0-", pool=None, ivr_file=ivr_file, agent=self.agent, edges=sidecar._edges, engines=engines,
            sounds=nothing, ringback=nothing, defaults=Defaults(), webhook=webhook,
            unacknowledged=sidecar._unacknowledged, observe=sidecar._metrics.observe, keeper=sidecar._keeper,
            stories=stories,
        )  # fmt: skip
        sidecar._generations = Generations(sidecar._services)

    def run(self) -> None:
        self._loop.run_until_complete(self._call())

    def close(self) -> None:
        self._loop.run_until_complete(self._webhook.__aexit__(None, None, None))
        self._loop.close()

    async def _call(self) -> None:
        """As often as somebody has to wait, the event loop runs."""
        self._number += 1
        number = b"%d" % self._number
        self._line.time_s += 0.001
        self.agent.tick()
        self.agent.receive(INVITE.replace(b"NUMBER", number), PROXY)
        await self._until(lambda: len(self._commands) == 2)
        self._answer_commands()
        await self._until(lambda: self._line.sent.startswith(b"SIP/2.0 200"))
        sent = self._line.sent
        begin = sent.index(b";tag=", sent.index(b"\r\nTo: ")) + 5
        to_tag = sent[begin : sent.index(b"\r\n", begin)]
        self.agent.receive(ACK.replace(b"NUMBER", number).replace(b"TAG", to_tag), PROXY)
        await self._until(lambda: bool(self._requests))
        self._requests.clear()
        self._connection.data_received(HTTP_ANSWER)
        await self._until(lambda: self._line.sent.startswith(b"BYE"))
        self.agent.receive(b"SIP/2.0 200 OK\r\n" + self._line.sent.partition(b"\r\n")[2], PROXY)
        await self._until(lambda: bool(self._ng._alone))
        self._ng._tell_company()
        await self._until(lambda: bool(self._commands))
        self._answer_commands()
        await self._until(lambda: not self.sidecar._calls)

    def _answer_commands(self) -> None:
        for datagram in self._commands.take():
            self._ng.on_datagram(b"%b %b" % (datagram.partition(b" ")[0], NG_REPLY))

    async def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(MOST_ROUNDS):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("the call does not go on")


def rows() -> dict[str, Callable[[], object]]:
    """For `bench.layers`."""
    return {"a whole call without the network": Dips().run}
