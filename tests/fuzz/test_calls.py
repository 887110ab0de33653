"""The whole stack outlives mutated messages within calls, for `FUZZ_S` seconds; nothing stays, and others are served.

Callers and callees of all kinds of calls send changed requests and answer ours by changed responses, with changed
descriptions. `FUZZ_SEED` chooses the same changes again; the order of what the stack does is its own matter.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BASE_PORT, NET
from tests.fuzz.changes import FLAT_SDP, MEDIA
from tests.fuzz.mutate import SECONDS
from tests.fuzz.parties import Attack, Party
from tests.integration.kemi_support import Dialog, Endpoint, cancel_of, reply
from tests.support.kamailio import anchored_calls, assert_no_transactions
from tests.support.leftovers import HELD_BY_CALLS, UNTIL_TIMERS_END, leftovers
from tests.support.stack import Net, RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp
from tests.support.workers import WORKER

ANSWERS, BRIDGES, ROUTES, SOUND = "000*130", "000*131", "000*132", "000*133"
IVR = """\
ivrs:
  - {{number: "000*130", id: 230, entry_context: menu, lifetime: 60}}
  - {{number: "000*131", id: 231, entry_context: bridge, lifetime: 60}}
  - {{number: "000*132", id: 232, entry_context: route, answer: on_media}}
  - {{number: "000*133", id: 233, entry_context: sound}}
contexts:
  menu:
    timeout: 20000
    options:
      start: [{{play_sound: {{file: tone-440-3000.wav, where: background}}}}]
      "1": [{{call_interactive: {{url: "{web}/one", method: POST}}}}, {{jump: {{context: menu}}}}]
      "5": [{{record_digits: {{prompt: tone-440-1000.wav, variable: code, max: 4}}}}, {{jump: {{context: menu}}}}]
      invalid: [{{jump: {{context: menu}}}}]
      timeout: [hangup]
  bridge:
    options:
      start:
        - simple_transfer: {{to: ["000*306", "000*307"], timeout: 5, early_media: yes, final: no}}
        - play_sound: {{file: tone-660-400.wav}}
        - simple_transfer: {{to: ["000*307"], timeout: 5}}
  route:
    options:
      start:
        - simple_transfer: {{to: ["000*306", "000*307"], timeout: 5, final: no}}
        - simple_transfer: {{to: ["000*306"], timeout: 5}}
  sound:
    options:
      start: [{{play_sound: {{file: tone-660-400.wav}}}}, hangup]
"""
CHANGED_SITE = {
    "23200, 24599": "30000, 49999",  # a description may have 16 streams
    "name: second,": "name: second, anchor_media: yes,",
    "id: 135,": "id: 135, anchor_media: yes,",
}
DIALOGS, AT_ONCE, TICK_S = 80, 12, 0.02
LEAST_S = 10
ENDS_S = 150.0
"""Who rings, and who waits for an ACK or for the end of a transaction, does not do so any more."""
LINES_A_MESSAGE = 3
"""Of the log, for each message that is sent, in the mean."""

EXPECTED_ERRORS = ("sound", "media", "webhook")
"""Of a sidecar: what a call could not do for reasons of its parties, or of the web application."""


async def is_served(stack: RunningStack, number: int) -> float:
    """A sound call of another carrier's port; returns how long its answer took."""
    host = stack.net.second_carrier
    async with asyncio.timeout(PATIENT_S * 2), Endpoint.at(host, BASE_PORT + 1900 + number % 50) as phone:
        uri = f"sip:{SOUND}@{stack.net.sip[0]}:{stack.net.sip[1]}"
        body = FLAT_SDP.format(host=host, version=1) + MEDIA[0]
        invite = phone.request("INVITE", uri, body=body, From=f"<sip:+15559@{host}>;tag={number}")
        began = time.monotonic()
        phone.send(invite, stack.net.sip)
        while (answer := await phone.receive(timeout_s=PATIENT_S)).status < 200:
            pass
        assert answer.status == 200, answer
        took = time.monotonic() - began
        phone.send(Dialog.of_caller(phone, invite, answer).request("ACK"), stack.net.sip)
        phone.send(reply(await phone.receive("BYE", PATIENT_S), "200 OK"), stack.net.sip)
        return took


async def serving(stack: RunningStack, attack: Attack) -> list[float]:
    """Until the attack is over."""
    took: list[float] = []
    for number in itertools.count():
        if attack.is_calm:
            return took
        took.append(await is_served(stack, number))
        await asyncio.sleep(0.5)
    raise AssertionError


async def nothing_is_left(stack: RunningStack) -> None:
    """But the media of calls that nobody has hung up: a changed 2xx gave both sides other names of the dialog. Of those
    Kamailio has a file, and RTPengine has them until its timeout."""
    deadline = time.monotonic() + ENDS_S
    while True:
        left = set(await leftovers(stack, HELD_BY_CALLS | UNTIL_TIMERS_END))
        left -= {f"RTPengine holds call {name}" for name in anchored_calls(stack)}
        if not left:
            return
        assert time.monotonic() < deadline, left
        await asyncio.sleep(1)


def wrong(entry: dict[str, Any]) -> bool:
    text = json.dumps(entry)
    if "Traceback" in text or "exception" in entry or "BUG" in text:
        return True
    is_ours = entry["part"] not in ("kamailio", "rtpengine")
    return is_ours and entry["level"] in ("error", "critical") and entry["event"] not in EXPECTED_ERRORS


@pytest.mark.skipif(SECONDS < LEAST_S, reason="then minutes until all timers have ended: FUZZ_S=10")
@pytest.mark.asyncio
@pytest.mark.timeout(400 + 2 * SECONDS)
async def test_the_stack_outlives_changed_messages_in_calls(tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))
    print(f"FUZZ_SEED={seed}")  # shown where the test fails
    net = Net(f"{NET}.{190 + WORKER}", BASE_PORT)
    async with AsyncExitStack() as open_ones:
        web = await open_ones.enter_async_context(FakeWebApp(net.web, net.web_port))
        stack = await open_ones.enter_async_context(
            RunningStack(net, tmp_path / "stack", IVR.format(web=web.url), replace=CHANGED_SITE)
        )
        attack, chance = Attack(seed, net.sip), random.Random(seed)
        places = ((net.carrier, net.carrier_port), (net.second_carrier, net.carrier_port))
        callers = [await open_ones.enter_async_context(Party.at(host, port)) for host, port in places]
        phones = [
            await open_ones.enter_async_context(Party.at(host, net.phone_port))
            for host in (net.phone, net.second_phone)
        ]
        parties = [*callers, *phones]
        for party in parties:
            party.begin(attack)
        beside = asyncio.create_task(serving(stack, attack))
        until = time.monotonic() + SECONDS
        since = len(stack.log)
        while time.monotonic() < until and not beside.done():
            waiting = sum(len(party.calling) for party in parties)
            if sum(len(party.live) for party in parties) < DIALOGS and waiting < 30:
                chance.choice([*callers, *callers, *phones]).call(
                    chance.choice((ANSWERS, ANSWERS, BRIDGES, BRIDGES, ROUTES))
                )
            if waiting >= 30:  # some are never answered
                party = chance.choice([party for party in parties if party.calling])
                invite = party.calling.pop(next(iter(party.calling)))
                party.send(bytes(cancel_of(invite)), net.sip)
            for _ in range(AT_ONCE):
                chance.choice(parties).attack_once()
            await asyncio.sleep(TICK_S)
        attack.is_calm = True
        took = await beside
        total = sum(attack.sent.values())
        print(
            f"sent {total}", dict(attack.sent), "got", dict(attack.got), f"longest wait {max(took):.2f} of {len(took)}"
        )
        await asyncio.gather(*(party.end_all() for party in parties))
        if (dump := os.environ.get("FUZZ_LOG")) is not None:
            Path(dump).write_text("\n".join(stack.log))
        await nothing_is_left(stack)
        await assert_no_transactions(stack, ENDS_S)
        await is_served(stack, 0)
        if dump is not None:
            Path(dump).write_text("\n".join(stack.log))
        assert {
            part: stack.starts(part) for part in ("kamailio", "rtpengine", "sidecar-0", "sidecar-1")
        } == dict.fromkeys(("kamailio", "rtpengine", "sidecar-0", "sidecar-1"), 1)
        assert not [entry for entry in stack.entries(since) if wrong(entry)][:20]
        assert len(stack.log) - since < LINES_A_MESSAGE * (total + 500)
        assert await stack.stop() == 0
