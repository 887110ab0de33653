"""Encrypted sound: what `media.srtp` asks of callers and callees, and that two sides which differ hear each other."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.e2e.conftest import _ivr_yaml, lent, own_net
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.test_routing import IVR as ROUTING_IVR
from tests.e2e.test_routing import ROUTED
from tests.e2e.transfers import FIRST, ONE_HZ, SECOND, CalledPhones, holds_and_resumes, transfer
from tests.support.baresip import SPEAKS_HZ, Baresip, takes_new_keys
from tests.support.callee import Callee
from tests.support.phone import Phone
from tests.support.sipp import SipMessage
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

PASSWORD = "secret"
ANY, PLAIN = "000*308", "000*311"
"""Extensions whose media.srtp is optional, and no."""
ENCRYPTED = tuple(f"000*{number}" for number in range(320, 330))
"""Extensions whose media.srtp is required: one for each test, since baresip does not always unregister."""
SRTP_ONLY = ";mediaenc=srtp-mand"
EXTENSIONS = "".join(
    f'  - {{number: "{number}", id: {200 + index}, password: {PASSWORD}, media: {{srtp: {srtp}}}}}\n'
    for index, (number, srtp) in enumerate([(PLAIN, "no"), *((number, "required") for number in ENCRYPTED)])
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def srtp_stack(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    """The second phone takes no SRTP, the first one must have it."""
    net = own_net()
    routing = ROUTING_IVR.format(web=web.url)
    ivr = _ivr_yaml(web).replace("ivrs:\n", routing.partition("contexts:")[0], 1)
    ivr = ivr.replace("contexts:\n", f"contexts:\n{routing.partition('contexts:')[2].lstrip(chr(10))}", 1)
    replace = {
        "id: 134,": "id: 134, media: {srtp: required},",
        "id: 135,": "id: 135, media: {srtp: no},",
        "sidecars: {": f"{EXTENSIONS}sidecars: {{",
    }
    async with RunningStack(net, tmp_path_factory.mktemp("srtp"), ivr, replace=replace) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(srtp_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """After each test, nothing of its calls may be left, not in RTPengine either."""
    async with lent(srtp_stack, request):
        yield srtp_stack


@pytest.fixture(scope="module")
def _encrypted() -> Iterator[str]:
    return iter(ENCRYPTED)


@pytest.fixture
def encrypted(_encrypted: Iterator[str]) -> str:
    return next(_encrypted)


def softphone(stack: RunningStack, number: str, account: str = "") -> Baresip:
    return Baresip(number, PASSWORD, stack.net.sip, host="127.0.0.1", account=account)


def carrier(stack: RunningStack, called: str, caller: str) -> Phone:
    return Phone(stack.net.sip, called, host=stack.net.carrier, caller=caller)


@pytest.mark.parametrize("is_required", [True, False])
async def test_an_encrypted_call_to_a_menu(
    web: FakeWebApp, stack: RunningStack, encrypted: str, is_required: bool
) -> None:
    number = encrypted if is_required else ANY
    before = len(web.requests[number])
    async with softphone(stack, number, SRTP_ONLY) as phone:
        await phone.registered()
        await phone.dials(MENU)
        await phone.connected()
        await phone.hears_tone(MENU_HZ)
        await phone.presses("1")
        assert (await web.request(number, before + 1)).query["is"] == "1"
        await phone.call_ended()


@pytest.mark.parametrize(("number", "account"), [(ENCRYPTED[-1], ""), (PLAIN, SRTP_ONLY)])
async def test_who_may_not_call_so_is_told(stack: RunningStack, number: str, account: str) -> None:
    since = len(stack.log)
    async with softphone(stack, number, account) as phone:
        await phone.registered()
        await phone.dials(MENU)
        await phone.call_ended()
        await until(lambda: 488 in phone.answers("INVITE"), PATIENT_S, "the refusal")

    def refusals() -> list[str]:
        return [str(entry["event"]) for entry in stack.entries(since) if "refused 488" in str(entry.get("event"))]

    await until(lambda: bool(refusals()), PATIENT_S, "the line of the log")
    (refusal,) = refusals()
    assert "media.srtp" in refusal


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_a_transfer_to_who_wants_srtp(
    web: FakeWebApp, stack: RunningStack, caller: str, encrypted: str, who: str
) -> None:
    async with a_talk(web, stack, caller, encrypted) as (phone, calling):
        await calling.sound.send_tone(ONE_HZ, 1.0)
        await phone.hears_tone(ONE_HZ)
        await calling.sound.send_digits("1")
        if who == "caller":
            await calling.hang_up()
            await phone.call_ended()
        else:
            await phone.hangs_up()
            await calling.hung_up()


async def test_it_holds_and_resumes(web: FakeWebApp, stack: RunningStack, caller: str, encrypted: str) -> None:
    async with a_talk(web, stack, caller, encrypted) as (phone, calling):
        await holds_and_resumes(phone, calling.sound)
        await calling.hang_up()
        await phone.call_ended()


async def test_a_callee_that_answers_in_the_clear_is_hung_up(
    web: FakeWebApp, stack: RunningStack, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST, final="no"), actions("<Hangup/>"))
    async with callees.first() as callee, carrier(stack, TRANSFER, caller) as calling:
        invite = await callee.rings()
        assert "RTP/SAVP" in invite.body
        assert "a=crypto:" in invite.body
        await callee.picks_up()
        await callee.hung_up()
        assert (await web.request(caller, nth=2)).query["status"] == "failed"
        await calling.hung_up()


async def test_an_encrypted_caller_reaches_a_plain_phone(
    stack: RunningStack, encrypted: str, callees: CalledPhones
) -> None:
    """From extension to extension, with no IVR that answers: RTPengine converts."""
    async with softphone(stack, encrypted, SRTP_ONLY) as phone, callees.second() as callee:
        await phone.registered()
        await phone.dials(SECOND)
        await speak(phone, callee, await callee.rings())
        await phone.hangs_up()
        await callee.hung_up()


async def test_an_encrypted_caller_is_routed_to_a_plain_phone(
    web: FakeWebApp, stack: RunningStack, callees: CalledPhones
) -> None:
    """By an IVR that does not answer."""
    web.on(ANY, transfer(SECOND))
    async with softphone(stack, ANY, SRTP_ONLY) as phone, callees.second() as callee:
        await phone.registered()
        await phone.dials(ROUTED)
        await speak(phone, callee, await callee.rings())
        await callee.hangs_up()
        await phone.call_ended()


async def test_a_plain_caller_is_routed_to_who_wants_srtp(
    web: FakeWebApp, stack: RunningStack, caller: str, encrypted: str
) -> None:
    web.on(caller, transfer(encrypted))
    async with softphone(stack, encrypted, SRTP_ONLY) as phone:
        await phone.registered()
        async with carrier(stack, ROUTED, caller) as calling:
            await phone.rings()
            await phone.picks_up()
            answer = await calling.answered()
            assert "RTP/AVP" in answer.body
            assert "a=crypto" not in answer.body
            await calling.sound.hear_tone(SPEAKS_HZ)
            await calling.sound.send_tone(ONE_HZ, 1.0)
            await phone.hears_tone(ONE_HZ)
            await calling.hang_up()
            await phone.call_ended()


async def test_a_phone_that_wants_srtp_without_saying_so_beforehand(
    web: FakeWebApp, stack: RunningStack, caller: str
) -> None:
    """Its media.srtp is optional. It refuses RTP with 488, and is offered SRTP then."""
    async with a_talk(web, stack, caller, ANY) as (phone, calling):
        await calling.sound.send_tone(ONE_HZ, 1.0)
        await phone.hears_tone(ONE_HZ)
        await calling.hang_up()
        await phone.call_ended()


@pytest.mark.parametrize("is_required", [True, False])
async def test_rfc_4568_7_1_4_a_callee_that_does_not_take_new_keys_is_hung_up(
    web: FakeWebApp, stack: RunningStack, caller: str, encrypted: str, is_required: bool
) -> None:
    """RTPengine's next process has new ones, and Debian 12's baresip would hear nothing. Kamailio tells who it is."""
    async with a_talk(web, stack, caller, encrypted if is_required else ANY) as (phone, calling):
        os.kill(stack.pid("rtpengine"), signal.SIGKILL)
        if takes_new_keys():
            calling.sound.forget()
            await calling.sound.hear_tone(SPEAKS_HZ)
            await calling.hang_up()
        else:
            await calling.hung_up()
        await phone.call_ended()


@asynccontextmanager
async def a_talk(
    web: FakeWebApp, stack: RunningStack, caller: str, number: str
) -> AsyncIterator[tuple[Baresip, Phone]]:
    """An IVR has transferred its caller to this extension, which encrypts, and the caller hears it."""
    web.on(caller, transfer(number))
    async with softphone(stack, number, SRTP_ONLY) as phone:
        await phone.registered()
        async with carrier(stack, TRANSFER, caller) as calling:
            await calling.answered()
            await phone.rings()
            await phone.picks_up()
            await phone.connected()
            await calling.sound.hear_tone(SPEAKS_HZ)
            yield phone, calling


async def speak(phone: Baresip, callee: Callee, invite: SipMessage) -> None:
    """The callee, which was offered plain RTP, picks up, and each hears the other."""
    assert "RTP/AVP" in invite.body
    assert "a=crypto" not in invite.body
    await callee.picks_up()
    await phone.connected()
    await callee.sound.hear_tone(SPEAKS_HZ)
    await callee.sound.send_tone(ONE_HZ, 1.0)
    await phone.hears_tone(ONE_HZ)
