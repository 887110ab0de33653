"""All hosts of a fleet are restarted, one after the other, while calls come in: none is lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.carrier import ANSWERED, Carrier
from tests.support.fleet import Fleet
from tests.support.hosts import can_be_made
from tests.support.stack import until
from tests.support.workers import WORKER

pytestmark = [
    pytest.mark.skipif(not can_be_made(), reason="hosts need root and iptables"),
    pytest.mark.load,
    pytest.mark.timeout(600),
]
RATE = float(os.environ.get("ROLLING_RATE", "5"))
IVR = """
ivrs: [{number: "000*100", id: 1, entry_context: a}]
contexts: {a: {options: {start: [{pause: {length: 1}}, hangup]}}}
"""
KNOWN_S = 2.5
"""Then every edge uses a sidecar again that was away."""


async def test_every_host_but_those_with_the_sound(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", IVR, number=30 + WORKER)
    fleet.site_path.write_text(fleet.site_path.read_text().replace("drain_s: 0", "drain_s: 20"))
    async with fleet:
        carrier = Carrier((fleet.carrier, 5077), (fleet.edge_a, fleet.edge_b), "000*100", RATE)
        async with carrier:
            for name in ("sidecars-a", "sidecars-b", "edge-a", "edge-b"):
                seen = carrier.results[ANSWERED]
                await until(lambda: carrier.results[ANSWERED] > seen + RATE, 20, "calls go on")  # noqa: B023
                await fleet.parts[name].stop()
                seen = carrier.results[ANSWERED]
                await until(lambda: carrier.results[ANSWERED] > seen + RATE, 20, f"calls without {name}")  # noqa: B023
                await fleet.parts[name].start()
                await asyncio.sleep(KNOWN_S)
        print(f"{dict(carrier.results)} at {RATE}/s, {carrier.tried_again} were sent to the other edge")
        reasons = {str(entry.get("reason")) for part in fleet.parts.values() for entry in part.entries(level="warning")}
        print(reasons)
        assert carrier.results.keys() == {ANSWERED}
        assert carrier.tried_again
