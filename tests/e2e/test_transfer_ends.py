"""How a transferred call ends: by either side, at every moment, and on a network that loses messages (A13, A15).

The `stack` fixture checks after each test that nothing of a call is left.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import BOTH, FIRST, CalledPhones, behind_relay, both_hear, transfer
from tests.support.relay import Relay
from tests.support.sipp import IGNORES_MORE, Sipp, free_udp_port
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp

OUR_REASON = 'Q.850 ;cause=31 ;text="Caller is tired"'
THEIR_REASON = 'Q.850 ;cause=16 ;text="Callee has had enough"'
BYE_LINE = "CSeq: 2 BYE\n"


async def test_a15_the_caller_hangs_up_while_it_rings(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(BOTH, final="no"))
    async with callees.first() as first, callees.second("callee-early-media") as second, call(TRANSFER) as phone:
        await phone.answered()
        await first.rings()
        await second.rings()
        await phone.hang_up()
        await first.stops_ringing()
        await second.stops_ringing()
    assert len(web.requests[caller]) == 1


async def test_a15_the_caller_hangs_up_before_anybody_says_a_word(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    """A CANCEL may only be sent after a provisional reply (RFC 3261 9.1). Kamailio's 100 counts."""
    web.on(caller, transfer(FIRST))
    async with behind_relay(stack) as (callee, relay), call(TRANSFER) as phone:
        await phone.answered()
        with relay.holding(lambda datagram: datagram.outward):
            await callee.rings()
            await phone.hang_up()
        await callee.stops_ringing()


@pytest.mark.parametrize("caller_is_first", [True, False])
async def test_a15_the_caller_hangs_up_at_the_instant_of_the_answer(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, caller_is_first: bool
) -> None:
    """BYE and 200 cross on their way. Whichever came first, both phones are released."""
    web.on(caller, transfer(FIRST))
    async with callees.first(arguments=IGNORES_MORE) as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        for nudge in (phone.sipp.nudge, callee.nudge)[:: 1 if caller_is_first else -1]:
            nudge()
        await phone.sipp.finished()
        await callee.sipp.finished()


async def test_a_200_that_crosses_our_cancel_gets_ack_and_bye(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first("callee-answers-cancel") as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await phone.hang_up()
        await callee.sipp.wait_for("CANCEL")
        await callee.sipp.finished()  # which wants ACK and BYE


async def test_a_200_of_the_loser_gets_ack_and_bye(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """Both answer: the CANCEL for the second comes too late."""
    web.on(caller, transfer(BOTH))
    async with callees.first("callee-answers-cancel") as loser, callees.second() as winner, call(TRANSFER) as phone:
        await phone.answered()
        await loser.rings()
        await winner.rings()
        await winner.picks_up()
        await loser.sipp.finished()
        await both_hear(phone.sound, winner.sound)
        await phone.hang_up()
        await winner.hung_up()


async def test_the_caller_hangs_up_during_the_call_and_its_reason_is_carried_over(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    reason = {BYE_LINE: f"{BYE_LINE}      Reason: {OUR_REASON}\n"}
    async with callees.first() as callee, call(TRANSFER, replace=reason) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        await phone.hang_up()
        bye = await callee.hung_up()
    assert bye.header("Reason") == OUR_REASON


async def test_the_callee_hangs_up_and_its_reason_is_carried_over(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """The script does not continue after an answer, even if the transfer is not final (A13)."""
    web.on(caller, transfer(FIRST, final="no", after="<PlaySound>tone-880-400.wav</PlaySound>"))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        await callee.hangs_up()
        bye = await phone.hung_up()
    assert bye.header("Reason") == THEIR_REASON
    assert len(web.requests[caller]) == 1
    assert phone.sound.tone_duration(880) == 0


async def test_both_hang_up_at_the_same_moment(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first() as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.rings()
        await callee.picks_up()
        phone.sipp.nudge()
        callee.nudge()
        await phone.sipp.finished()
        await callee.sipp.finished()


async def test_a_lost_ack_is_sent_again(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    web.on(caller, transfer(FIRST))
    async with behind_relay(stack) as (callee, relay), call(TRANSFER) as phone:
        relay.loses(lambda datagram: datagram.is_request("ACK"), times=2)
        await phone.answered()
        await callee.rings()
        callee.nudge()
        await callee.sipp.wait_for("ACK")
        assert len(relay.lost) == 2
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


async def test_a_lost_200_is_sent_again(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    web.on(caller, transfer(FIRST))
    async with behind_relay(stack) as (callee, relay), call(TRANSFER) as phone:
        relay.loses(lambda datagram: datagram.is_answer(200, "INVITE"), times=2)
        await phone.answered()
        await callee.rings()
        callee.nudge()
        await callee.sipp.wait_for("ACK")
        assert len(relay.lost) == 2
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


@pytest.mark.parametrize("lost", ["CANCEL", "BYE"])
async def test_a_lost_request_is_sent_again(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, lost: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with behind_relay(stack) as (callee, relay), call(TRANSFER) as phone:
        relay.loses(lambda datagram: datagram.is_request(lost), times=2)
        await phone.answered()
        await callee.rings()
        if lost == "BYE":
            await callee.picks_up()
        await phone.hang_up()
        await (callee.hung_up() if lost == "BYE" else callee.stops_ringing())
        assert [datagram.start_line.split()[0] for datagram in relay.lost] == [lost, lost]


LOSS = 0.05
LOSSY_CALLS, LOSSY_RATE = 60, 10
LINGER = '<timewait milliseconds="5000"/>\n</scenario>'
"""A phone that has hung up still answers a BYE that is repeated because its 200 was lost."""


@pytest.mark.load
async def test_five_percent_of_all_messages_are_lost_and_no_call_is(
    web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(FIRST))
    host = stack.net.carrier
    outer, inner = (host, free_udp_port(host)), (host, free_udp_port(host))
    many = ("-m", str(LOSSY_CALLS), "-r", str(LOSSY_RATE), "-default_behaviors", "all,-abortunexp")
    through_relay = {"[local_ip]:[local_port]": f"{outer[0]}:{outer[1]}"}
    answers_and_hangs_up = {
        'timeout="120000" ontimeout="answer"': 'timeout="300" ontimeout="answer"',
        'timeout="120000" ontimeout="hang_up"': 'timeout="1000" ontimeout="hang_up"',
        "</scenario>": LINGER,
    }
    async with AsyncExitStack() as resources:
        enter = resources.enter_async_context
        callee, far = await enter(behind_relay(stack, loss=LOSS, arguments=many, replace=answers_and_hangs_up))
        near = await enter(Relay(outer, inner, stack.net.sip, loss=LOSS))
        phones = await enter(
            Sipp(
                "caller",
                local=host,
                target=inner,
                service=TRANSFER,
                from_=f"<sip:{caller}@carrier>",
                arguments=many,
                replace=through_relay | {"</scenario>": LINGER},
            )
        )
        await phones.finished(within_s=60)
        await callee.sipp.finished(within_s=30)
        for relay in (near, far):
            assert len(relay.lost) > 0.02 * len(relay.passed)
        answers = [entry for entry in callee.sipp.messages() if entry.sent and entry.start_line == "SIP/2.0 200 OK"]
        answered = {entry.header("Call-ID") for entry in answers if entry.method == "INVITE"}
    assert len(web.requests[caller]) == len(answered) == LOSSY_CALLS
