"""Calls from one extension to another, with no IVR between (C8)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from callinteractive.headers import CallHeader
from callinteractive.report import Report, reports_in
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import consistent
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import PHONES, SITE, pick_up, refuse, ring
from tests.integration.test_kemi_registrar import digest, register
from tests.support.stack import until
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

RING_S = 1
CALLER = "000*399"
OTHER = "000*398"
ALONE = (f"{sip.NET}.66", 22104)
"""The phone of extension 000*397: no other extension has its address."""
MORE = f"""  - {{number: "{OTHER}", id: 398, password: other}}
  - {{number: "000*397", id: 397, contact: "sip:397@{ALONE[0]}:{ALONE[1]}"}}
sidecars:"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    site = SITE.replace("sidecars:", MORE) + f"defaults: {{transfer_timeout_s: {RING_S}}}\n"
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), site) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def caller(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    """The registered phone of extension 000*399."""
    del kamailio
    async with Endpoint.at(f"{sip.NET}.150", 22101) as phone:
        assert (await register(phone)).status == 200
        yield phone


@pytest_asyncio.fixture(loop_scope="module")
async def callee(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    """The fixed phone of extension 000*300."""
    del kamailio
    async with Endpoint.at(*PHONES[0]) as phone:
        yield phone


async def dial(phone: Endpoint, number: str, user: str = CALLER, password: str = "secret", name: str = "") -> Message:
    """The INVITE with the right credentials."""
    who = f"{name}<sip:{user}@{sip.KAMAILIO[0]}>;tag=7"
    first = phone.invite(number, From=who)
    phone.send(first)
    challenged = await phone.receive_only(407)
    phone.send(sip.ack_of_failure(first, challenged))
    proof = digest(challenged.get("Proxy-Authenticate"), user, password, "INVITE", first.uri)
    invite = phone.invite(number, From=who, Proxy_Authorization=proof)
    phone.send(invite)
    return invite


async def fails(phone: Endpoint, invite: Message, status: int) -> Message:
    answer = await phone.receive(status, timeout_s=RING_S + 3)
    phone.send(sip.ack_of_failure(invite, answer))
    return answer


@pytest.mark.parametrize("number", ["000*300", "300"])
async def test_call(caller: Endpoint, callee: Endpoint, number: str) -> None:
    invite = await dial(caller, number, name='"Anna" ')
    got = await callee.receive_only("INVITE")
    assert got.uri == f"sip:phone0@{callee.host}:{callee.port}"
    assert got.get("From").startswith(f'"Anna" <sip:{CALLER}@')
    assert got.get("P-Asserted-Identity") == f'"Anna" <sip:{CALLER}@{sip.KAMAILIO[0]}>'
    assert not got.get("Proxy-Authorization")
    assert not got.private()
    ring(callee, got)
    assert (await caller.receive(180)).body == ""
    ring(callee, got, "183 Session Progress", body=sip.SDP)
    assert (await caller.receive(183)).body == sip.SDP  # early media
    answered = pick_up(callee, got)
    answer = await caller.receive(200)
    await consistent(Dialog.of_caller(caller, invite, answer), Dialog.of_callee(callee, got, answered))


def reports_of(sidecar: Endpoint, since_s: float) -> list[tuple[Report, str]]:
    """What it was told of calls that began then or later, each with the value of X-CI-Call."""
    told = [each for message in sidecar.reports for each in reports_in(message.body, message.get(CallHeader.NAME))]
    new = {report.call_id for report, _ in told if report.legs and report.legs[0].began_ms >= int(since_s * 1000)}
    return [each for each in told if each[0].call_id in new]


async def test_E1_the_call_is_reported_to_a_sidecar(caller: Endpoint, callee: Endpoint) -> None:
    """Once at its answer, once at its BYE, to the same one."""
    began_s = time.time()
    async with Endpoint.at(*sip.SIDECARS[0]) as first, Endpoint.at(*sip.SIDECARS[1]) as second:
        invite = await dial(caller, "300")
        got = await callee.receive_only("INVITE")
        ring(callee, got)
        answered = pick_up(callee, got)
        answer = await caller.receive(200)
        await consistent(Dialog.of_caller(caller, invite, answer), Dialog.of_callee(callee, got, answered))
        await until(lambda: 2 in [len(reports_of(each, began_s)) for each in (first, second)], PATIENT_S, "reports")
        (at_answer, header), (at_end, _) = reports_of(first, began_s) or reports_of(second, began_s)
    facts = CallHeader.parse(header).facts
    assert (facts.caller_extension, facts.called_extension, facts.called_number) == (CALLER, "000*300", "300")
    assert [(leg.number, leg.code) for leg in at_answer.legs] == [("000*300", 200)]
    assert at_end.end is not None
    assert (at_end.call_id, at_end.end.by, at_end.end.code) == (facts.call_id, "callee", 200)


async def test_a_fixed_phone_shows_its_own_number_whatever_it_says(caller: Endpoint) -> None:
    async with Endpoint.at(*ALONE) as phone:
        invite = phone.invite("399", From="<sip:+15550100@x>;tag=1")
        phone.send(invite)
        got = await caller.receive("INVITE")
        assert got.uri == f"sip:me@{caller.host}:{caller.port}"
        for value in (got.get("From"), got.get("P-Asserted-Identity")):
            assert "sip:000*397@" in value, value
        await refuse(caller, got)
        assert "+15550100" in (await fails(phone, invite, 486)).get("From")


async def test_nobody_answers(caller: Endpoint, callee: Endpoint) -> None:
    invite = await dial(caller, "300")
    got = await callee.receive_only("INVITE")
    ring(callee, got)
    await fails(caller, invite, 408)
    callee.send(sip.reply(await callee.receive("CANCEL"), "200 OK"))
    await refuse(callee, got, "487 Request Terminated")


@pytest.mark.parametrize(("status", "code"), [("486 Busy Here", 486), ("603 Decline", 603), ("404 Not Found", 404)])
async def test_refused(caller: Endpoint, callee: Endpoint, status: str, code: int) -> None:
    invite = await dial(caller, "300")
    await refuse(callee, await callee.receive_only("INVITE"), status)
    await fails(caller, invite, code)


async def test_caller_gives_up(caller: Endpoint, callee: Endpoint) -> None:
    invite = await dial(caller, "300")
    got = await callee.receive_only("INVITE")
    ring(callee, got)
    await caller.receive(180)
    caller.send(sip.cancel_of(invite))
    callee.send(sip.reply(await callee.receive("CANCEL"), "200 OK"))
    await refuse(callee, got, "487 Request Terminated")
    await fails(caller, invite, 487)


async def test_all_registered_phones_ring(caller: Endpoint) -> None:
    async with AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(Endpoint.at(f"{sip.NET}.15{n}", 22102)) for n in (1, 2)]
        for phone in phones:
            assert (await register(phone, OTHER, OTHER, "other")).status == 200
        invite = await dial(caller, "398")
        rung = [await phone.receive_only("INVITE") for phone in phones]
        for phone, got in zip(phones, rung, strict=True):
            ring(phone, got)
        answered = pick_up(phones[1], rung[1])
        answer = await caller.receive(200)
        phones[0].send(sip.reply(await phones[0].receive("CANCEL"), "200 OK"))
        await refuse(phones[0], rung[0], "487 Request Terminated")
        await consistent(Dialog.of_caller(caller, invite, answer), Dialog.of_callee(phones[1], rung[1], answered))
        for phone in phones:
            assert (await register(phone, OTHER, OTHER, "other", expires="0")).status == 200


@pytest.mark.parametrize(("number", "status"), [("398", 480), ("555", 404), ("+15550100", 404)])
async def test_nobody_there(caller: Endpoint, kamailio: RunningKamailio, number: str, status: int) -> None:
    await fails(caller, await dial(caller, number), status)
    if status == 480:
        assert "no phone of this extension has registered" in await kamailio.logged("refused 480", number)


async def test_a_carrier_s_caller_reaches_no_extension(kamailio: RunningKamailio) -> None:
    del kamailio
    async with Endpoint.at(sip.TRUNK, 22103) as carrier:
        invite = carrier.invite("000*300")
        carrier.send(invite)
        await fails(carrier, invite, 404)


async def test_turned_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = SITE.replace("22000", "22009") + "internal_calls: no\n"
    async with sip.running_kamailio(tmp_path_factory.mktemp("off"), site), Endpoint.at(*PHONES[0]) as phone:
        invite = phone.invite("301", From="<sip:300@x>;tag=1")
        phone.send(invite, (sip.KAMAILIO[0], 22009))
        answer = await phone.receive(404)
        phone.send(sip.ack_of_failure(invite, answer), (sip.KAMAILIO[0], 22009))
