"""Kamailio's memory for calls is used up: calls that it has go on, others are refused, until there is memory again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from callinteractive.headers import TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import ENTRY, IVR, STATE, UNCHANGED, redirect
from tests.integration.kemi_support import Endpoint, Message
from tests.integration.test_kemi_websocket import BROWSERS, request
from tests.support.stack import until
from tests.support.timing import PATIENT_S

SITE = sip.SITE + "kamailio: {shared_mb: 32}\n"
LARGE = "x" * 8_000
"""A header that a carrier may send. With it some hundreds of calls use up the memory."""
MOST_CALLS, REFUSED = 5_000, 30


class Carrier:
    """Places calls, and sends an ACK for whatever refuses one of them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._invites: dict[str, Message] = {}

    async def what_comes_of_a_call(self) -> int:
        """180 or a final status. 100 where no more has come: there was no memory for the last 180 (Kamailio 6.0)."""
        call = self._endpoint.invite("332", X_Large=LARGE)
        self._invites[call.get("Call-ID")] = call
        self._endpoint.send(call)
        while True:
            try:
                answer = await self._endpoint.receive(timeout_s=2)
            except TimeoutError:
                return 100
            invite = self._invites[answer.get("Call-ID")]
            if (answer.status or 0) >= 300:
                self._endpoint.send(sip.ack_of_failure(invite, answer))
            if invite is call and answer.status != 100:
                return answer.status or 0


async def ring_all(sidecar: Endpoint, ringing: list[Message]) -> None:
    while True:
        invite = await sidecar.receive("INVITE")
        ringing.append(invite)
        sidecar.send(sip.reply(invite, "180 Ringing", tag="s"))


def told_of(sidecar: Endpoint) -> str:
    """What sidecars hear of calls that they never had (E1)."""
    return "".join(report.body for report in sidecar.reports)


async def test_a_call_that_there_is_no_memory_for_gets_503(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path, SITE, sip.IVR) as kamailio,
        sip.sidecars_with_one_inbox(kamailio) as sidecar,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as endpoint,
    ):
        carrier = Carrier(endpoint)
        ringing: list[Message] = []
        rings = asyncio.create_task(ring_all(sidecar, ringing))
        came: list[int] = []
        while len(came) < MOST_CALLS and came.count(503) < REFUSED:
            came.append(await carrier.what_comes_of_a_call())
        assert {180, 503} <= set(came) <= {100, 180, 503}
        assert came.count(100) <= 1
        assert await kamailio.logged("refused 503 Service Unavailable", "kamailio.shared_mb")

        all_that_ring = list(ringing)
        async with asyncio.timeout(PATIENT_S):
            while await carrier.what_comes_of_a_call() != 180:
                for invite in all_that_ring:  # again, as any user agent does: there may be no memory for the first
                    sidecar.send(sip.reply(invite, "480 Gone", tag="s"))
                await asyncio.sleep(0.5)
        rings.cancel()
        await until(lambda: "kamailio.shared_mb" in told_of(sidecar), PATIENT_S, "a CDR of a refused call")


async def answer_each(endpoint: Endpoint, answer: Callable[[Message], None]) -> None:
    """Each INVITE once: it is sent again where the machine is busy."""
    seen = set()
    while True:
        invite = await endpoint.receive("INVITE")
        if (branch := invite.get("Via")) not in seen:
            seen.add(branch)
            answer(invite)


async def test_the_script_of_a_call_goes_on_where_new_calls_are_refused_for_memory(tmp_path: Path) -> None:
    """tm copies an INVITE before it runs a failure route. Without memory for that the caller gets the 302."""
    busy = 10
    async with (
        sip.running_kamailio(tmp_path, SITE, IVR) as kamailio,
        sip.sidecars_with_one_inbox(kamailio) as sidecar,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as endpoint,
        Endpoint.at(sip.EXTENSION, 22090) as phone,
    ):
        asked: Counter[str] = Counter()
        rung: list[Message] = []
        is_busy = False

        def transfer_twice(invite: Message) -> None:
            asked[call := invite.get("Call-ID")] += 1
            if asked[call] <= 2:
                redirect(sidecar, invite, TransferHeader(("306",), 120, False), UNCHANGED, STATE, ENTRY)
            else:
                sidecar.send(sip.reply(invite, "480 Gone", tag="s"))

        def ring(invite: Message) -> None:
            rung.append(invite)
            phone.send(sip.reply(invite, "486 Busy Here" if is_busy else "180 Ringing", tag="p"))

        tasks = [asyncio.create_task(answer_each(*part)) for part in ((sidecar, transfer_twice), (phone, ring))]
        carrier, came = Carrier(endpoint), list[int]()
        while len(came) < MOST_CALLS and came.count(503) < REFUSED:
            came.append(await carrier.what_comes_of_a_call())
        assert set(came) == {180, 503}
        is_busy = True
        for invite in rung[:busy]:
            phone.send(sip.reply(invite, "486 Busy Here", tag="p"))
        for _ in range(busy):
            while (final := await endpoint.receive()).status < 300:
                pass
            assert final.status == 480
        for task in tasks:
            task.cancel()


async def test_connections_of_anybody_leave_memory_for_calls(tmp_path: Path) -> None:
    """A browser's takes 83 KB."""
    site = SITE.replace("]}\n", f', "ws:{BROWSERS[0]}:{BROWSERS[1]}"]}}\n', 1)
    async with (
        sip.running_kamailio(tmp_path, site, sip.IVR),
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as carrier,
        AsyncExitStack() as stack,
    ):
        opened = 0
        for number in range(400):
            with suppress(OSError, EOFError):  # no more are taken
                host = f"{sip.NET}.{101 + number % 100}"  # each may open some
                reader, writer = await asyncio.open_connection(*BROWSERS, local_addr=(host, 0))
                stack.callback(writer.close)
                writer.write(request())
                await reader.readuntil(b"\r\n\r\n")
                opened += 1
        assert opened > 100
        carrier.send(carrier.invite("999"))
        assert (await carrier.receive_only(404)).status == 404
