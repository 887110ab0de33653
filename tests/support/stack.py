"""A real stack for tests: `callinteractive run`, as an operator starts it, on its own loopback net."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
import wave
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from callinteractive.config import load_site
from callinteractive.model import Address, Site
from cli.probe import answers_options
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.ready import MARK
from tests.support.audio import tone
from tests.support.timing import PATIENT_S

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
POLL_S = 0.05
REACHES_S = 0.2
"""By then its sidecar has what a phone has sent."""
UNSAVED = "callinteractive_state_unsaved"
SAMPLE_RATE = 8000

SITE = """\
node: 3584705175
sip: {{listen: ["udp:{net}.1:{port}", "tcp:{net}.1:{port}"]}}
trunks:
  - {{name: carrier, from: ["{net}.2/32"], to: "sip:{net}.2:{carrier_port}"}}
  - {{name: second, from: ["{net}.6/32"], to: "sip:{net}.6:{carrier_port}"}}
extensions:
  - {{number: "000*306", id: 134, contact: "sip:306@{net}.3:{phone_port}"}}
  - {{number: "000*307", id: 135, contact: "sip:307@{net}.4:{phone_port}"}}
  - {{number: "000*308", id: 136, password: secret}}
sidecars: {{count: {sidecars}, host: {net}.1, base_port: {sidecar_port}, metrics_port: {metrics_port}}}
rtpengine: {{ng: "{net}.1:{ng_port}", interface: {net}.1, ports: [{rtp_first}, {rtp_last}]}}
sounds: ./sounds
events: {{file: events.jsonl}}
drain_s: 0
api: no
"""


@dataclass(frozen=True)
class Net:
    """A loopback /24 for one stack: .1 the stack, .2 and .6 carriers, .3 and .4 phones, .5 a stranger, .9 the web."""

    prefix: str
    base_port: int

    @property
    def stack(self) -> str:
        return f"{self.prefix}.1"

    @property
    def carrier(self) -> str:
        return f"{self.prefix}.2"

    @property
    def phone(self) -> str:
        return f"{self.prefix}.3"

    @property
    def second_phone(self) -> str:
        return f"{self.prefix}.4"

    @property
    def stranger(self) -> str:
        return f"{self.prefix}.5"

    @property
    def second_carrier(self) -> str:
        return f"{self.prefix}.6"

    @property
    def web(self) -> str:
        return f"{self.prefix}.9"

    @property
    def sip(self) -> tuple[str, int]:
        return self.stack, self.base_port + 60

    @property
    def carrier_port(self) -> int:
        """The port of both carriers."""
        return self.base_port + 61

    @property
    def phone_port(self) -> int:
        """The port of both phones."""
        return self.base_port + 62

    @property
    def web_port(self) -> int:
        return self.base_port + 80

    def site_yaml(self, sidecars: int) -> str:
        return SITE.format(
            net=self.prefix,
            port=self.base_port + 60,
            carrier_port=self.carrier_port,
            phone_port=self.phone_port,
            sidecar_port=self.base_port + 70,
            ng_port=self.base_port + 50,
            metrics_port=self.base_port + 90,
            rtp_first=self.base_port + 200,
            rtp_last=self.base_port + 1599,
            sidecars=sidecars,
        )


class RunningStack:
    """``async with RunningStack(net, directory, ivr_yaml) as stack``: ready in the block, completely gone after it."""

    def __init__(
        self,
        net: Net,
        directory: Path,
        ivr_yaml: str,
        *,
        sidecars: int = 2,
        replace: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "callinteractive"),
        cwd: Path | None = None,
        temporary: Path | None = None,
    ) -> None:
        """`replace` changes pieces of the text of site.yaml. `command` is run in `cwd`; by default ours, here.

        temporary: a short path, where its run directory is to be. One that is killed leaves it.
        """
        self.net = net
        self._command, self._cwd = command, cwd
        self._environment = {"TMPDIR": str(temporary)} if temporary else {}
        self.site_path = directory / "site.yaml"
        self.ivr_path = directory / "ivr.yaml"
        self.ivr = ""
        """A URL in place of the file."""
        directory.mkdir(parents=True, exist_ok=True)
        site = net.site_yaml(sidecars)
        for old, new in (replace or {}).items():
            assert old in site, f"{old!r} is not in the site"
            site = site.replace(old, new)
        self.site_path.write_text(site)
        self.ivr_path.write_text(ivr_yaml)
        write_tones(directory / "sounds")
        self.site: Site = load_site(self.site_path.read_text(), str(self.site_path))
        self.log: list[str] = []
        self.output: int | None = None
        """Where stdout and stderr go instead of into `log`; readiness is then asked for over SIP."""
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> RunningStack:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note("\n".join(self.log[-80:]))
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it prints that it is ready; fails with its log otherwise."""
        self._process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", "--", *self._command, "run", "--log-format", "json"),
            *("--site", str(self.site_path), "--ivr", self.ivr or str(self.ivr_path)),
            *("--state-dir", str(self.site_path.parent / "state")),
            cwd=self._cwd,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if self.output is None else self.output,
            stderr=asyncio.subprocess.PIPE if self.output is None else self.output,
            limit=1024 * 1024,
        )
        self._reader = asyncio.create_task(self._read_log())
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self._readiness()
        except TimeoutError:
            line = "nothing"
        expected = f"ready sip:{self.net.sip[0]}:{self.net.sip[1]}\n"
        if line != expected:
            await self.stop()
            raise AssertionError(f"expected {expected!r}, got {line!r}\n" + "\n".join(self.log[-60:]))
        # Each sidecar's gauges before the first call: it has a few tasks and timers of its own.
        self.idle = [await self.metrics(index) for index in range(len(self.site.sidecars))]

    async def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as an operator does; returns the exit status. Does nothing if it does not run."""
        if self._process is None:
            return 0
        if self.process.returncode is None:
            # Not send_signal(): it polls, and may take the exit status away from asyncio.
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, with_signal)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                status = await self.process.wait()
                await self._reader
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"still running {STOP_TIMEOUT_S} s after {with_signal.name}") from None
        return status

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The supervisor."""
        assert self._process is not None, "not started"
        return self._process

    def pid(self, part: str) -> int:
        """The current process id of a part."""
        found = re.findall(rf"{part} is ready \(pid (\d+)\)", "\n".join(self.log))
        assert found, f"no {part} in the log"
        return int(found[-1])

    def starts(self, part: str) -> int:
        """How many times a part has become ready."""
        return len(re.findall(rf"{part} is ready ", "\n".join(self.log)))

    def entries(self, since: int = 0, **fields: str) -> list[dict[str, Any]]:
        """The log entries with these fields, from line `since` on."""
        entries = [json.loads(line) for line in self.log[since:]]
        return [entry for entry in entries if fields.items() <= entry.items()]

    async def logged(self, within_s: float = PATIENT_S, since: int = 0, **fields: str) -> dict[str, Any]:
        """Wait for the first entry with these fields."""
        await until(lambda: bool(self.entries(since, **fields)), within_s, f"log entry with {fields}")
        return self.entries(since, **fields)[0]

    async def story(self, caller: str) -> list[dict[str, Any]]:
        """The records of the only call from `caller`, by their numbers, once it has ended (`events.file`)."""
        return await self.stories(caller, 1)

    async def stories(self, caller: str, number: int) -> list[dict[str, Any]]:
        """The same of so many calls."""
        file = self.site_path.parent / "events.jsonl"

        def read() -> list[dict[str, Any]]:
            records = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            ids = {record["call_id"] for record in records if record.get("caller_number") == caller}
            return sorted((record for record in records if record["call_id"] in ids), key=itemgetter("seq"))

        def is_over() -> bool:
            return len([record for record in read() if record["event"] == "call.ended"]) >= number

        await until(is_over, PATIENT_S, "call.ended")
        return read()

    async def metrics(self, index: int) -> dict[str, float]:
        """The gauges and counters of a sidecar, without those that have labels other than the RTPengine's name."""
        url = f"http://{self.site.sidecars[index].metrics}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {sample.name: sample.value for sample in samples if not sample.labels.keys() - {"rtpengine"}}

    async def kept(self) -> None:
        """Wait until the store has all calls as they are now: then whoever dies loses nothing of them."""
        await asyncio.sleep(REACHES_S)
        async with asyncio.timeout(PATIENT_S):
            while any([(await self.metrics(index))[UNSAVED] for index in range(len(self.site.sidecars))]):
                await asyncio.sleep(POLL_S)

    async def media_calls(self) -> list[str]:
        """The calls that RTPengine holds, without the sessions that wait for a caller (`sidecar.media.ready`)."""
        names = [str(name) for name in (await self.ng({"command": "list", "limit": "1000"}))["calls"]]
        return [name for name in names if MARK not in name or await self._is_used(name)]

    async def _is_used(self, name: str) -> bool:
        return CALLER_TAG in (await self.ng({"command": "query", "call-id": name})).get("tags", ())

    async def ng(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one command to RTPengine by its NG protocol; returns the reply."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[bytes] = loop.create_future()

        class _Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _addr: Any) -> None:
                if not reply.done():
                    reply.set_result(data)

        ng = self.site.rtpengines[0].ng
        transport, _ = await loop.create_datagram_endpoint(_Client, remote_addr=(ng.host, ng.port))
        try:
            transport.sendto(f"test{time.time_ns()} ".encode() + json.dumps(command).encode())
            async with asyncio.timeout(PATIENT_S):
                return dict(json.loads((await reply).partition(b" ")[2]))
        finally:
            transport.close()

    async def _readiness(self) -> str:
        """The line that it prints when it is ready, or would print."""
        if self.process.stdout is not None:
            return (await self.process.stdout.readline()).decode()
        while not await answers_options(Address(*self.net.sip)):
            await asyncio.sleep(POLL_S)
        return f"ready sip:{self.net.sip[0]}:{self.net.sip[1]}\n"

    async def _read_log(self) -> None:
        if self.process.stderr is None:
            return
        while line := await self.process.stderr.readline():
            self.log.append(line.decode("utf-8", "replace").rstrip())


async def until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Check the condition every 50 ms; fails if it does not become true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        await asyncio.sleep(POLL_S)


def write_tones(directory: Path) -> None:
    """Write the tests' sounds, ``tone-<Hz>-<ms>.wav``: the name says what a test must hear, and for how long."""
    directory.mkdir(parents=True, exist_ok=True)
    for frequency in (440, 660, 880, 1100):
        for duration_ms in (400, 1000, 3000):
            with wave.open(str(directory / f"tone-{frequency}-{duration_ms}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(SAMPLE_RATE)
                file.writeframes(tone((frequency,), duration_ms / 1000, SAMPLE_RATE).tobytes())
