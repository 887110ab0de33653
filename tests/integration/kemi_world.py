"""All parties of a transfer: sidecars, phones and carriers around one Kamailio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.support.timing import PATIENT_S

PHONES = tuple((f"{sip.NET}.65", 22090 + index) for index in range(3))
MANY = 30
SITE = (
    sip.SITE.partition("trunks:")[0]
    + f"""
trunks:
  - {{name: first, from: ["{sip.TRUNK}/32"], to: "sip:{sip.TRUNK_GATEWAYS[0][0]}:22080"}}
  - {{name: second, to: "sip:gateway@{sip.TRUNK_GATEWAYS[1][0]}:22080"}}
extensions:
"""
    + "\n".join(
        f"  - {{number: '000*{300 + index}', id: {index}, contact: 'sip:phone{index}@{sip.NET}.65:{22090 + index}'}}"
        for index in range(MANY)
    )
    + f"""
  - {{number: "000*399", id: 399, password: secret}}
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
"""
)
FACTS = CallFacts("a" * 32, "3584705175:" + "a" * 32, "+7903", "Ivan", "332", "000*332", 145)


class World:
    """All parties of a transfer."""

    def __init__(self, sidecars: list[Endpoint], phones: list[Endpoint], gateways: list[Endpoint]) -> None:
        self.sidecar = sidecars[0]
        self.sidecars = sidecars
        self.phones = phones
        self.gateways = gateways

    def invite(
        self,
        *numbers: str,
        timeout_s: int | None = 10,
        early_media: bool = False,
        caller: CallerHeader | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """A sidecar's INVITE for a transfer, sent."""
        plan = TransferHeader(numbers, timeout_s, early_media)
        values = [CallHeader(FACTS), plan, caller or CallerHeader("Ivan", "+7903")]
        private = {header.NAME.replace("-", "_"): str(header) for header in values}
        request = self.sidecar.invite("transfer", **(private | dict(headers or {})))
        self.sidecar.send(request)
        return request

    async def refused(self, invite: Message, timeout_s: float = PATIENT_S) -> Message:
        """The INVITE's final reply, which must be a failure. The 200 of an earlier CANCEL may come before it."""
        async with asyncio.timeout(timeout_s):
            while (final := await self.sidecar.receive(timeout_s=timeout_s)).status < 200 or (
                final.get("Call-ID") != invite.get("Call-ID")
            ):
                pass
        assert final.status >= 300
        self.sidecar.send(sip.ack_of_failure(invite, final))
        return final


@asynccontextmanager
async def world_around(kamailio: RunningKamailio) -> AsyncIterator[World]:
    """Bind all their sockets, and wait until Kamailio's probes have found them."""
    async with AsyncExitStack() as stack:

        async def at(addresses: tuple[tuple[str, int], ...]) -> list[Endpoint]:
            return [await stack.enter_async_context(Endpoint.at(*address)) for address in addresses]

        made = World(await at(sip.SIDECARS), await at(PHONES), await at(sip.TRUNK_GATEWAYS))
        await kamailio.until_flagged("AP", *sip.SIDECARS, *sip.TRUNK_GATEWAYS)
        yield made


def ring(phone: Endpoint, invite: Message, status: str = "180 Ringing", body: str = "", **headers: str) -> None:
    phone.send(sip.reply(invite, status, tag=f"t{phone.port}", body=body, **headers))


def pick_up(phone: Endpoint, invite: Message, body: str = sip.SDP) -> Message:
    contact = f"<sip:me@{phone.host}:{phone.port}>"
    answer = sip.reply(invite, "200 OK", tag=f"t{phone.port}", body=body, Contact=contact)
    phone.send(answer)
    return answer


async def refuse(phone: Endpoint, invite: Message, status: str = "486 Busy Here") -> None:
    phone.send(sip.reply(invite, status, tag=f"t{phone.port}"))
    await phone.receive("ACK")
