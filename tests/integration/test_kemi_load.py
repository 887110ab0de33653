"""SIPp on both sides of a real Kamailio: a few hundred calls, none fails, none is repeated, nothing is left."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

from tests.integration import kemi_support as sip

SCENARIOS = Path(__file__).parent / "sipp"
CALLS = 400


async def test_calls_in_a_row(tmp_path: Path) -> None:
    async with sip.running_kamailio(tmp_path) as kamailio:
        sidecars = [await sipp(tmp_path, "sidecar", f"{host}:{port}") for host, port in sip.SIDECARS]
        try:
            await kamailio.until("dispatcher.list", shows=lambda out: out.count("FLAGS: AP") == 2, timeout_s=15)
            caller = await sipp(
                tmp_path,
                "caller",
                f"{sip.TRUNK}:22082",
                *("-s", "332", "-m", str(CALLS), "-r", "100", "-trace_stat", "-stf", str(tmp_path / "stat.csv")),
                f"{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}",
            )
            async with asyncio.timeout(30):
                assert await caller.wait() == 0
        finally:
            for process in sidecars:
                process.kill()
                await process.wait()
        last = read_statistics(tmp_path / "stat.csv")[-1]
        assert last["SuccessfulCall(C)"] == str(CALLS)
        assert (last["FailedCall(C)"], last["Retransmissions(C)"]) == ("0", "0")
        await kamailio.rpc("dispatcher.ping_active", "0")
        await kamailio.until("tm.stats", shows=lambda out: "current: 0" in out, timeout_s=20)


async def sipp(folder: Path, scenario: str, local: str, *arguments: str) -> asyncio.subprocess.Process:
    host, _, port = local.partition(":")
    command = ("sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", host, "-p", port, "-nostdin", *arguments)
    return await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )


def read_statistics(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter=";"))
