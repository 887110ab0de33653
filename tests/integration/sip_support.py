"""Real peers for the SIP user agent: SIPp, and a Kamailio that does nothing but relay and record routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cli.programs import locate
from sidecar.sip import Address, Event, Leg, UaConfig
from tests.support.timing import PATIENT_S
from tests.support.workers import WORKER

FILES = Path(__file__).parent / "sipp"
HOST = f"127.10.{WORKER + 1}"  # a loopback net of each pytest worker's own
AGENT = Address(f"{HOST}.1", 20000)
PROXY = Address(f"{HOST}.2", 20060)
SIPP = Address(f"{HOST}.3", 20070)
FORKS = (Address(f"{HOST}.4", 20080), Address(f"{HOST}.5", 20080))
FAST = UaConfig(t1_s=0.05, t2_s=0.2, t4_s=0.2)  # short, so that a test can wait for all timers
SDP = (
    f"v=0\r\no=- 1 1 IN IP4 {AGENT.host}\r\ns=-\r\nc=IN IP4 {AGENT.host}\r\nt=0 0\r\nm=audio 20500 RTP/AVP 0\r\n"
).encode()


class Inbox:
    """A leg's events, awaited one by one."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.listen = self.events.put_nowait

    async def next(self, within_s: float = PATIENT_S) -> Event:
        async with asyncio.timeout(within_s):
            return await self.events.get()


@asynccontextmanager
async def sipp(scenario: str, local: Address = SIPP, target: Address = PROXY, **keys: str) -> AsyncIterator[Sipp]:
    """A SIPp that runs the scenario once. The end of the context waits until it has succeeded."""
    process = await asyncio.create_subprocess_exec(
        "sipp",
        "-sf",
        str(FILES / f"{scenario}.xml"),
        "-i",
        local.host,
        "-p",
        str(local.port),
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "20s",
        "-trace_err",
        "-error_file",
        "/dev/stderr",
        *[part for name, value in keys.items() for part in ("-key", name, value)],
        str(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _bound(local)
        yield process
        _, complaints = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, complaints.decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


Sipp = asyncio.subprocess.Process


async def _bound(address: Address) -> None:
    """Wait until somebody has bound the address."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(address)
                except OSError:
                    return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def proxy(run_dir: Path) -> AsyncIterator[None]:
    """Kamailio at PROXY."""

    def define(name: str, value: str) -> tuple[str, str]:
        return "-A", f"{name}={value}"

    process = await asyncio.create_subprocess_exec(
        "setpriv",
        "--pdeathsig",
        "TERM",
        "--",
        locate("kamailio"),
        "-f",
        str(FILES / "sip_proxy.cfg"),
        "-DD",
        "-E",
        "-Y",
        str(run_dir),
        "-P",
        str(run_dir / "pid"),
        "-m",
        "32",
        "-M",
        "8",
        *define("LISTEN", f"udp:{PROXY}"),
        *define("FORK_A", f'"sip:fork@{FORKS[0]}"'),
        *define("FORK_B", f'"sip:fork@{FORKS[1]}"'),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _answers(PROXY, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.communicate(), 10)


async def _answers(address: Address, process: asyncio.subprocess.Process) -> None:
    """Probe with OPTIONS until there is a reply."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.bind((SIPP.host, 0))
        name = "{}:{}".format(*probe.getsockname())
        options = (
            f"OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {name};branch=z9hG4bKprobe\r\n"
            f"From: <sip:probe@{name}>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n"
        )
        for _ in range(100):
            assert process.returncode is None, (await process.communicate())[1].decode()
            probe.sendto(options.encode(), address)
            try:
                await asyncio.wait_for(loop.sock_recv(probe, 4096), 0.1)
                return
            except (TimeoutError, ConnectionRefusedError):
                await asyncio.sleep(0.05)
    raise AssertionError("Kamailio does not answer")


def listen(leg: Leg) -> Inbox:
    inbox = Inbox()
    leg.listener = inbox.listen
    return inbox
