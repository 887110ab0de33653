"""For all tests of transfers: phones to call, and answers of the web application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.support.baresip import SPEAKS_HZ, Baresip
from tests.support.callee import Callee
from tests.support.phone import Phone
from tests.support.relay import Relay
from tests.support.rtp import RtpEndpoint
from tests.support.sipp import free_udp_port
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, Reply, actions

FIRST, SECOND, REGISTERED = "000*306", "000*307", "000*308"
BOTH = f"{FIRST},{SECOND}"
ONE_HZ, OTHER_HZ = 520, 760


class CalledPhones:
    """The phones of the stack's extensions. The methods take the options of Callee."""

    def __init__(self, stack: RunningStack) -> None:
        self._net = stack.net

    def first(self, scenario: str = "callee", **options: Any) -> Callee:
        """That of extension 000*306."""
        return Callee(self._net.sip, (self._net.phone, self._net.phone_port), scenario, **options)

    def second(self, scenario: str = "callee", **options: Any) -> Callee:
        """That of extension 000*307."""
        return Callee(self._net.sip, (self._net.second_phone, self._net.phone_port), scenario, **options)


@asynccontextmanager
async def behind_relay(
    stack: RunningStack, scenario: str = "callee", *, loss: float = 0.0, **options: object
) -> AsyncIterator[tuple[Callee, Relay]]:
    """The phone of extension 000*306, with everything that it says and hears on its way through a relay."""
    host = stack.net.phone
    outer, inner = (host, stack.net.phone_port), (host, free_udp_port(host))
    sipp_at = (host, free_udp_port(host))
    contact = {"<sip:callee@[local_ip]:[local_port]>": f"<sip:callee@{outer[0]}:{outer[1]}>"}
    replace = contact | dict(options.pop("replace", {}))  # type: ignore[call-overload]
    async with (
        Relay(outer, inner, stack.net.sip, sipp_at, loss=loss) as relay,
        Callee(inner, sipp_at, scenario, replace=replace, **options) as callee,  # type: ignore[arg-type]
    ):
        yield callee, relay


def transfer(numbers: str, before: str = "", after: str = "", **attributes: str) -> Reply:
    """An answer of the web application with a SimpleTransfer, and other actions before and after it."""
    return actions(before + transfer_xml(numbers, **attributes) + after)


def transfer_xml(numbers: str, **attributes: str) -> str:
    given = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<SimpleTransfer{given}>{numbers}</SimpleTransfer>"


async def both_hear(one: RtpEndpoint, other: RtpEndpoint) -> None:
    """Let both send a tone, and wait until each has heard the other."""
    one.forget()
    other.forget()
    await asyncio.gather(
        one.send_tone(ONE_HZ, 0.4), other.send_tone(OTHER_HZ, 0.4), one.hear_tone(OTHER_HZ), other.hear_tone(ONE_HZ)
    )


async def holds_and_resumes(softphone: Baresip, other: RtpEndpoint) -> None:
    """The softphone puts the other party on hold, who hears nothing until it takes the call up again."""
    softphone.holds()
    await until(lambda: softphone.answers("INVITE").count(200) == 1, PATIENT_S, "the answer to the hold")
    await other.hear_silence()
    softphone.resumes()
    await until(lambda: softphone.answers("INVITE").count(200) == 2, PATIENT_S, "the answer to the resumption")
    other.forget()
    await other.hear_tone(SPEAKS_HZ)


async def connected(phone: Phone, callee: Callee) -> None:
    """The IVR answers and rings the callee, who picks up: from then on both hear each other."""
    await phone.answered()
    await callee.rings()
    await callee.picks_up()
    await both_hear(phone.sound, callee.sound)


async def is_hung_up_by_the_ivr(web: FakeWebApp, softphone: Baresip) -> None:
    """It calls a menu and chooses."""
    before = len(web.requests[REGISTERED])
    await softphone.dials(MENU)
    await softphone.connected()
    await softphone.hears_tone(MENU_HZ)
    await softphone.presses("1")
    await web.request(REGISTERED, before + 1)
    await softphone.call_ended()


async def is_rung_and_talks(web: FakeWebApp, stack: RunningStack, softphone: Baresip, caller: str) -> None:
    """Two transfers ring it. The caller ends the first call, it the second one."""
    web.on(caller, transfer(REGISTERED))
    net = stack.net
    for nth, who in enumerate(("caller", "softphone"), 1):
        async with Phone(net.sip, TRANSFER, host=net.carrier, caller=caller) as phone:
            await phone.answered()
            await softphone.rings(nth=nth)
            await softphone.picks_up()
            await softphone.connected(nth=nth)
            await phone.sound.hear_tone(SPEAKS_HZ)
            await phone.sound.send_tone(ONE_HZ, 1.0)
            await softphone.hears_tone(ONE_HZ, for_s=0.2 * nth)
            if who == "caller":
                await phone.hang_up()
                await softphone.call_ended()
            else:
                await softphone.hangs_up()
                await phone.hung_up()


async def is_called_by_another_extension(stack: RunningStack, softphone: Baresip) -> None:
    """With no IVR between (C8)."""
    net = stack.net
    async with Phone(net.sip, REGISTERED, host=net.phone, caller="306") as phone:
        await softphone.rings()
        await softphone.picks_up()
        await phone.answered()
        await softphone.connected()
        await phone.hang_up()
        await softphone.call_ended()
