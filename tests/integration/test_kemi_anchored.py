"""Media of a proxied call through a real RTPengine (`anchor_media`): which SDP each side gets, and what is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.headers import ResultHeader, TransferHeader
from callinteractive.model import Address, Interface, RtpEngine
from sidecar.media.rtpengine import NgClient
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import CHANGED, IVR, OWN_FROM, UNCHANGED, Call, consistent, redirect
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import PHONES, SITE, World, pick_up, refuse, ring, world_around
from tests.support.freeze import freeze
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINE_HOST = f"{sip.NET}.7"
ENGINE = RtpEngine(
    ng=Address(ENGINE_HOST, 22222),
    interfaces=(Interface(ENGINE_HOST),),
    port_min=24000,
    port_max=24399,
)
ANCHORING = (
    SITE.replace("'000*300', id: 0,", "'000*300', id: 0, anchor_media: yes,")
    .replace("'000*301', id: 1,", "'000*301', id: 1, anchor_media: yes,")
    .replace("name: second,", f"name: second, anchor_media: yes, from: ['{sip.TRUNK_GATEWAYS[1][0]}/32'],")
    + f'rtpengine: {{ng: "{ENGINE.ng}", interface: {ENGINE_HOST}}}\n'
)
"""Phones 0 and 1 and the second carrier anchor; phone 2 and the first carrier do not."""
SECOND = 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRtpEngine]:
    async with RunningRtpEngine(ENGINE, tmp_path_factory.mktemp("rtpengine")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(
    engine: RunningRtpEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), ANCHORING, IVR) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def media(engine: RunningRtpEngine) -> AsyncIterator[Media]:
    """After each test RTPengine must have no call."""
    ng = NgClient(*ENGINE.ng)
    await ng.open()
    try:
        asked = Media(ng)
        yield asked
        await asked.are(0)
    finally:
        ng.close()


class Media:
    """What RTPengine holds."""

    def __init__(self, ng: NgClient) -> None:
        self._ng = ng

    async def calls(self) -> list[str]:
        return [str(call) for call in (await self._ng.command("list", fields={"limit": 1000}))["calls"]]

    async def are(self, count: int, within_s: float = PATIENT_S) -> None:
        """Wait until it holds so many calls."""
        deadline = time.monotonic() + within_s
        while len(calls := await self.calls()) != count:
            assert time.monotonic() < deadline, f"{calls} after {within_s} s, wanted {count}"
            await asyncio.sleep(0.02)
        assert all(call.startswith("anchored-") for call in calls)


def sdp_of(host: str, port: int, version: int = 1) -> str:
    return sip.SDP.replace(sip.TRUNK, host).replace("22500", str(port)).replace("o=- 1 1", f"o=- 1 {version}")


def is_anchored(sdp: str) -> bool:
    """Whether all its addresses are RTPengine's. Fails if only some are."""
    addresses = set(re.findall(r"IN IP4 (\S+)", sdp))
    port = port_of(sdp)
    assert addresses == {ENGINE_HOST} or ENGINE_HOST not in addresses, sdp
    assert (ENGINE_HOST in addresses) == (ENGINE.port_min <= port <= ENGINE.port_max), sdp
    return ENGINE_HOST in addresses


def port_of(sdp: str) -> int:
    found = re.search(r"m=audio (\d+)", sdp)
    assert found, sdp
    return int(found[1])


async def answered(call: Call, phone: Endpoint) -> tuple[Dialog, Dialog, Message]:
    """The phone rings and answers. Both sides of the dialog, and what the caller was told."""
    got = await call.rung(phone)
    assert is_anchored(got.body)
    answer = pick_up(phone, got, sdp_of(phone.host, 22600))
    told = await call.heard(200)
    assert is_anchored(told.body)
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
    call.caller.send(ours.request("ACK"))
    await phone.receive("ACK")
    return ours, theirs, told


async def hang_up(sender: Dialog, receiver: Dialog) -> None:
    sender.endpoint.send(sender.request("BYE"))
    receiver.endpoint.send(sip.reply(await receiver.endpoint.receive("BYE"), "200 OK"))
    await sender.endpoint.receive(200)


@pytest.mark.parametrize("caller_hangs_up", [True, False])
async def test_answered_and_hung_up(world: World, media: Media, caller_hangs_up: bool) -> None:
    call = Call(world)
    await call.plan("300")
    ours, theirs, _ = await answered(call, world.phones[0])
    await media.are(1)
    await (hang_up(ours, theirs) if caller_hangs_up else hang_up(theirs, ours))


@pytest.mark.parametrize("number", ["300", "302"])
async def test_changed_caller_stays_consistent(world: World, media: Media, number: str) -> None:
    """Requests and replies in both directions: each side keeps seeing the From and To that it knows."""
    call = Call(world)
    await call.plan(number, caller=CHANGED)
    phone = world.phones[int(number[-1])]
    got = await call.rung(phone)
    assert "+7903" not in bytes(got).decode()
    answer = pick_up(phone, got)
    told = await call.heard(200)
    await consistent(Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer))


async def test_only_that_branch_is_anchored_whose_target_is(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", "302")
    anchored, direct = await call.rung(world.phones[0]), await call.rung(world.phones[2])
    assert (is_anchored(anchored.body), direct.body) == (True, sip.SDP)
    await media.are(1)
    ring(world.phones[0], anchored)
    await call.heard(180)
    pick_up(world.phones[2], direct)
    assert (await call.heard(200)).body == sip.SDP
    await refuse_cancelled(world.phones[0], anchored)
    await media.are(0)


async def refuse_cancelled(phone: Endpoint, invite: Message) -> None:
    phone.send(sip.reply(await phone.receive("CANCEL"), "200 OK"))
    await refuse(phone, invite, "487 Request Terminated")


async def test_losing_branch_is_forgotten_and_the_winners_media_stays(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", "301")
    first, second = await call.rung(world.phones[0]), await call.rung(world.phones[1])
    assert port_of(first.body) != port_of(second.body)
    await media.are(2)
    ring(world.phones[1], second)
    await call.heard(180)
    answer = pick_up(world.phones[0], first)
    told = await call.heard(200)
    await refuse_cancelled(world.phones[1], second)
    await media.are(1)
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(world.phones[0], first, answer)
    call.caller.send(ours.request("ACK"))
    await hang_up(theirs, ours)


async def test_failed_branch_is_forgotten_at_once(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", "301", timeout_s=1)
    first = await call.rung(world.phones[0])
    ring(world.phones[1], await call.rung(world.phones[1]))
    await media.are(2)
    await refuse(world.phones[0], first)
    await media.are(1)
    await call.heard(180)
    await call.heard(408)
    await media.are(0)


async def test_refusal_tells_nothing_of_media(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300")
    phone = world.phones[0]
    for _ in range(2):  # after the first 488 it is offered the other kind of sound
        got = await call.rung(phone)
        phone.send(sip.reply(got, "488 Not Acceptable Here", tag="t", body=sdp_of("10.0.0.1", 9)))
        await phone.receive("ACK")
    refused = await call.heard(488)
    assert not refused.body
    assert not refused.get("Content-Type")


async def test_silent_branch_is_forgotten(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", timeout_s=1)
    await call.rung(world.phones[0])
    await media.are(1)
    await call.heard(408)


async def test_branch_that_never_answers_is_forgotten_after_the_answer_of_another(world: World, media: Media) -> None:
    """tm has finished the branch, so no reply of it can end its media."""
    call = Call(world)
    await call.plan("300", "301")
    await call.rung(world.phones[1])
    ours, theirs, _ = await answered(call, world.phones[0])
    await media.are(1, within_s=15)
    await hang_up(ours, theirs)


async def test_all_fail_and_the_script_goes_on(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", "301", final=False)
    for phone in world.phones[:2]:
        await refuse(phone, await call.rung(phone))
    sidecar, again = await call.dip()
    assert ResultHeader.parse(again.get(ResultHeader.NAME)).code == 486
    assert again.body == sip.SDP
    await media.are(0)
    redirect(sidecar, again, TransferHeader(("300",), 5), UNCHANGED)
    ours, theirs, _ = await answered(call, world.phones[0])
    await hang_up(ours, theirs)


async def test_cancel_while_ringing(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300", "301")
    rung = [await call.rung(phone) for phone in world.phones[:2]]
    for phone, got in zip(world.phones, rung, strict=False):
        ring(phone, got)
        await call.heard(180)
    await media.are(2)
    call.caller.send(sip.cancel_of(call.invite))
    for phone, got in zip(world.phones, rung, strict=False):
        await refuse_cancelled(phone, got)
    await call.cancelled()


@pytest.mark.parametrize("early_media", [True, False])
async def test_early_media(world: World, media: Media, early_media: bool) -> None:
    """The caller hears the callee before the answer only if early media is on."""
    async with RtpEndpoint(sip.TRUNK) as ours, RtpEndpoint(PHONES[0][0]) as theirs:
        call = Call(world, sdp=ours.sdp())
        await call.plan("300", early_media=early_media)
        phone = world.phones[0]
        got = await call.rung(phone)
        theirs.send_to(got.body)
        ring(phone, got, "183 Session Progress", body=theirs.sdp())
        heard = await call.heard(183 if early_media else 180)
        assert is_anchored(heard.body) if early_media else not heard.body
        await theirs.send_tone(440, 0.4)
        assert (ours.tone_duration(440) > 0.1) is early_media
        assert bool(ours.packets) is early_media
        answer = pick_up(phone, got, theirs.sdp())
        told = await call.heard(200)
        ours.send_to(told.body)
        await asyncio.gather(theirs.send_tone(660, 0.4), ours.send_tone(880, 0.4))
        await ours.hear_tone(660)
        await theirs.hear_tone(880)
        assert {packet.source[0] for packet in (*ours.packets, *theirs.packets)} == {ENGINE_HOST}
        caller, callee = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
        call.caller.send(caller.request("ACK"))
        await hang_up(caller, callee)


async def test_late_offer(world: World, media: Media) -> None:
    """RFC 3261 13.2.1: the 2xx has the offer, the ACK its answer."""
    async with RtpEndpoint(sip.TRUNK) as ours, RtpEndpoint(PHONES[0][0]) as theirs:
        call = Call(world, sdp="")
        await call.plan("300")
        phone = world.phones[0]
        got = await call.rung(phone)
        assert not got.body
        answer = pick_up(phone, got, theirs.sdp())
        told = await call.heard(200)
        assert is_anchored(told.body)
        caller, callee = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
        ours.send_to(told.body)
        for _ in range(2):
            call.caller.send(caller.request("ACK", body=ours.sdp()))
            ack = await phone.receive_only("ACK")
            assert is_anchored(ack.body)
        theirs.send_to(ack.body)
        await asyncio.gather(theirs.send_tone(660, 0.3), ours.send_tone(880, 0.3))
        await ours.hear_tone(660)
        await theirs.hear_tone(880)
        await hang_up(caller, callee)


async def test_late_offer_in_a_reliable_provisional(world: World, media: Media) -> None:
    """RFC 3262 5: PRACK has the answer, and its 2xx nothing."""
    call = Call(world, sdp="", Supported="100rel")
    await call.plan("300", early_media=True)
    phone = world.phones[0]
    got = await call.rung(phone)
    contact = f"<sip:me@{phone.host}:{phone.port}>"
    ring(phone, got, "183 Session Progress", sdp_of(phone.host, 22600), Contact=contact, Require="100rel", RSeq="1")
    heard = await call.heard(183)
    assert is_anchored(heard.body)
    early = Dialog.of_caller(call.caller, call.invite, heard)
    call.caller.send(early.request("PRACK", body=sip.SDP, RAck="1 1 INVITE"))
    prack = await phone.receive_only("PRACK")
    assert is_anchored(prack.body)
    phone.send(sip.reply(prack, "200 OK"))
    await call.heard(200)
    answer = pick_up(phone, got, body="")
    told = await call.heard(200)
    assert not told.body
    call.caller.send(early.request("ACK"))
    await hang_up(Dialog.of_callee(phone, got, answer), early)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("from_caller", [True, False])
async def test_offer_in_the_dialog(world: World, media: Media, method: str, from_caller: bool) -> None:
    """Either side may send a new offer (RFC 3261 14, RFC 3311). An INVITE without SDP asks for one."""
    call = Call(world)
    await call.plan("300")
    ours, theirs, _ = await answered(call, world.phones[0])
    sender, receiver = (ours, theirs) if from_caller else (theirs, ours)
    for offer in (sdp_of(sender.endpoint.host, 22700, 2), "") if method == "INVITE" else (sdp_of("10.9.9.9", 4000),):
        request = sender.request(method, body=offer)
        sender.endpoint.send(request)
        got = await receiver.endpoint.receive(method)
        assert is_anchored(got.body) if offer else not got.body
        answer = sdp_of(receiver.endpoint.host, 22800, 2)
        replied = sip.reply(got, "200 OK", body=answer, Contact=f"<{sender.target}>")
        told = []
        for _ in range(2):
            receiver.endpoint.send(replied)
            if method == "INVITE" or not told:
                told.append(await sender.endpoint.receive(200))
        assert all(is_anchored(message.body) for message in told)
        assert len({message.body for message in told}) == 1
        if method == "INVITE":
            sequence = request.get("CSeq").replace("INVITE", "ACK")
            sender.endpoint.send(sender.request("ACK", CSeq=sequence, body="" if offer else sip.SDP))
            ack = await receiver.endpoint.receive("ACK")
            assert not ack.body if offer else is_anchored(ack.body)
    await media.are(1)
    await hang_up(theirs, ours)


async def test_refused_re_invite_tells_nothing(world: World, media: Media) -> None:
    call = Call(world)
    await call.plan("300")
    ours, theirs, _ = await answered(call, world.phones[0])
    request = ours.request("INVITE", body=sip.SDP)
    call.caller.send(request)
    got = await world.phones[0].receive("INVITE")
    world.phones[0].send(sip.reply(got, "488 Not Acceptable Here", body=sdp_of("10.0.0.1", 9)))
    refused = await call.caller.receive(488)
    assert not refused.body
    assert not refused.get("Content-Type")
    call.caller.send(sip.ack_of_failure(request, refused))
    await hang_up(ours, theirs)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_offer_that_crosses_the_bye_leaves_nothing(world: World, media: Media, method: str) -> None:
    """The one who has hung up knows no such dialog any more, and the other one sends no BYE."""
    call = Call(world)
    await call.plan("300")
    ours, theirs, _ = await answered(call, world.phones[0])
    await hang_up(ours, theirs)
    await media.are(0)
    request = theirs.request(method, body=sdp_of(theirs.endpoint.host, 22700, 2))
    theirs.endpoint.send(request)
    ours.endpoint.send(sip.reply(await ours.endpoint.receive(method), "481 Call/Transaction Does Not Exist"))
    refused = await theirs.endpoint.receive(481)
    if method == "INVITE":
        theirs.endpoint.send(sip.ack_of_failure(request, refused))
    await media.are(0)


async def test_repeated_200_is_the_same_again(world: World, media: Media, kamailio: RunningKamailio) -> None:
    call = Call(world)
    await call.plan("300")
    phone = world.phones[0]
    got = await call.rung(phone)
    bodies = []
    for _ in range(3):
        answer = pick_up(phone, got, sdp_of(phone.host, 22600))
        bodies.append((told := await call.heard(200)).body)
    assert len(set(bodies)) == 1
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
    assert got.get("Call-ID") in await kamailio.rpc("tm.list")
    await kamailio.until("tm.list", shows=lambda out: got.get("Call-ID") not in out, timeout_s=15)
    phone.send(answer)
    assert (await call.heard(200)).body == bodies[0]
    await hang_up(ours, theirs)


async def test_200_that_crosses_our_cancel(world: World, media: Media) -> None:
    """Two dialogs, each with its own media. When one ends, the other keeps its media."""
    call = Call(world)
    await call.plan("300", "301")
    told, dialogs = [], []
    rung = [await call.rung(phone) for phone in world.phones[:2]]
    for phone, got in zip(world.phones, rung, strict=False):
        answer = pick_up(phone, got, sdp_of(phone.host, 22600))
        told.append(await call.heard(200))
        dialogs.append((Dialog.of_caller(call.caller, call.invite, told[-1]), Dialog.of_callee(phone, got, answer)))
        call.caller.send(dialogs[-1][0].request("ACK"))
    assert all(is_anchored(message.body) for message in told)
    assert port_of(told[0].body) != port_of(told[1].body)
    await media.are(2)
    await hang_up(*dialogs[1])
    await media.are(1)
    await hang_up(*dialogs[0])


async def test_call_id_of_another_call_gives_nothing_of_its_media(world: World, media: Media) -> None:
    """A callee knows the call's Call-ID and From tag. It could send an INVITE with both."""
    async with RtpEndpoint(sip.TRUNK) as ours, RtpEndpoint(PHONES[0][0]) as theirs:
        call = Call(world, sdp=ours.sdp())
        await call.plan("300")
        phone = world.phones[0]
        got = await call.rung(phone)
        theirs.send_to(got.body)
        answer = pick_up(phone, got, theirs.sdp())
        told = await call.heard(200)
        ours.send_to(told.body)
        dialog = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
        call.caller.send(dialog[0].request("ACK"))
        await phone.receive("ACK")
        same = {"Call_ID": call.invite.get("Call-ID"), "From": call.invite.get("From")}
        intruder = Call(world, carrier=SECOND, sdp=sdp_of(sip.TRUNK_GATEWAYS[SECOND][0], 22500), **same)
        await intruder.plan("301")
        intruded, also, _ = await answered(intruder, world.phones[1])
        await media.are(2)
        theirs.forget()
        await theirs.send_tone(440, 0.3)
        await ours.hear_tone(440)
        await hang_up(intruded, also)
        await media.are(1)
        await ours.send_tone(660, 0.3)
        await theirs.hear_tone(660)
        await hang_up(*dialog)


HOSTILE = [
    sip.SDP.replace(f"c=IN IP4 {sip.TRUNK}", "c=IN IP4 attacker.example"),
    sip.SDP.replace(f"c=IN IP4 {sip.TRUNK}\r\n", ""),
    sip.SDP + "a=x:" + "y" * 20_000 + "\r\n",
    "rubbish\r\n",
    sip.SDP.replace("s=-", "s=\udcff"),
    sip.SDP.replace(f"c=IN IP4 {sip.TRUNK}", "c=IN IP4 224.0.0.1"),
    sip.SDP.replace("m=audio 22500", "m=audio 99999"),
    sip.SDP.replace("m=audio 22500", "m=audio -1"),
    sip.SDP.replace("v=0", "v=1") + "[" * 3000 + "\r\n",
    sip.SDP.replace("RTP/AVP", "RTP/SAVP") + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n",
]
HOW = ["name", "nowhere", "long", "rubbish", "octets", "multicast", "port", "negative", "version", "short-key"]


@pytest.mark.parametrize("sdp", HOSTILE, ids=HOW)
async def test_hostile_description_is_refused(world: World, media: Media, sdp: str) -> None:
    call = Call(world, sdp=sdp)
    await call.plan("300")
    await call.heard(488)
    assert world.phones[0].inbox.empty()


@pytest.mark.parametrize("early_media", [True, False])
@pytest.mark.parametrize("sdp", HOSTILE, ids=HOW)
async def test_hostile_description_of_a_callee_does_not_pass(
    world: World, media: Media, early_media: bool, sdp: str
) -> None:
    call = Call(world)
    await call.plan("300", early_media=early_media)
    phone = world.phones[0]
    got = await call.rung(phone)
    ring(phone, got, "183 Session Progress", body=sdp)
    assert not (await call.heard(180)).body
    answer = pick_up(phone, got, sdp)
    told = await call.heard(200)
    assert not told.body
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
    call.caller.send(ours.request("ACK"))
    await phone.receive("ACK")
    call.caller.send(ours.request("INVITE", body=sdp))
    await call.caller.receive(488)
    await hang_up(ours, theirs)


async def test_offer_of_nothing_is_refused(world: World, media: Media) -> None:
    call = Call(world, sdp=sip.SDP.replace("m=audio 22500", "m=audio 0"))
    await call.plan("300")
    await call.heard(488)


async def test_neither_side_learns_where_the_other_is(world: World, media: Media) -> None:
    secret = "192.0.2.77"
    telling = sip.SDP.replace("o=- ", f"o=me@{secret} ").replace("s=-", f"s={secret}\r\nu=http://{secret}/") + (
        f"a=candidate:1 1 UDP 1 {secret} 22500 typ host\r\na=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 22}\r\n"
        f"a=rtcp:22501 IN IP4 {secret}\r\na=alt:1 1 : a b {secret} 22500\r\na=source-filter: incl IN IP4 * {secret}\r\n"
        f"a=x-mine:{secret}\r\na=ptime:20\r\n"
    )
    call = Call(world, sdp=telling)
    await call.plan("300")
    phone = world.phones[0]
    got = await call.rung(phone)
    answer = pick_up(phone, got, telling)
    told = await call.heard(200)
    for body in (got.body, told.body):
        assert is_anchored(body)
        assert secret not in body
        assert "candidate" not in body
        assert "a=ptime:20" in body
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
    call.caller.send(ours.request("ACK"))
    await phone.receive("ACK")
    await hang_up(ours, theirs)


async def test_strangers_are_not_heard(world: World, media: Media) -> None:
    async with (
        RtpEndpoint(sip.TRUNK) as ours,
        RtpEndpoint(PHONES[0][0]) as theirs,
        RtpEndpoint(f"{sip.NET}.66") as other,
    ):
        call = Call(world, sdp=ours.sdp())
        await call.plan("300")
        phone = world.phones[0]
        got = await call.rung(phone)
        theirs.send_to(got.body)
        answer = pick_up(phone, got, theirs.sdp())
        told = await call.heard(200)
        other.send_to(told.body)
        await other.send_tone(600, 0.3)
        ours.send_to(told.body)
        await asyncio.gather(other.send_tone(600, 1), ours.send_tone(900, 1), theirs.send_tone(1200, 1))
        await ours.hear_tone(1200, for_s=0.5)
        await theirs.hear_tone(900, for_s=0.5)
        assert theirs.tone_duration(600) == 0
        assert not other.packets
        dialog = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(phone, got, answer)
        call.caller.send(dialog[0].request("ACK"))
        await phone.receive("ACK")
        await hang_up(*dialog)


async def test_a_party_cannot_take_its_media_out(world: World, media: Media) -> None:
    """The Route names the media, with a signature. A request with another name, or none, is refused."""
    call = Call(world)
    await call.plan("300")
    ours, theirs, _ = await answered(call, world.phones[0])
    assert re.search(r";ci=[0-9a-f.]+\.anchored-", ours.routes[0])
    for forged in (re.sub(r"\.anchored-[0-9a-f]+", "", ours.routes[0]), ours.routes[0].replace("chored-", "chored-0")):
        request = replace(ours, routes=[forged]).request("INVITE", body=sip.SDP)
        call.caller.send(request)
        call.caller.send(sip.ack_of_failure(request, await call.caller.receive(481)))
    assert world.phones[0].inbox.empty()
    await hang_up(ours, theirs)


async def test_trunk_after_trunk(world: World, media: Media) -> None:
    """The first trunk does not anchor media; the next one, tried after it, does."""
    call = Call(world)
    await call.plan("+7495")
    got = await world.gateways[0].receive("INVITE")
    assert got.body == sip.SDP
    await refuse(world.gateways[0], got, "503 Service Unavailable")
    got = await call.rung(world.gateways[1])
    assert is_anchored(got.body)
    await media.are(1)
    await refuse(world.gateways[1], got)
    await call.heard(486)


async def test_dead_rtpengine(world: World, engine: RunningRtpEngine, media: Media) -> None:
    """Only anchored branches fail, and at once. The caller's own SDP is never sent to them."""
    await engine.stop()
    try:
        for _ in range(3):
            assert await refused_within(world) < 0.2
        call = Call(world)
        await call.plan("300", "302")
        got = await call.rung(world.phones[2])
        assert got.body == sip.SDP
        await refuse(world.phones[2], got)
        await call.heard(486)
        assert world.phones[0].inbox.empty()
    finally:
        await engine.start()
    await anchors_again(world)
    for _ in range(40):  # each worker has its own socket to it, which may keep an error
        call = Call(world)
        await call.plan("300")
        await refuse(world.phones[0], await call.rung(world.phones[0]))
        await call.heard(486)
    await tidied_up(world, media)


async def test_hung_rtpengine(world: World, engine: RunningRtpEngine, media: Media) -> None:
    """It delays one call for a fraction of a second, and no later call."""
    freeze(engine.pid)
    try:
        took = [await refused_within(world) for _ in range(5)]
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    print("seconds until refused, RTPengine being stopped:", took)
    assert took[0] > 0.2
    assert min(took[1:]) < 0.1  # the fastest, whatever else the machine does
    await media.are(1)  # it now carries out the commands that came while it hung
    await anchors_again(world)
    await tidied_up(world, media)


async def refused_within(world: World) -> float:
    """Seconds from the sidecar's plan to the caller's 480: phones that are not reached are no overload of ours."""
    call = Call(world)
    sidecar, got = await call.dip()
    began = time.monotonic()
    redirect(sidecar, got, TransferHeader(("300", "301"), 5), UNCHANGED)
    await call.heard(480)
    return time.monotonic() - began


async def anchors_again(world: World) -> None:
    """Kamailio asks it again after a while, for the next call that needs it."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            call = Call(world)
            await call.plan("300")
            refused = asyncio.create_task(call.heard(480))
            rung = asyncio.create_task(call.rung(world.phones[0]))
            await asyncio.wait((refused, rung), return_when=asyncio.FIRST_COMPLETED)
            if rung.done():
                break
            rung.cancel()
            await asyncio.sleep(0.2)
    refused.cancel()
    await refuse(world.phones[0], rung.result())
    await call.heard(486)


async def tidied_up(world: World, media: Media) -> None:
    """Each worker repeats its failed deletions together with its next one."""
    async with asyncio.timeout(PATIENT_S):
        while await media.calls():
            call = Call(world)
            await call.plan("300", "302")
            await refuse(world.phones[2], await call.rung(world.phones[2]))
            with suppress(asyncio.QueueEmpty):
                await refuse(world.phones[0], world.phones[0].inbox.get_nowait())
            await call.caller.receive()
            await asyncio.sleep(0.1)


async def test_caller_that_anchors(world: World, media: Media) -> None:
    call = Call(world, carrier=SECOND)
    await call.plan("300", "302")
    first, third = await call.rung(world.phones[0]), await call.rung(world.phones[2])
    assert is_anchored(first.body)
    assert is_anchored(third.body)
    ring(world.phones[2], third)
    await call.heard(180)
    answer = pick_up(world.phones[0], first)
    told = await call.heard(200)
    assert is_anchored(told.body)
    await refuse_cancelled(world.phones[2], third)
    ours, theirs = Dialog.of_caller(call.caller, call.invite, told), Dialog.of_callee(world.phones[0], first, answer)
    await hang_up(ours, theirs)


async def test_second_pass(world: World, media: Media) -> None:
    """More targets than the INVITE has branches left: a second transaction rings them, and anchors them only once."""
    call = Call(world, carrier=SECOND)
    await call.plan(*(str(300 + index) for index in range(20)))
    await media.are(20)
    ours, theirs, _ = await answered(call, world.phones[0])
    request = theirs.request("INVITE", body=sdp_of(world.phones[0].host, 22900, 2))
    world.phones[0].send(request)
    got = await call.caller.receive("INVITE")
    assert is_anchored(got.body)
    call.caller.send(sip.reply(got, "200 OK", body=sip.SDP, Contact=f"<{theirs.target}>"))
    assert is_anchored((await world.phones[0].receive(200)).body)
    world.phones[0].send(theirs.request("ACK", CSeq=request.get("CSeq").replace("INVITE", "ACK")))
    await call.caller.receive("ACK")
    await hang_up(theirs, ours)
    await media.are(0, within_s=15)


async def test_ivr_of_ours_as_a_target(world: World, media: Media) -> None:
    """The second IVR redirects too; its sidecar sees the caller's own description."""
    call = Call(world, carrier=SECOND)
    await call.plan("+78123210001")
    got = await world.sidecar.receive("INVITE")
    assert got.body == sip.SDP
    sidecar = next(one for one in world.sidecars if got.uri.endswith(f":{one.port}"))
    sidecar.send(sip.reply(got, "100 Trying"))
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED)
    ours, theirs, _ = await answered(call, world.phones[0])
    await media.are(1)
    await hang_up(ours, theirs)


async def test_restart_of_kamailio(tmp_path: Path, engine: RunningRtpEngine, media: Media) -> None:
    """Kamailio keeps no dialog: the Route of the BYE names the media to delete."""
    to = (f"{sip.NET}.8", sip.KAMAILIO[1])
    site = ANCHORING.replace(f"{sip.KAMAILIO[0]}:", f"{to[0]}:")
    key = {"CALLINTERACTIVE_KEY": "ab" * 16}
    async with sip.running_kamailio(tmp_path, site, IVR, **key) as kamailio, world_around(kamailio) as world:
        caller, phone = world.gateways[SECOND], world.phones[2]
        invite = caller.request("INVITE", f"sip:332@{to[0]}:{to[1]}", body=sip.SDP, From=OWN_FROM)
        caller.send(invite, to)
        world.sidecars[1].inbox = world.sidecar.inbox
        dip = await world.sidecar.receive("INVITE")
        plan = {header.NAME: str(header) for header in (TransferHeader(("302",), 5), UNCHANGED)}
        sidecar = next(one for one in world.sidecars if dip.uri.endswith(f":{one.port}"))
        sidecar.send(sip.reply(dip, "302 Moved Temporarily", tag="d", Contact="<sip:plan@x>", **plan), to)
        got = await phone.receive("INVITE")
        phone.send(sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=f"<sip:me@{phone.host}:{phone.port}>"), to)
        ours = Dialog.of_caller(caller, invite, await caller.receive(200))
        caller.send(ours.request("ACK"), to)
        await phone.receive("ACK")
    await media.are(1)
    async with sip.running_kamailio(tmp_path, site, IVR, **key) as kamailio, world_around(kamailio) as world:
        again = replace(ours, endpoint=world.gateways[SECOND])
        world.gateways[SECOND].send(again.request("UPDATE", body=sip.SDP), to)
        assert is_anchored((await world.phones[2].receive("UPDATE")).body)
        world.gateways[SECOND].send(again.request("BYE"), to)
        await world.phones[2].receive("BYE")
        await media.are(0)
