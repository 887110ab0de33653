"""A sidecar's INVITE rings the numbers of its plan: forks, timers, early media, final codes, trunks (A10-A14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from callinteractive.headers import CallerHeader, CallHeader, EntryHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import FACTS, MANY, SITE, World, pick_up, refuse, ring

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest.mark.parametrize("answering", [0, 1])
async def test_two_ring_and_the_other_stops(world: World, answering: int) -> None:
    invite = world.invite("000*300", "301")
    got = [await phone.receive_only("INVITE") for phone in world.phones[:2]]
    assert [message.uri for message in got] == [f"sip:phone{i}@{sip.NET}.65:{22090 + i}" for i in range(2)]
    for phone, message in zip(world.phones, got, strict=False):
        assert not message.private()
        ring(phone, message)
        assert not (await world.sidecar.receive(180)).private()
    winner, loser = world.phones[answering], world.phones[1 - answering]
    answer = pick_up(winner, got[answering])
    final = await world.sidecar.receive(200)
    cancel = await loser.receive_only("CANCEL")
    loser.send(sip.reply(cancel, "200 OK"))
    await refuse(loser, got[1 - answering], "487 Request Terminated")
    ours, theirs = Dialog.of_caller(world.sidecar, invite, final), Dialog.of_callee(winner, got[answering], answer)
    world.sidecar.send(ours.request("ACK"))
    await winner.receive_only("ACK")
    winner.send(theirs.request("BYE"))
    bye = await world.sidecar.receive("BYE")
    world.sidecar.send(sip.reply(bye, "200 OK"))
    await winner.receive(200)


@pytest.mark.parametrize("repeated", ["180 Ringing", "183 Session Progress"])
async def test_nobody_answers_within_the_time(world: World, repeated: str) -> None:
    """The time begins at the INVITE: it does not begin again with each reply, or it would have no end here."""
    began = time.monotonic()
    invite = world.invite("300", timeout_s=2)
    got = await world.phones[0].receive_only("INVITE")
    ring(world.phones[0], got, "180 Ringing")
    refused = asyncio.create_task(world.refused(invite, timeout_s=20))
    while not refused.done():
        await asyncio.wait([refused], timeout=0.5)  # the phone's own pace
        ring(world.phones[0], got, repeated)
    assert (await refused).status == 408
    assert time.monotonic() - began > 1.8
    await world.phones[0].receive_only("CANCEL")


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (["486 Busy Here", "486 Busy Here"], 486),
        (["486 Busy Here", "404 Not Found"], 486),
        (["403 Forbidden", "486 Busy Here"], 486),
        (["486 Busy Here", "503 Service Unavailable"], 486),
        (["486 Busy Here", "302 Moved Temporarily"], 486),
        (["404 Not Found", "404 Not Found"], 404),
        (["302 Moved Temporarily", "302 Moved Temporarily"], 480),
        (["603 Decline", ""], 603),
        (["486 Busy Here", "rings"], 408),
        (["rings, 486 Busy Here", "486 Busy Here"], 486),
        (["rings, 486 Busy Here", "rings"], 408),
        (["407 Proxy Authentication Required", "407 Proxy Authentication Required"], 503),
    ],
)
async def test_final_code(world: World, answers: list[str], code: int) -> None:
    invite = world.invite("300", "301", timeout_s=1)
    got = [await phone.receive_only("INVITE") for phone in world.phones[:2]]
    for phone, message, answer in zip(world.phones, got, answers, strict=False):
        for step in answer.split(", "):
            if step == "rings":
                ring(phone, message)
                await world.sidecar.receive(180)
            elif step:
                await refuse(phone, message, step)
    refused = await world.refused(invite)
    assert refused.status == code
    assert refused.start.split(" ", 2)[2], "some can't read a status without a reason"


@pytest.mark.parametrize("status", ["700 Very Final", "099 None"])
async def test_rfc_3261_7_2_a_status_that_does_not_exist_is_no_answer(world: World, status: str) -> None:
    """700 ended the call for Kamailio, but a sidecar did not take it for an answer."""
    invite = world.invite("300")
    got = await world.phones[0].receive_only("INVITE")
    ring(world.phones[0], got, status)
    await refuse(world.phones[0], got)
    assert (await world.refused(invite)).status == 486


async def test_busy_and_one_that_is_not_there(world: World) -> None:
    """A phone that never answers does not count as ringing: the caller gets the 486 of the busy one."""
    invite = world.invite("300", "000*329", timeout_s=10)
    await refuse(world.phones[0], await world.phones[0].receive_only("INVITE"))
    assert (await world.refused(invite)).status == 486


async def test_no_route_is_404_and_harms_no_other(world: World) -> None:
    """A phone that is not registered."""
    assert (await world.refused(world.invite("000*399"))).status == 404
    invite = world.invite("399", "300")
    await refuse(world.phones[0], await world.phones[0].receive_only("INVITE"))
    assert (await world.refused(invite)).status == 486


@pytest.mark.parametrize("status", ["183 Session Progress", "180 Ringing"])
async def test_early_media(world: World, status: str) -> None:
    for early_media in (False, True):
        invite = world.invite("300", early_media=early_media, headers={"Supported": "100rel, timer"})
        got = await world.phones[0].receive_only("INVITE")
        assert ("100rel" in got.get("Supported")) is early_media
        assert "timer" in got.get("Supported")
        ring(world.phones[0], got, status, body=sip.SDP)
        await world.sidecar.receive(100)
        heard = await world.sidecar.receive()
        assert heard.start == (f"SIP/2.0 {status}" if early_media else "SIP/2.0 180 Ringing")
        assert heard.body == (sip.SDP if early_media else "")
        assert bool(heard.get("Content-Type")) is early_media
        await refuse(world.phones[0], got)
        await world.refused(invite)


async def test_cancel_stops_all(world: World) -> None:
    invite = world.invite("300", "301")
    got = [await phone.receive_only("INVITE") for phone in world.phones[:2]]
    for phone, message in zip(world.phones, got, strict=False):
        ring(phone, message)
        await world.sidecar.receive(180)
    world.sidecar.send(sip.cancel_of(invite))
    for phone, message in zip(world.phones, got, strict=False):
        phone.send(sip.reply(await phone.receive_only("CANCEL"), "200 OK"))
        await refuse(phone, message, "487 Request Terminated")
    await world.sidecar.receive(487)


async def test_thirty_targets(world: World) -> None:
    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(Endpoint.at(f"{sip.NET}.65", 22090 + index))
            for index in range(len(world.phones), MANY)
        ]
        invite = world.invite(*(str(300 + index) for index in range(MANY)))
        phones = [*world.phones, *others]
        got = [await phone.receive_only("INVITE") for phone in phones]
        for phone, message in zip(phones, got, strict=True):
            await refuse(phone, message)
        assert (await world.refused(invite)).status == 486


async def test_the_same_target_rings_once(world: World) -> None:
    invite = world.invite("300", "000*300")
    await refuse(world.phones[0], await world.phones[0].receive_only("INVITE"))
    assert (await world.refused(invite)).status == 486


async def test_external_number_goes_through_the_first_trunk(world: World) -> None:
    invite = world.invite("+74951234567")
    got = await world.gateways[0].receive_only("INVITE")
    assert got.uri == f"sip:+74951234567@{sip.TRUNK_GATEWAYS[0][0]}:22080"
    assert not got.private()
    await refuse(world.gateways[0], got)
    assert (await world.refused(invite)).status == 486
    await world.gateways[1].expect_silence(0.2)


@pytest.mark.parametrize("fault", ["503 Service Unavailable", "500 Server Internal Error", ""])
async def test_failing_trunk_is_replaced_by_the_next(world: World, fault: str) -> None:
    invite = world.invite("+74951234567", "300")
    got = await world.gateways[0].receive_only("INVITE")
    ringing = await world.phones[0].receive_only("INVITE")
    ring(world.phones[0], ringing)
    await world.sidecar.receive(180)
    if fault:
        await refuse(world.gateways[0], got, fault)
    other = await world.gateways[1].receive("INVITE")
    assert other.uri == f"sip:+74951234567@{sip.TRUNK_GATEWAYS[1][0]}:22080"
    assert not other.private()
    pick_up(world.gateways[1], other)
    final = await world.sidecar.receive(200)
    await world.phones[0].receive_only("CANCEL")
    ours = Dialog.of_caller(world.sidecar, invite, final)
    world.sidecar.send(ours.request("ACK"))
    await world.gateways[1].receive_only("ACK")


async def test_both_trunks_fail(world: World) -> None:
    invite = world.invite("+74951234567")
    for gateway in world.gateways:
        await refuse(gateway, await gateway.receive_only("INVITE"), "503 Service Unavailable")
    assert (await world.refused(invite)).status == 500  # a 503 would mean that we are overloaded (RFC 3261 16.7)


async def test_dead_trunk_is_left_out(kamailio: RunningKamailio, world: World) -> None:
    world.gateways[0].options_status = "503 Down"
    await kamailio.until_flagged("IP", sip.TRUNK_GATEWAYS[0])
    invite = world.invite("+74951234567")
    await refuse(world.gateways[1], await world.gateways[1].receive_only("INVITE"))
    assert (await world.refused(invite)).status == 486


async def test_ivr_number_enters_that_ivr_with_the_same_api_id(world: World) -> None:
    invite = world.invite("332", caller=CallerHeader("Petr", "+7812"))
    both = asyncio.Queue[Message]()
    for sidecar in world.sidecars:
        while not sidecar.inbox.empty():
            both.put_nowait(sidecar.inbox.get_nowait())
        sidecar.inbox = both
    got = await world.sidecar.receive("INVITE")
    facts = CallHeader.parse(got.get(CallHeader.NAME)).facts
    assert (facts.call_api_id, facts.caller_name, facts.caller_number) == (FACTS.call_api_id, "Petr", "+7812")
    assert facts.call_id != FACTS.call_id
    assert (facts.called_number, facts.called_extension) == ("332", "000*332")
    assert EntryHeader.parse(got.get(EntryHeader.NAME)) == EntryHeader("000*332", "1", "start")
    assert sorted(got.private()) == ["X-CI-Call", "X-CI-Entry", "X-CI-Generation", "X-CI-Signature"]
    world.sidecar.send(sip.reply(got, "486 Busy Here", tag="b"))
    await world.sidecar.receive("ACK")
    assert (await world.refused(invite)).status == 486


async def test_ivr_s_dead_sidecar_is_replaced_by_the_next(world: World) -> None:
    invite = world.invite("332")
    tasks = [asyncio.create_task(sidecar.receive("INVITE")) for sidecar in world.sidecars]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    asked = 0 if tasks[0].done() else 1
    world.sidecars[asked].send(sip.reply(tasks[asked].result(), "503 Service Unavailable", tag="d"))
    got = await tasks[1 - asked]
    assert CallHeader.parse(got.get(CallHeader.NAME)).facts.call_api_id == FACTS.call_api_id
    world.sidecars[1 - asked].send(sip.reply(got, "486 Busy Here", tag="d"))
    assert (await world.refused(invite)).status == 486


async def test_only_a_sidecar_can_cause_an_outbound_call(world: World) -> None:
    plan = {"X_CI_Transfer": str(TransferHeader(("+74951234567",))), "X_CI_Call": str(CallHeader(FACTS))}
    gateway = world.gateways[0]
    for number in ("+74951234567", "transfer", "300"):
        request = gateway.invite(number, **plan)
        gateway.send(request)
        assert (await gateway.receive()).status == 404
    async with Endpoint.at(sip.SIDECAR, 22079) as imposter:  # a sidecar's host, another port
        imposter.send(imposter.invite("transfer", **plan))
        assert (await imposter.receive()).status == 403
    await world.gateways[1].expect_silence(0.2)


@pytest.mark.parametrize(
    "plan", ["", "to=%2B7,,8&early_media=0", "to=+7&early_media=0", "to=1&timeout=x&early_media=1"]
)
async def test_bad_plan_is_400(world: World, plan: str) -> None:
    headers = {"X_CI_Transfer": plan, "X_CI_Call": str(CallHeader(FACTS)), "X_CI_Caller": "name=&number=1"}
    request = world.sidecar.invite("transfer", **headers)
    world.sidecar.send(request)
    assert (await world.refused(request)).status == 400


async def test_thirty_one_targets_are_refused(world: World) -> None:
    invite = world.invite(*(f"+7{index}" for index in range(31)))
    assert (await world.refused(invite)).status == 400
