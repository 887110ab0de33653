"""The web application is down, slow, or its answer is invalid: one clear error, and the next rule runs (X3, R5)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import DOWN, NEXT_RULE_HZ, REQUEST_TIMEOUT_S, SCRIPTED_GET, SCRIPTED_POST
from tests.support.stack import RunningStack
from tests.support.timing import NotBefore
from tests.support.webapp import XML, FakeWebApp, Reply, actions

NEXT_RULE_S = 0.4
ELEVEN = XML.format('<SetVar name="lang">never</SetVar>' * 11)

ENTITY = '<!DOCTYPE Response [<!ENTITY e "x">]><Response><SetVar name="lang">&e;</SetVar></Response>'


async def test_down(call: PlaceCall, stack: RunningStack) -> None:
    since = len(stack.log)
    async with call(DOWN) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(NEXT_RULE_S, abs=0.12)
    await stack.logged(since=since, event="webhook", outcome="unreachable")


async def test_connection_breaks(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    """A POST is sent again once at most, and only if it went out on a connection that was there before (R7)."""
    since = len(stack.log)
    web.on(caller, Reply(breaks=True))
    async with call(SCRIPTED_POST) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(NEXT_RULE_S, abs=0.12)
    assert len(web.requests[caller]) in (1, 2)
    await stack.logged(since=since, event="webhook", outcome="unreachable")


@pytest.mark.parametrize("number", [SCRIPTED_GET, SCRIPTED_POST])
async def test_slow(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, number: str) -> None:
    since = len(stack.log)
    web.on(caller, Reply(XML.format("<Hangup/>"), delay_s=20), actions("<Hangup/>"))
    async with call(number) as phone:
        answer = await phone.answered()
        await phone.sound.hear_tone(NEXT_RULE_HZ, within_s=REQUEST_TIMEOUT_S + 2)
        bye = await phone.hung_up()
    assert bye.at_s - answer.at_s == NotBefore(REQUEST_TIMEOUT_S + NEXT_RULE_S)
    await stack.logged(since=since, event="webhook", outcome="timeout")


@pytest.mark.parametrize(
    ("rubbish", "outcome"),
    [
        (Reply("<Response><Hangup></Response>"), "invalid"),
        (Reply("<html><body>It works!</body></html>"), "invalid"),
        (Reply(XML.format('<Hangup/><Dial number="1"/>')), "invalid"),
        (Reply(XML.format('<Pause length="soon"/>')), "invalid"),
        (Reply(ELEVEN), "invalid"),
        (Reply(ENTITY), "invalid"),
        (Reply(b"\xff\xfe\x00\x01" * 100), "invalid"),
        (Reply(XML.format(" " * 66_000)), "too_large"),
        (Reply(XML.format("<Hangup/>"), status=500), "status"),
        (Reply(XML.format("<Hangup/>"), status=302, headers={"Location": "/elsewhere"}), "status"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_rubbish(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, rubbish: Reply, outcome: str
) -> None:
    since = len(stack.log)
    web.on(caller, rubbish, actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["lang"] == ""  # no action of it ran
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(NEXT_RULE_S, abs=0.12)
    entry = await stack.logged(since=since, event="webhook", call_id=again.query["CallID"])
    assert entry["outcome"] == outcome
    assert entry["reason"]
