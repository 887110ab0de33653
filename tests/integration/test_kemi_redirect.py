"""A sidecar that leaves a call to Kamailio by 302: transfers of the caller's own INVITE, and back (C6, A10-A13)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.headers import (
    AttemptHeader,
    CallerHeader,
    CallHeader,
    EntryHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from callinteractive.report import EndReport, reports_in
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import CHANGED, ENTRY, IVR, OWN_FROM, STATE, UNCHANGED, Call, consistent, redirect
from tests.integration.kemi_support import Dialog, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, pick_up, refuse, ring, world_around
from tests.support.stack import until
from tests.support.timing import PATIENT_S, NotBefore

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE, IVR) as running:
        yield running


TELLING = {
    "P_Preferred_Identity": "<sip:+7903@carrier.example>",
    "p_charge_info": "<sip:+7903@carrier.example>",
    "Diversion": "<sip:+7903@carrier.example>;reason=unknown",
    "History_Info": "<sip:+7903@carrier.example>;index=1",
    "Identity": "eyJvcmlnIjp7InRuIjoiNzkwMyJ9fQ;+7903",
    "b": "<sip:+7903@carrier.example>",
    "X_Caller": "+7903",
    "Session_Expires": "1800",
}
"""Headers of an INVITE that tell who calls, and one that does not."""


def result_of(invite: Message) -> int | None:
    result = invite.get(ResultHeader.NAME)
    return ResultHeader.parse(result).code if result else None


@pytest.mark.parametrize("caller", [UNCHANGED, CHANGED])
async def test_transfer_is_answered_and_both_sides_stay_consistent(world: World, caller: CallerHeader) -> None:
    call = Call(world, **TELLING)
    await call.plan("300", "301", caller=caller)
    phone = world.phones[0]
    got, other = await call.rung(phone), await call.rung(world.phones[1])
    shown = OWN_FROM if caller is UNCHANGED else f'"Shown" <sip:+7812@{sip.KAMAILIO[0]}>;tag=own'
    assert got.get("From") == other.get("From") == shown
    assert got.all("P-Asserted-Identity") == [f'"{caller.name}" <sip:{caller.number}@{sip.KAMAILIO[0]}>']
    assert [name for name, _ in got.headers if name.lower().startswith("p-")] == ["P-Asserted-Identity"]
    assert got.get("Diversion") == ("" if caller is CHANGED else TELLING["Diversion"])
    assert got.get("Session-Expires") == "1800"
    if caller is CHANGED:
        assert "Own" not in bytes(got).decode()
        assert "+7903" not in bytes(got).decode()
    ring(world.phones[1], other)
    await call.heard(180)
    answer = pick_up(phone, got)
    final = await call.heard(200)
    world.phones[1].send(sip.reply(await world.phones[1].receive_only("CANCEL"), "200 OK"))
    await refuse(world.phones[1], other, "487 Request Terminated")
    await consistent(Dialog.of_caller(call.caller, call.invite, final), Dialog.of_callee(phone, got, answer))
    assert world.sidecar.inbox.empty()


@pytest.mark.parametrize(
    ("says", "name"),
    [
        ({"From": '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=own'}, "Own"),
        ({"From": '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=own', "Privacy": "id"}, "Given By The IVR"),
        ({"Privacy": "user; id;critical"}, "Own"),
        ({"Privacy": "header"}, "Own"),
        ({"Privacy": "critical;\r\n id"}, "Own"),
        ({"Privacy": "critical;\tid"}, "Own"),
    ],
)
async def test_hidden_caller_stays_hidden(world: World, says: dict[str, str], name: str) -> None:
    """The carrier asserts the number to us. The caller wants to be anonymous, so callees don't see it (RFC 3325 7)."""
    call = Call(world, **{"P_Asserted_Identity": '"Own" <sip:+7903@carrier.example>'} | TELLING | says)
    await call.plan("300", caller=CallerHeader(name, "+7903"))
    got = await call.rung(world.phones[0])
    assert got.get("From").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>')
    assert got.get("Privacy") == "id"
    assert "+7903" not in bytes(got).decode()
    await refuse(world.phones[0], got)
    await call.heard(486)


async def test_hidden_caller_stays_hidden_at_the_next_gateway(world: World) -> None:
    """tm then sends the INVITE as it came: what was removed after the 302 must be removed again."""
    own = {"P_Asserted_Identity": '"Own" <sip:+7903@carrier.example>', "Supported": "100rel", "Require": "100rel"}
    anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=own'
    call = Call(world, **own | TELLING, From=anonymous)
    await call.plan("+7495", caller=CallerHeader("Own", "+7903"), early_media=False)
    for gateway in world.gateways:
        got = await gateway.receive("INVITE")
        assert "+7903" not in bytes(got).decode()
        assert "100rel" not in bytes(got).decode()
        await refuse(gateway, got, "503 Service Unavailable")
    await call.heard(500)  # RFC 3261 16.7 step 6: what a proxy makes of 503


@pytest.mark.parametrize("privacy", ["id", "none"])
async def test_what_one_network_says_to_another_goes_no_further(world: World, privacy: str) -> None:
    """RFC 3325 5, RFC 7315 6: in replies and within the dialog as in the INVITE, both ways."""
    said = {"P_Asserted_Identity": "<sip:+7secret@c>", "P_Charging_Vector": "icid-value=secret"}
    said |= {"Privacy": privacy, "Remote_Party_ID": "<sip:+7secret@c>"}
    call = Call(world, **said)
    await call.plan("300")
    phone = world.phones[0]
    got = await call.rung(phone)
    ring(phone, got, **said)
    heard = [await call.heard(180)]
    answer = sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=f"<sip:me@{phone.host}:{phone.port}>", **said)
    phone.send(answer)
    heard.append(await call.heard(200))
    ours, theirs = Dialog.of_caller(call.caller, call.invite, heard[-1]), Dialog.of_callee(phone, got, answer)
    call.caller.send(ours.request("ACK", **said))
    heard.append(await phone.receive("ACK"))
    for sender, receiver in ((ours, phone), (theirs, call.caller)):
        sender.endpoint.send(sender.request("UPDATE", **said))
        heard.append(await receiver.receive("UPDATE"))
        receiver.send(sip.reply(heard[-1], "200 OK", Contact=f"<{sender.target}>", **said))
        heard.append(await sender.endpoint.receive(200))
    assert "secret" not in "".join(bytes(message).decode() for message in heard)
    phone.send(theirs.request("BYE"))
    call.caller.send(sip.reply(await call.caller.receive("BYE"), "200 OK"))
    await phone.receive(200)


@pytest.mark.parametrize("early_media", [True, False])
async def test_early_media(world: World, early_media: bool) -> None:
    call = Call(world, Supported="100rel, timer", Require="100rel")
    await call.plan("300", early_media=early_media)
    got = await call.rung(world.phones[0])
    assert ("100rel" in got.get("Supported")) is early_media
    assert got.all("Require") == (["100rel"] if early_media else [])
    ring(world.phones[0], got, "183 Session Progress", body=sip.SDP)
    heard = await call.heard(183 if early_media else 180)
    assert heard.body == (sip.SDP if early_media else "")
    await refuse(world.phones[0], got)
    await call.heard(486)


@pytest.mark.parametrize(("answers", "code"), [(["486 Busy Here", "404 Not Found"], 486), (["603 Decline", ""], 603)])
async def test_final_transfer_that_fails_gives_its_code(world: World, answers: list[str], code: int) -> None:
    call = Call(world)
    await call.plan("300", "301", timeout_s=1)
    for phone, answer in zip(world.phones, answers, strict=False):
        got = await call.rung(phone)
        if answer:
            await refuse(phone, got, answer)
    await call.heard(code)
    assert world.sidecar.inbox.empty()


async def test_nobody_answers_within_the_time(world: World) -> None:
    call = Call(world)
    await call.plan("300", timeout_s=1)
    began = time.monotonic()
    ring(world.phones[0], await call.rung(world.phones[0]))
    await call.heard(180)
    await call.heard(408)
    assert time.monotonic() - began == NotBefore(1)
    await world.phones[0].receive_only("CANCEL")


async def test_transfers_one_after_the_other_and_then_an_answer(world: World) -> None:
    """Busy, nobody, an unknown number; then the sidecar answers itself. The caller was changed in between."""
    call = Call(world)
    for number, caller, answer, code in (
        ("300", UNCHANGED, "486 Busy Here", 486),
        ("301", CHANGED, "404 Not Found", 404),
        ("000*399", CHANGED, "", 404),
        ("302", UNCHANGED, "480 Temporarily Unavailable", 480),
    ):
        await call.plan(number, caller=caller, final=False)
        if answer:
            phone = world.phones[int(number[-1])]
            got = await call.rung(phone)
            assert got.get("From") == (OWN_FROM if caller is UNCHANGED else shown_from(CHANGED))
            await refuse(phone, got, answer)
        expected = code
    sidecar, got = await call.dip()
    assert result_of(got) == expected
    assert got.get(StateHeader.NAME) == str(STATE)
    assert EntryHeader.parse(got.get(EntryHeader.NAME)) == ENTRY
    assert sorted(got.private()) == [
        "X-CI-Attempt",
        "X-CI-Call",
        "X-CI-Entry",
        "X-CI-Generation",
        "X-CI-Result",
        "X-CI-Signature",
        "X-CI-State",
    ]
    answer = sip.reply(got, "200 OK", tag="t", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>", body=sip.SDP)
    sidecar.send(answer)
    final = await call.heard(200)
    shared, sidecar.inbox = sidecar.inbox, asyncio.Queue()
    await consistent(Dialog.of_caller(call.caller, call.invite, final), Dialog.of_callee(sidecar, got, answer))
    assert shared.empty()


def shown_from(caller: CallerHeader) -> str:
    return f'"{caller.name}" <sip:{caller.number}@{sip.KAMAILIO[0]}>;tag=own'


async def test_refusal_after_a_transfer_goes_to_the_caller(world: World) -> None:
    call = Call(world)
    await call.plan("300", final=False)
    await refuse(world.phones[0], await call.rung(world.phones[0]))
    sidecar, got = await call.dip()
    sidecar.send(sip.reply(got, "603 Decline", tag="d", X_CI_Secret="1"))
    await call.heard(603)


async def test_endless_returns_are_given_up(world: World) -> None:
    call = Call(world)
    for _ in range(11):
        await call.plan("300", final=False)
        await refuse(world.phones[0], await call.rung(world.phones[0]))
    await call.heard(480)


async def test_more_targets_than_the_invite_has_branches_left(world: World) -> None:
    """The fork is then a second transaction. The caller sees no difference."""
    many = tuple(str(300 + index) for index in range(20))
    call = Call(world)
    await call.plan(*many, caller=CHANGED, final=False, timeout_s=1)
    for phone in world.phones:
        got = await call.rung(phone)
        assert got.get("From") == shown_from(CHANGED)
        ring(phone, got)
        await call.heard(180)
    _, second = await call.dip()
    assert result_of(second) == 408
    call.caller.send(sip.cancel_of(call.invite))


async def test_answer_in_a_transaction_of_its_own(world: World) -> None:
    many = tuple(str(300 + index) for index in range(20))
    call = Call(world)
    await call.plan(*many, caller=CHANGED)
    got = await call.rung(world.phones[0])
    answer = pick_up(world.phones[0], got)
    final = await call.heard(200)
    for other in world.phones[1:]:
        await call.rung(other)
    await consistent(Dialog.of_caller(call.caller, call.invite, final), Dialog.of_callee(world.phones[0], got, answer))


async def test_E1_only_the_bye_of_the_dialog_that_is_kept_ends_the_call(world: World) -> None:
    """Two pick up at once. The caller keeps the first one, and ends the other dialog (RFC 3261 13.2.2.4)."""
    call = Call(world)
    await call.plan("300", "301")
    phones = world.phones[:2]
    invites = [await call.rung(phone) for phone in phones]
    dialogs = []
    for phone, got in zip(phones, invites, strict=True):
        answer = pick_up(phone, got)  # the second one before it gets its CANCEL
        final = await call.heard(200)
        ours = Dialog.of_caller(call.caller, call.invite, final)
        dialogs.append((ours, Dialog.of_callee(phone, got, answer)))
    kept, other = dialogs
    for ours, theirs in (other, kept):
        ours.endpoint.send(ours.request("ACK"))
        await theirs.endpoint.receive("ACK")
        ended_s = time.time()
        ours.endpoint.send(ours.request("BYE"))
        theirs.endpoint.send(sip.reply(await theirs.endpoint.receive("BYE"), "200 OK"))
        await ours.endpoint.receive(200)
    call_id = call.call_id

    def ends() -> list[EndReport]:
        told = [each for one in world.sidecars for message in one.reports for each in reports_in(message.body, "")]
        return [report.end for report, _ in told if report.call_id == call_id and report.end]

    await until(lambda: bool(ends()), PATIENT_S, "reports")
    [end] = ends()
    assert end.at_ms >= int(ended_s * 1000)


async def test_ivr_as_a_target_may_redirect_too(world: World) -> None:
    call = Call(world)
    await call.plan("+78123210001")
    sidecar, got = world.sidecar, await world.sidecar.receive("INVITE")
    sidecar = next(one for one in world.sidecars if got.uri.endswith(f":{one.port}"))
    sidecar.send(sip.reply(got, "100 Trying"))
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED)
    phone = world.phones[0]
    await refuse(phone, await call.rung(phone))
    await call.heard(486)


async def test_cancel_in_the_dip(world: World) -> None:
    call = Call(world)
    sidecar, got = await call.dip()
    call.caller.send(sip.cancel_of(call.invite))
    cancel = await sidecar.receive_only("CANCEL")
    sidecar.send(sip.reply(cancel, "200 OK"))
    sidecar.send(sip.reply(got, "487 Request Terminated", tag="d"))
    await call.cancelled()


async def test_302_that_crosses_the_cancel(world: World) -> None:
    call = Call(world)
    sidecar, got = await call.dip()
    call.caller.send(sip.cancel_of(call.invite))
    await sidecar.receive_only("CANCEL")
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED, STATE, ENTRY)
    await call.cancelled()
    await world.phones[0].expect_silence(0.2)


@pytest.mark.parametrize("final", [True, False])
async def test_cancel_while_ringing(world: World, final: bool) -> None:
    call = Call(world)
    await call.plan("300", final=final)
    got = await call.rung(world.phones[0])
    ring(world.phones[0], got)
    await call.heard(180)
    call.caller.send(sip.cancel_of(call.invite))
    world.phones[0].send(sip.reply(await world.phones[0].receive_only("CANCEL"), "200 OK"))
    world.phones[0].send(sip.reply(got, "302 Moved Temporarily", tag="t", Contact="<sip:else@where>"))
    await call.cancelled()
    await world.sidecar.expect_silence(0.2)


async def test_cancel_in_the_second_dip(world: World) -> None:
    call = Call(world)
    await call.plan("300", final=False)
    await refuse(world.phones[0], await call.rung(world.phones[0]))
    sidecar, got = await call.dip()
    call.caller.send(sip.cancel_of(call.invite))
    await sidecar.receive_only("CANCEL")
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED)
    await call.cancelled()
    await world.phones[0].expect_silence(0.2)


async def test_dead_sidecar_in_the_dip_is_replaced(world: World) -> None:
    """It has said 100, and then nothing; whether it is the first dip or a later one, another has it in seconds."""
    call = Call(world)
    dead, first = await call.dip()
    _, got = await call.dip()
    assert got.get(CallHeader.NAME) == first.get(CallHeader.NAME)
    assert not got.uri.endswith(f":{dead.port}")
    sidecar = next(one for one in world.sidecars if got.uri.endswith(f":{one.port}"))
    redirect(sidecar, got, TransferHeader(("300",), 5), UNCHANGED, STATE, ENTRY)
    await refuse(world.phones[0], await call.rung(world.phones[0]))
    _, second = await call.dip()
    last, third = await call.dip()
    same = [name for name in second.private() if name != AttemptHeader.NAME]
    assert [third.get(name) for name in same] == [second.get(name) for name in same]
    before = [AttemptHeader.parse(each.get(AttemptHeader.NAME)).before for each in (second, third)]
    assert before[1] == before[0] + 1
    call.caller.send(sip.cancel_of(call.invite))
    last.send(sip.reply(third, "487 Request Terminated", tag="d"))
    await call.cancelled()


async def test_sidecar_that_says_that_it_lives_is_waited_for(world: World) -> None:
    call = Call(world)
    sidecar, got = await call.dip()
    for _ in range(5):
        await asyncio.sleep(1)
        sidecar.send(sip.reply(got, "100 Trying"))
    sidecar.send(sip.reply(got, "603 Decline", tag="d"))
    await call.heard(603)


async def test_retransmitted_invite_is_no_second_call(world: World) -> None:
    call = Call(world)
    call.caller.send(call.invite)
    await call.plan("300")
    call.caller.send(call.invite)
    got = await call.rung(world.phones[0])
    call.caller.send(call.invite)
    await refuse(world.phones[0], got)
    await call.heard(486)
    assert world.sidecar.inbox.empty()
    assert world.phones[0].inbox.empty()


@pytest.mark.parametrize("headers", [[], [TransferHeader(("300",), 5)], [STATE, EntryHeader("000*332", "9", "start")]])
async def test_bad_302_is_our_fault(world: World, headers: list[object]) -> None:
    call = Call(world)
    sidecar, got = await call.dip()
    redirect(sidecar, got, *headers)
    await call.heard(480 if len(headers) == 2 else 500)


POOLS_HOST = f"{sip.NET}.3"
POOLS_SITE = (
    SITE.replace(f"{sip.KAMAILIO[0]}:", f"{POOLS_HOST}:")
    .replace("name: first,", "name: first, trusted: yes,")
    .replace("base_port: 22070}", "base_port: 22070, pools: {vip: [1]}}")
)
POOLS_IVR = (
    IVR.rstrip().removesuffix("}").rstrip()
    + "}\n  2: {name: vip, pool: vip, options: {start: [hangup], 5: [hangup]}}\n"
)


async def test_pools(tmp_path: Path) -> None:
    """A Jump goes to a sidecar of the context's pool, and so does a chosen entry; never to another pool."""
    site, to = POOLS_SITE, (POOLS_HOST, sip.KAMAILIO[1])
    async with sip.running_kamailio(tmp_path, site, POOLS_IVR) as kamailio, world_around(kamailio) as world:
        main, vip = world.sidecars
        caller = world.gateways[0]

        async def invited(uri: str) -> Message:
            invite = caller.request("INVITE", uri, body=sip.SDP)
            caller.send(invite, to)
            return invite

        await invited(f"sip:332@{POOLS_HOST}")
        got = await main.receive("INVITE")
        main.send(sip.reply(got, "100 Trying"), to)
        jump = [STATE, EntryHeader("000*332", "2", "5")]
        values = {type(header).NAME: str(header) for header in jump}
        main.send(sip.reply(got, "302 Moved Temporarily", tag="d", Contact="<sip:plan@x>", **values), to)
        jumped = await vip.receive("INVITE")
        assert sorted(jumped.private()) == [
            "X-CI-Attempt",
            "X-CI-Call",
            "X-CI-Entry",
            "X-CI-Generation",
            "X-CI-Signature",
            "X-CI-State",
        ]
        assert jumped.get(EntryHeader.NAME) == str(jump[1])
        vip.send(sip.reply(jumped, "603 Decline", tag="d"), to)
        await caller.receive(603)
        for uri, refusal in (
            (f"sip:332;context=2;option=5@{POOLS_HOST}", "486 Busy Here"),
            # This comes last: afterwards the worker sends the pool no call for a while.
            (f"sip:332@{POOLS_HOST};context=2;option=5", "503 Service Unavailable"),
        ):
            await invited(uri)
            got = await vip.receive("INVITE")
            assert got.get(EntryHeader.NAME) == str(jump[1])
            vip.send(sip.reply(got, refusal, tag="d"), to)
            refused = await caller.receive(int(refusal[:3]))
        assert refused.get("Retry-After") == "5"
        invite = await invited(f"sip:332;context=9@{POOLS_HOST}")
        refused = await caller.receive(404)
        assert "No Such Context" in refused.start
        caller.send(sip.ack_of_failure(invite, refused), to)
        assert not [message for message in main.inbox._queue if message.method == "INVITE"]  # type: ignore[attr-defined]
