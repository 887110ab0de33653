"""SIPp on both sides of a real Kamailio: a few hundred calls, none fails, nothing is left."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import RunningKamailio

SCENARIOS = Path(__file__).parent / "sipp"
CALLS = 300

pytestmark = pytest.mark.load


async def test_calls_in_a_row(tmp_path: Path) -> None:
    async with sip.running_kamailio(tmp_path) as kamailio:
        sidecars = [await sipp(tmp_path, "sidecar", f"{host}:{port}") for host, port in sip.SIDECARS]
        try:
            await kamailio.until_flagged("AP", *sip.SIDECARS)
            await call_all(tmp_path, "caller", f"{sip.TRUNK}:22082", "332")
        finally:
            for process in sidecars:
                process.kill()
                await process.wait()
        await nothing_left(kamailio)


async def test_transfers_in_a_row(tmp_path: Path) -> None:
    facts = CallFacts("a" * 32, "1:" + "a" * 32, "7", "Ivan", "332", "000*332", 145)
    headers = {
        "transfer": TransferHeader(("000*306",), 10),
        "facts": CallHeader(facts),
        "caller": CallerHeader("Иван", "+7903"),
    }
    keys = [word for name, header in headers.items() for word in ("-key", name, str(header))]
    async with sip.running_kamailio(tmp_path) as kamailio:
        # The phone must tolerate retransmissions.
        phone = await sipp(tmp_path, "phone", f"{sip.EXTENSION}:22090", "-default_behaviors", "all,-abortunexp")
        try:
            await call_all(tmp_path, "transfer", f"{sip.SIDECAR}:22070", "transfer", *keys)
        finally:
            phone.kill()
            await phone.wait()
        await nothing_left(kamailio)


async def call_all(folder: Path, scenario: str, local: str, number: str, *arguments: str) -> None:
    """Make CALLS calls, of which none may fail."""
    statistics = folder / "stat.csv"
    caller = await sipp(
        folder,
        scenario,
        local,
        *("-s", number, "-m", str(CALLS), "-r", "25", "-trace_stat", "-stf", str(statistics), *arguments),
        f"{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}",
    )
    async with asyncio.timeout(60):
        status = await caller.wait()
    assert status == 0, errors_in(folder)
    last = read_statistics(statistics)[-1]
    assert last["SuccessfulCall(C)"] == str(CALLS)
    assert last["FailedCall(C)"] == "0"


def errors_in(folder: Path) -> str:
    """The messages that SIPp did not expect, without Kamailio's probes."""
    text = "".join(path.read_text() for path in folder.glob("*_errors.log"))
    return "\n".join(part for part in text.split("\n\n") if "OPTIONS sip:" not in part)


async def nothing_left(kamailio: RunningKamailio) -> None:
    await kamailio.rpc("dispatcher.ping_active", "0")  # the probes are transactions too
    await kamailio.until("tm.stats", shows=lambda out: "current: 0" in out, timeout_s=20)


async def sipp(folder: Path, scenario: str, local: str, *arguments: str) -> asyncio.subprocess.Process:
    host, _, port = local.partition(":")
    command = (
        "sipp",
        "-sf",
        str(SCENARIOS / f"{scenario}.xml"),
        "-i",
        host,
        "-p",
        port,
        "-nostdin",
        "-trace_err",
        *arguments,
    )
    return await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )


def read_statistics(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter=";"))
