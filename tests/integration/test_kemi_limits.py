"""How many calls a trunk, a phone and an IVR may have at once, and start in a second (S15)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS, IVR_CALLS = 5, 3
SITE = sip.SITE.replace("name: carrier,", f"name: carrier, max_calls: {CALLS},").replace(
    "id: 134,", "id: 134, max_setups_per_s: 5,"
)
IVR = sip.IVR.replace("ivrs:", f'ivrs:\n  - {{number: "000*333", id: 146, entry_context: 1, max_calls: {IVR_CALLS}}}')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE, IVR) as running:
        yield running


async def answered(caller: Endpoint, sidecar: Endpoint, number: str) -> Dialog:
    invite = caller.invite(number)
    caller.send(invite)
    got = await sidecar.receive("INVITE")
    sidecar.send(sip.reply(got, "200 OK", tag="t", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>", body=sip.SDP))
    dialog = Dialog.of_caller(caller, invite, await caller.receive(200))
    caller.send(dialog.request("ACK"))
    await sidecar.receive("ACK")
    return dialog


async def hang_up(dialog: Dialog, sidecar: Endpoint) -> None:
    dialog.endpoint.send(dialog.request("BYE"))
    sidecar.send(sip.reply(await sidecar.receive("BYE"), "200 OK"))
    await dialog.endpoint.receive(200)


async def refused(caller: Endpoint, number: str) -> Message:
    """The call is refused at once, and no sidecar hears of it."""
    invite = caller.invite(number)
    caller.send(invite)
    answer = await caller.receive(503)
    caller.send(sip.ack_of_failure(invite, answer))
    assert answer.start == "SIP/2.0 503 Too Many Calls"
    assert int(answer.get("Retry-After")) > 0
    return answer


@pytest.mark.parametrize(("number", "most"), [("332", CALLS), ("333", IVR_CALLS)])
async def test_calls_at_once_s15(
    kamailio: RunningKamailio, trunk: Endpoint, sidecar: Endpoint, number: str, most: int
) -> None:
    calls = [await answered(trunk, sidecar, number) for _ in range(most)]
    await refused(trunk, number)
    await hang_up(calls.pop(), sidecar)
    calls.append(await answered(trunk, sidecar, number))
    await refused(trunk, number)
    for call in calls:
        await hang_up(call, sidecar)
    assert await answered_and_over(trunk, sidecar, number)
    line = await kamailio.logged(f"more than {most} calls at once")
    assert "refused 503 Too Many Calls: INVITE from" in line
    assert ".max_calls allows more" in line


async def answered_and_over(trunk: Endpoint, sidecar: Endpoint, number: str) -> bool:
    await hang_up(await answered(trunk, sidecar, number), sidecar)
    return True


async def test_calls_that_fail_or_are_given_up_do_not_count(trunk: Endpoint, sidecar: Endpoint) -> None:
    for round_ in range(2 * CALLS):
        invite = trunk.invite("332")
        trunk.send(invite)
        got = await sidecar.receive("INVITE")
        if round_ % 2:
            sidecar.send(sip.reply(got, "486 Busy Here", tag="x"))
            final = await trunk.receive(486)
        else:
            sidecar.send(sip.reply(got, "180 Ringing", tag="x"))
            await trunk.receive(180)
            trunk.send(sip.cancel_of(invite))
            sidecar.send(sip.reply(await sidecar.receive("CANCEL"), "200 OK"))
            sidecar.send(sip.reply(got, "487 Request Terminated", tag="x"))
            final = await trunk.receive(487)
        trunk.send(sip.ack_of_failure(invite, final))
        await sidecar.receive("ACK")
    for _ in range(2 * CALLS):
        nobody = trunk.invite("999")
        trunk.send(nobody)
        trunk.send(sip.ack_of_failure(nobody, await trunk.receive(404)))
    assert await answered_and_over(trunk, sidecar, "332")


async def test_a_second_bye_frees_no_second_place(trunk: Endpoint, sidecar: Endpoint) -> None:
    calls = [await answered(trunk, sidecar, "332") for _ in range(CALLS)]
    over = calls.pop()
    for _ in range(3):
        await hang_up(over, sidecar)
    calls.append(await answered(trunk, sidecar, "332"))
    await refused(trunk, "332")
    for call in calls:
        await hang_up(call, sidecar)


async def test_a_wrong_count_does_not_stay(kamailio: RunningKamailio, trunk: Endpoint, sidecar: Endpoint) -> None:
    """Calls of which neither a failure nor a BYE came: once they are forgotten, the next refusal finds out."""
    for _ in range(CALLS):
        await answered(trunk, sidecar, "332")
    keys = re.findall(r"name: (\S+ \S+)$", await kamailio.rpc("htable.dump", "calls"), re.MULTILINE)
    assert len(keys) >= CALLS
    await kamailio.rpc("htable.flush", "calls")
    async with asyncio.timeout(20):
        while True:
            trunk.send(invite := trunk.invite("332"))
            while (answer := await trunk.receive()).status == 100:
                pass
            if "Too Many Calls" not in answer.start:  # the sidecars are silent
                break
            trunk.send(sip.ack_of_failure(invite, answer))


async def test_setups_in_a_second_s15(sidecar: Endpoint) -> None:
    async with Endpoint.at(sip.EXTENSION, 22090) as phone:
        for _ in range(30):
            phone.send(phone.invite("999"))
        statuses = [(await phone.receive()).status for _ in range(30)]
        assert set(statuses) == {404, 503}
        assert 5 <= statuses.count(404) <= 15
