"""A host of sidecars is cut off: its answered calls go on at another one, which a server tells of them (H1)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from valkey import Valkey

from sidecar.media.moving import WAIT_S
from tests.e2e.test_fleet_hosts import IVRS, MENU, MENU_HZ, TRANSFER, WEB_PORT
from tests.e2e.transfers import FIRST, ONE_HZ, OTHER_HZ, both_hear, connected, transfer
from tests.support.callee import Callee
from tests.support.fleet import PHONE_PORT, Fleet, Part
from tests.support.hosts import can_be_made
from tests.support.phone import Phone
from tests.support.redis import running_redis
from tests.support.sipp import ANSWERS_UPDATE
from tests.support.stack import until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions
from tests.support.workers import WORKER

pytestmark = pytest.mark.skipif(not can_be_made(), reason="hosts need root and iptables")

STORE_PORT, STORE_NUMBER = 6399, 1
SURVIVES_S = 45.0
HOSTS = ("sidecars-a", "sidecars-b")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet-state")
    made = Fleet(directory, "", number=25 + WORKER)
    made.ivr_path.write_text(IVRS.format(web=FakeWebApp(made.web, WEB_PORT).url))
    with made.site_path.open("a") as site:
        site.write(f"state: valkey://{made.web}:{STORE_PORT}/{STORE_NUMBER}\n")
    # It starts before its host's address is there.
    async with running_redis(directory / "store", ("0.0.0.0", STORE_PORT), "", ["protected-mode no"]), made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def web(fleet: Fleet) -> AsyncIterator[FakeWebApp]:
    async with FakeWebApp(fleet.web, WEB_PORT) as app:
        yield app


class Loss:
    """Of the host that has the call of `caller`."""

    def __init__(self, fleet: Fleet, caller: str) -> None:
        self._fleet = fleet
        self._caller = caller

    async def happens(self, is_kept: Callable[[dict[str, Any]], bool]) -> None:
        """Returns when another host has the call. It is lost once the store has it as `is_kept` wants it.

        A busy disk makes the store as slow as a second. A call that is lost before that goes on from an older step.
        """
        await until(lambda: any(map(self._calls_at, HOSTS)), SURVIVES_S, "the call in a log")
        self.host = next(name for name in HOSTS if self._calls_at(name))
        self.heir = next(name for name in HOSTS if name != self.host)
        self.call_id = str(self._calls_at(self.host)[-1]["call_id"])
        await until(lambda: any(map(is_kept, self._kept())), SURVIVES_S, "the call in the store")
        await self._fleet.cut_off(self.host)
        self.cut_at = time.monotonic()
        await self._logged(self._fleet.parts[self.heir], event="call taken over")

    def _kept(self) -> Iterator[dict[str, Any]]:
        """What the store has of the call (`sidecar.call.saved`)."""
        with Valkey(
            self._fleet.web, STORE_PORT, db=STORE_NUMBER, decode_responses=True, socket_timeout=PATIENT_S
        ) as store:
            for sidecar in store.keys("ci:*:calls:*"):
                for key, call in store.hgetall(sidecar).items():
                    if key.endswith(self.call_id):
                        yield json.loads(call)

    def _calls_at(self, name: str) -> list[dict[str, Any]]:
        return self._fleet.parts[name].entries(event="call", caller=self._caller)

    async def ends(self) -> None:
        """The host is back; returns when it has given the call up."""
        await self._fleet.plug_in(self.host)
        await self._logged(self._fleet.parts[self.host], event="call given up")

    async def _logged(self, part: Part, **fields: Any) -> None:
        await until(lambda: bool(part.entries(call_id=self.call_id, **fields)), SURVIVES_S, str(fields))


def call(fleet: Fleet, number: str, caller: str) -> Phone:
    return Phone(fleet.edge_a, number, host=fleet.carrier, caller=caller, arguments=ANSWERS_UPDATE)


async def test_a_menu_goes_on(fleet: Fleet, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(""))
    async with call(fleet, MENU, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        loss = Loss(fleet, caller)
        await loss.happens(lambda call: call["step"]["is_playing"])
        await phone.sound.send_digits("1")
        assert (await web.request(caller)).query["is"] == "1"
        await phone.hung_up()
        await loss.ends()


async def test_a_talk_goes_on(fleet: Fleet, web: FakeWebApp, caller: str) -> None:
    """Both phones learn the other host's address; the lost one, when it is back, says nothing to them."""
    web.on(caller, transfer(FIRST))
    async with (
        Callee(fleet.edge_a, (fleet.phone, PHONE_PORT), arguments=ANSWERS_UPDATE) as callee,
        call(fleet, TRANSFER, caller) as phone,
    ):
        await connected(phone, callee)
        loss = Loss(fleet, caller)
        saying = asyncio.gather(phone.sound.send_tone(ONE_HZ, 4), callee.sound.send_tone(OTHER_HZ, 4))
        await loss.happens(lambda call: call["callee"] is not None and "dialog" in call["callee"]["leg"])
        for sipp in (phone.sipp, callee.sipp):
            update = await sipp.wait_for("UPDATE", within_s=5)
            assert f"<sip:{fleet.lan_prefix}." in update.header("Contact")
        await saying
        # The lost one is without RTPengine for longer than a call may be, but it is without its store too.
        await asyncio.sleep(max(loss.cut_at + WAIT_S + 1 - time.monotonic(), 0))
        await loss.ends()
        await both_hear(phone.sound, callee.sound)
        phone.sipp.nudge()
        await phone.sipp.finished(within_s=8)
        await callee.hung_up()
