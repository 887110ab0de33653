"""Where the numbers of a transfer lead (A14): to IVRs and to carriers. Other tests call extensions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_POST, TRANSFER
from tests.e2e.transfers import FIRST, CalledPhones, both_hear, transfer
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message
from tests.support.kamailio import carriers_known, replies_passed_on
from tests.support.rtp import RtpEndpoint
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

OUTSIDE = "+4930123456"
HANGUP = actions("<Hangup/>")
SILENT_S = 4
"""After this much silence of a carrier the next one is tried."""


class Carrier:
    """A carrier's gateway. It answers Kamailio's probes by itself; the test decides what it does with calls."""

    def __init__(self, stack: RunningStack, endpoint: Endpoint) -> None:
        self._stack = stack
        self._endpoint = endpoint
        self.sound = RtpEndpoint(endpoint.host)

    async def is_called(self) -> Message:
        invite = await self._endpoint.receive("INVITE", timeout_s=SILENT_S + 3)
        assert invite.private() == []
        self.sound.send_to(invite.body)
        return invite

    def says(self, invite: Message, status: str, tag: str = "carrier", body: str = "") -> Message:
        contact = f"<sip:gateway@{self._endpoint.host}:{self._endpoint.port}>"
        reply = sip.reply(invite, status, tag=tag, body=body, Contact=contact)
        self._endpoint.send(reply, self._stack.net.sip)
        return reply

    async def picks_up(self, invite: Message, tag: str = "carrier") -> Dialog:
        answer = self.says(invite, "200 OK", tag, self.sound.sdp())
        await self._endpoint.receive("ACK")
        return Dialog.of_callee(self._endpoint, invite, answer)

    async def refuses(self, invite: Message, status: str) -> None:
        self.says(invite, status)
        await self._endpoint.receive("ACK")

    async def is_cancelled(self, invites: dict[str, Message]) -> None:
        """Wait until all of these calls, by their URI, are cancelled."""
        left = dict(invites)
        while left:
            cancel = await self._endpoint.receive("CANCEL")
            self._endpoint.send(sip.reply(cancel, "200 OK"), self._stack.net.sip)
            if invite := left.pop(cancel.uri, None):
                self.says(invite, "487 Request Terminated", tag=invite.uri.partition("@")[0][-3:])

    async def is_hung_up_on(self) -> Message:
        bye = await self._endpoint.receive("BYE")
        self._endpoint.send(sip.reply(bye, "200 OK"), self._stack.net.sip)
        return bye

    async def is_not_called(self) -> None:
        await self._endpoint.expect_silence(0.5)


@asynccontextmanager
async def carriers(stack: RunningStack, *hosts: str) -> AsyncIterator[list[Carrier]]:
    """Start carriers at these addresses, and wait until Kamailio considers exactly these alive."""
    async with AsyncExitStack() as resources:
        found = []
        for host in hosts:
            endpoint = await resources.enter_async_context(Endpoint.at(host, stack.net.carrier_port))
            carrier = Carrier(stack, endpoint)
            await resources.enter_async_context(carrier.sound)
            found.append(carrier)
        await carriers_known(stack, *hosts)
        yield found


async def test_an_ivr_takes_the_call_into_its_entry_context(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    """A new CallID, the same CallAPIID (R2), and the number of SetCaller (R6)."""
    web.on(
        caller,
        transfer(SCRIPTED_POST, before=f'<SetCaller name="Anna" number="{caller}"/>'),
        actions("<PlaySound>tone-880-400.wav</PlaySound><Hangup/>"),
    )
    async with call(TRANSFER) as phone:
        await phone.answered()
        first = await web.request(caller)
        second = await web.request(caller, nth=2)
        await phone.hung_up()  # because the other IVR hangs up
    assert phone.sound.tone_duration(880) == pytest.approx(0.4, abs=0.05)
    told = second.parameters
    assert second.path == "/post"
    assert (told["CalledNumber"], told["CalledExtension"], told["CalledExtensionID"]) == (
        SCRIPTED_POST,
        SCRIPTED_POST,
        "201",
    )
    assert told["CallerIDName"] == "Anna"
    assert told["CallAPIID"] == first.parameters["CallAPIID"]
    assert told["CallID"] != first.parameters["CallID"]


async def test_an_ivrs_short_number_is_one_of_the_same_prefix(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, transfer("101"), HANGUP)
    async with call(TRANSFER) as phone:
        second = await web.request(caller, nth=2)
        await phone.hung_up()
    assert second.parameters["CalledNumber"] == "101"
    assert second.parameters["CalledExtension"] == SCRIPTED_POST


async def test_an_ivr_and_a_phone_ring_at_once(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """An IVR answers at once, so the phone stops ringing."""
    web.on(caller, transfer(f"{FIRST},{SCRIPTED_POST}"), actions('<Pause length="60"/>'))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await web.request(caller, nth=2)
        await callee.stops_ringing()
        await phone.hang_up()


async def test_an_external_number_goes_through_the_first_trunk(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(OUTSIDE))
    net = stack.net
    async with carriers(stack, net.carrier, net.second_carrier) as (first, second), call(TRANSFER) as phone:
        await phone.answered()
        invite = await first.is_called()
        first.says(invite, "180 Ringing")
        dialog = await first.picks_up(invite)
        await both_hear(phone.sound, first.sound)
        bye = dialog.request("BYE")
        dialog.endpoint.send(bye, net.sip)
        assert (await dialog.endpoint.receive(200)).get("CSeq") == bye.get("CSeq")
        await phone.hung_up()
        await second.is_not_called()
    assert invite.uri == f"sip:{OUTSIDE}@{net.carrier}:{net.carrier_port}"


@pytest.mark.parametrize("status", ["500 Server Internal Error", "503 Service Unavailable"])
async def test_the_next_trunk_takes_over_from_one_that_fails(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, status: str
) -> None:
    web.on(caller, transfer(OUTSIDE))
    net = stack.net
    async with carriers(stack, net.carrier, net.second_carrier) as (first, second), call(TRANSFER) as phone:
        await phone.answered()
        await first.refuses(await first.is_called(), status)
        invite = await second.is_called()
        await second.picks_up(invite)
        await both_hear(phone.sound, second.sound)
        await phone.hang_up()
        await second.is_hung_up_on()
    assert invite.uri == f"sip:{OUTSIDE}@{net.second_carrier}:{net.carrier_port}"


async def test_the_next_trunk_takes_over_from_one_that_is_silent(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    """The carrier answers the probes but no call."""
    web.on(caller, transfer(OUTSIDE))
    net = stack.net
    async with carriers(stack, net.carrier, net.second_carrier) as (first, second), call(TRANSFER) as phone:
        await phone.answered()
        await first.is_called()
        await second.picks_up(await second.is_called())
        await both_hear(phone.sound, second.sound)
        await phone.hang_up()
        await second.is_hung_up_on()


async def test_a_trunk_that_is_down_is_not_asked(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(OUTSIDE))
    async with carriers(stack, stack.net.second_carrier) as (second,), call(TRANSFER) as phone:
        await web.request(caller)
        async with asyncio.timeout(SILENT_S / 2):  # sooner than after the silence of the first carrier
            invite = await second.is_called()
        await second.picks_up(invite)
        await phone.hang_up()
        await second.is_hung_up_on()


async def test_a_busy_number_is_not_tried_through_the_next_trunk(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(OUTSIDE, final="no"), HANGUP)
    net = stack.net
    async with carriers(stack, net.carrier, net.second_carrier) as (first, second), call(TRANSFER) as phone:
        await phone.answered()
        await first.refuses(await first.is_called(), "486 Busy Here")
        after = await web.request(caller, nth=2)
        await phone.hung_up()
        await second.is_not_called()
    assert (after.query["status"], after.query["code"]) == ("busy", "486")


@pytest.mark.parametrize("number", [OUTSIDE, "000*999"])
async def test_a_caller_from_a_trunk_cant_call_out_through_one(
    call: PlaceCall, stack: RunningStack, number: str
) -> None:
    """Not even with the headers of a sidecar: only a sidecar can cause an outbound call."""
    plan = f"X-CI-Transfer: to=%2B4930123456&early_media=0\n      X-CI-Caller: name=&number={number}\n      "
    net = stack.net
    async with carriers(stack, net.carrier, net.second_carrier) as found:
        forged = {"Max-Forwards: 70\n      Allow": f"{plan}Max-Forwards: 70\n      Allow"}
        refused = {'<recv response="200" rrs="true"/>': '<recv response="404"/>'}
        async with call(number, replace=forged | refused) as phone:
            await phone.sipp.wait_for(404)
        for carrier in found:
            await carrier.is_not_called()


async def test_a10_thirty_numbers_ring_and_one_answers(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    numbers = [f"+49301000{index:02d}" for index in range(30)]
    web.on(caller, transfer(",".join(numbers)))
    before = await replies_passed_on(stack)
    async with carriers(stack, stack.net.carrier, stack.net.second_carrier) as (carrier, _), call(TRANSFER) as phone:
        await phone.answered()
        invites: dict[str, Message] = {}
        while len(invites) < len(numbers):
            invite = await carrier.is_called()
            invites[invite.uri] = invite
            carrier.says(invite, "180 Ringing", tag=invite.uri.partition("@")[0][-3:])
        # Kamailio's workers may do what comes later first, and it cancels nobody whose first answer is under way.
        await replies_passed_on(stack, len(numbers), since=before)
        answered = invites.pop(next(uri for uri in invites if numbers[16] in uri))
        carrier.says(answered, "200 OK", tag="016", body=carrier.sound.sdp())
        await carrier.is_cancelled(invites)
        await both_hear(phone.sound, carrier.sound)
        await phone.hang_up()
        await carrier.is_hung_up_on()
    assert {uri.partition("@")[0] for uri in invites} == {
        f"sip:{number}" for number in numbers if number != numbers[16]
    }


async def test_a10_all_thirty_ring_in_vain(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    numbers = [f"+49301000{index:02d}" for index in range(30)]
    web.on(caller, transfer(",".join(numbers), timeout="2", final="no"), HANGUP)
    async with carriers(stack, stack.net.carrier, stack.net.second_carrier) as (carrier, _), call(TRANSFER) as phone:
        await phone.answered()
        invites: dict[str, Message] = {}
        while len(invites) < len(numbers):
            invite = await carrier.is_called()
            invites[invite.uri] = invite
            carrier.says(invite, "180 Ringing", tag=invite.uri.partition("@")[0][-3:])
        await carrier.is_cancelled(invites)
        after = await web.request(caller, nth=2)
        await phone.hung_up()
    assert (after.query["status"], after.query["code"]) == ("no_answer", "408")
