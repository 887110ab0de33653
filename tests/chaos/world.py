"""A stack with a carrier, a web application and a store around it, each a process of its own, which faults may hit."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
import wave
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.chaos import web
from tests.chaos.calls import IVRS, SOUNDS
from tests.chaos.exchange import Exchange, Leg
from tests.chaos.faults import (
    KAMAILIO,
    OTHER_SIDECAR,
    RTPENGINE,
    SIDECAR,
    STOP,
    STOPPED_S,
    STORE,
    SUPERVISOR,
    VICTIM,
    WEB,
    WORKER,
    Fault,
    send_signal,
)
from tests.support.audio import tone
from tests.support.redis import RunningRedis
from tests.support.stack import SAMPLE_RATE, Net, RunningStack

_NAMES = {SIDECAR: f"sidecar-{VICTIM}", OTHER_SIDECAR: "sidecar-1", RTPENGINE: "rtpengine", KAMAILIO: "kamailio"}
RESTART_S = 30.0
UP_AGAIN_S = 1.0
"""After so long its supervisor starts again what is not ours: the web application, the store, `run`."""
SECOND = '  - {{name: second, from: ["{net}.6/32"], to: "sip:{net}.6:{port}"}}\n'
PASSWORD = "chaos"


class Parties:
    """The parties of the calls, and what calls need of the world. `struck_s`: when the fault began.

    `exchange` is the carrier that calls come from and go to; callers of `anchored` are of a trunk with `anchor_media`.
    """

    web: Web
    target: tuple[str, int]

    def __init__(self, carrier: tuple[str, int], anchored: tuple[str, int]) -> None:
        self.exchange = Exchange(*carrier, on_call=self._on_call)
        self.anchored = Exchange(*anchored, on_call=self._on_call)
        self.struck_s, self.struck_part = 0.0, ""
        self._at_once: set[str] = set()
        self._numbers = itertools.count(1)

    def is_struck(self, leg: Leg, part: str) -> bool:
        """Whether a fault of that part concerns the call of that leg."""
        raise NotImplementedError

    async def strike(self, fault: Fault) -> None:
        """Do it, and return when all supervisors have done what they can."""
        raise NotImplementedError

    async def left(self) -> list[str]:
        """What ended calls have left in RTPengine."""
        raise NotImplementedError

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def new_caller(self) -> str:
        return f"+1555{next(self._numbers):07d}"

    def call(self, number: str, caller: str, *, is_anchored: bool = False) -> Leg:
        return (self.anchored if is_anchored else self.exchange).call(self.target, number, caller)

    def answers_at_once(self, caller: str) -> None:
        """Whom this caller is transferred to picks up when it rings."""
        self._at_once.add(web.callee_of(caller))

    async def called(self, caller: str, within_s: float) -> Leg | None:
        """The leg that this caller is transferred to."""
        return await self.exchange.called(web.callee_of(caller), within_s)

    def callees_of(self, caller: str) -> list[Leg]:
        return self.exchange.calls_to(web.callee_of(caller))

    async def asked(self, caller: str, path: str, within_s: float) -> list[dict[str, Any]]:
        """What the web application was asked for this caller there."""
        deadline = self.now() + within_s
        while not (found := [each for each in self.web.requests(path) if each["caller"] == caller]):
            if self.now() >= deadline:
                break
            await asyncio.sleep(0.05)
        return found

    async def heard_since(self, leg: Leg, since_s: float, within_s: float) -> float | None:
        """After how many seconds the leg has heard a prompt. None if it does not in time."""
        deadline = self.now() + within_s
        while True:
            if later := [at for at in leg.voice.heard_anything() if at > since_s]:
                return later[0] - since_s
            if self.now() > deadline or leg.ended.is_set():
                return None
            await asyncio.sleep(0.05)

    async def both_hear(self, one: Leg, other: Leg, within_s: float) -> bool:
        """Whether each hears the other, from now on."""
        began_s = self.now()
        while self.now() < began_s + within_s:
            if all(a.voice.heard(b.voice)[-1:] > [began_s] for a, b in ((one, other), (other, one))):
                return True
            await asyncio.sleep(0.05)
        return False

    async def until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = self.now() + within_s
        while not condition():
            assert self.now() < deadline, f"{what}: not within {within_s:g} s"
            await asyncio.sleep(0.05)

    def _on_call(self, leg: Leg) -> None:
        if leg.number in self._at_once:
            leg.answer()


class World(Parties):
    """``async with World(net, directory) as world``: ready in the block."""

    def __init__(self, net: Net, directory: Path, *, has_store: bool = True, sidecars: int = 2) -> None:
        """has_store: calls are kept in a Redis server, not in a file of the machine."""
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__((net.carrier, net.carrier_port), (net.second_carrier, net.carrier_port))
        self.net, self.target = net, net.sip
        self.redis = RunningRedis(directory, (net.web, net.web_port + 2), PASSWORD) if has_store else None
        anchored = SECOND.format(net=net.prefix, port=net.carrier_port)
        replace = {anchored: anchored.replace("}", ", anchor_media: yes}")}
        # Enough ports also right after a death, when calls that have ended still hold theirs.
        replace[f"{net.base_port + 1599}]"] = f"{net.base_port + 20_199}]"
        if self.redis:
            state = f'state: {{url: "redis://{net.web}:{net.web_port + 2}/3", password: {PASSWORD}}}\n'
            replace["sounds: ./sounds\n"] = f"sounds: ./sounds\n{state}"
        ivr = IVRS.format(web=f"http://{net.web}:{net.web_port}")
        self.stack = RunningStack(
            net, directory / "stack", ivr, sidecars=sidecars, replace=replace, temporary=directory
        )
        write_sounds(directory / "stack" / "sounds")
        self.web = Web((net.web, net.web_port), directory / "web.log")
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> World:
        if self.redis:
            await self.redis.start()
            self._resources.push_async_callback(self.redis.kill)
        for part in (self.web, self.stack, self.exchange, self.anchored):
            await self._resources.enter_async_context(part)  # type: ignore[arg-type]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    def is_struck(self, leg: Leg, part: str) -> bool:  # noqa: ARG002
        """All faults strike calls of the same sidecar, so that they can be compared."""
        port = int(leg.target.rpartition(":")[2].partition(";")[0])
        return self.stack.site.sidecars[VICTIM].address.port == port

    async def strike(self, fault: Fault) -> None:
        """SIGSTOP lasts `STOPPED_S`."""
        pid = self.pid_of(fault.part)
        if fault.how == STOP:
            send_signal(pid, signal.SIGSTOP)
            await asyncio.sleep(STOPPED_S)
            send_signal(pid, signal.SIGCONT)
            return
        send_signal(pid, signal.SIGKILL)
        if fault.part in (STORE, SUPERVISOR, WEB):
            await asyncio.sleep(UP_AGAIN_S)
            await self._start_again(fault.part)

    async def _start_again(self, part: str) -> None:
        """As systemd does with these."""
        if part == STORE:
            assert self.redis is not None
            await self.redis.kill()
            await self.redis.start()
        elif part == WEB:
            await self.web.kill()
            await self.web.start()
        else:
            await self.stack.process.wait()
            deadline = self.now() + RESTART_S
            while self.stack.process.returncode is not None:
                try:
                    await self.stack.start()
                except AssertionError:  # its old parts still end
                    if self.now() > deadline:
                        raise
                    await asyncio.sleep(UP_AGAIN_S)

    def pid_of(self, part: str) -> int:
        if part in _NAMES:
            return self.stack.pid(_NAMES[part])
        if part == WORKER:
            main = self.stack.pid("kamailio")
            return int(Path(f"/proc/{main}/task/{main}/children").read_text().split()[0])
        if part == SUPERVISOR:
            return self.stack.process.pid
        process = self.redis if part == STORE else self.web.process
        assert process is not None
        return process.pid

    async def left(self) -> list[str]:
        return await self.stack.media_calls()


class Web:
    """The web application's process. It remembers nothing, so it may be started again at any time."""

    def __init__(self, address: tuple[str, int], log: Path, inside: tuple[str, ...] = ()) -> None:
        """`inside`: what to put before its command, so that it runs on another host."""
        self.address, self._log, self._inside = address, log, inside
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Web:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        host, port = self.address
        self.process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *self._inside),
            *(sys.executable, "-m", "tests.chaos.web", host, str(port), str(self._log)),
        )
        deadline = time.monotonic() + 20
        while not await self._is_up():
            assert time.monotonic() < deadline, "the web application does not start"
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        if self.process and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    def requests(self, path: str) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["path"] == path]

    async def _is_up(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        return True


def write_sounds(directory: Path) -> None:
    """Long prompts, named like those of `write_tones`."""
    for frequency, duration_ms in SOUNDS:
        with wave.open(str(directory / f"tone-{frequency}-{duration_ms}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(tone((frequency,), duration_ms / 1000, SAMPLE_RATE).tobytes())
