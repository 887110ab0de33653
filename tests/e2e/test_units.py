"""The units' own commands with a systemd of the test's: told when a part is ready, told that it lives, and it stops.

Only systemd itself is missing here; `make test-deb` boots one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.config import load_site
from callinteractive.keys import VARIABLE
from cli.probe import answers_options
from cli.programs import locate
from cli.rtpengine import answers_ping
from tests.e2e.conftest import own_net
from tests.support.phone import Phone
from tests.support.stack import write_tones
from tests.support.timing import PATIENT_S

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "units"
NET_OF_UNITS = own_net()
IN_ORDER = ("rtpengine", "kamailio", "sidecar@0", "sidecar@1")
"""As they are started. They are stopped the other way round."""
WATCHDOG_S = 1.5
KEY = "5" * 32
READY_S = 30
IVR = """
ivrs: [{number: "000*100", id: 1, entry_context: 1}]
contexts: {1: {options: {start: [{play_sound: {file: tone-440-3000.wav, where: background}}], "5": [hangup]}}}
"""


class Unit:
    """What systemd does of `callinteractive-NAME.service`, in a process group in place of a control group."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._socket = folder / f"notify-{name}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(self._socket))
        self._listener.setblocking(False)

    async def __aenter__(self) -> Unit:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self.process.wait()
        self._listener.close()

    async def start(self) -> None:
        """Returns once it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(locate("setpriv"), "--pdeathsig", "TERM", "--", *self._command()),
                env={
                    **os.environ,
                    VARIABLE: KEY,
                    "NOTIFY_SOCKET": str(self._socket),
                    "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
                    "CACHE_DIRECTORY": str(self._folder / "cache"),
                    "STATE_DIRECTORY": str(self._folder / "state"),
                },
                process_group=0,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        assert await self.told(within_s=READY_S) == "READY=1", self.log.read_text()

    def _command(self) -> list[str]:
        template = re.sub("@.*", "@", self.name)
        text = (UNITS / f"callinteractive-{template}.service").read_text()
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        line = line.replace("%i", self.name.partition("@")[2]).replace("/etc/callinteractive", str(self._folder))
        return [sys.executable, "-m", "callinteractive", *shlex.split(line.replace("/run/", f"{self._folder}/"))[1:]]

    async def told(self, within_s: float) -> str:
        """The next word, but for what it wants kept (`sidecar.descriptor_store`); "nothing" when none comes."""
        try:
            async with asyncio.timeout(within_s):
                while (word := await asyncio.get_running_loop().sock_recv(self._listener, 1000)).startswith(b"FDSTORE"):
                    pass
                return word.decode()
        except TimeoutError:
            return "nothing"

    def forget(self) -> None:
        """What it has said so far."""
        with suppress(BlockingIOError):
            while True:
                self._listener.recv(1000)

    async def stop(self) -> int:
        """As systemd with KillMode=mixed: SIGTERM to the main process, SIGKILL to those that are left. The status."""
        self.process.terminate()
        async with asyncio.timeout(PATIENT_S):
            status = await self.process.wait()
        self.kill()
        return status

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def program(self) -> str:
        """What the process that was started has become."""
        return Path(f"/proc/{self.process.pid}/comm").read_text().strip()

    def of_the_part(self) -> Iterator[int]:
        """The processes of the part itself: it and its workers, less the watch beside it."""
        yield self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        yield from map(int, children.read_text().split())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def units(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Unit]]:
    folder = tmp_path_factory.mktemp("units")
    (folder / "site.yaml").write_text(NET_OF_UNITS.site_yaml(sidecars=2))
    (folder / "ivr.yaml").write_text(IVR)
    write_tones(folder / "sounds")
    async with AsyncExitStack() as stack:
        started = {}
        for name in IN_ORDER:
            unit = Unit(name, folder)
            await unit.start()
            started[name] = await stack.enter_async_context(unit)
        yield started


async def answers(name: str) -> bool:
    """What a caller of the part would see."""
    site = load_site(NET_OF_UNITS.site_yaml(sidecars=2), "site.yaml")
    if name == "rtpengine":
        return await answers_ping(*site.rtpengines[0].ng)
    return await answers_options(
        site.edges[0].udp_address if name == "kamailio" else site.sidecars[int(name.partition("@")[2])].address
    )


async def place_a_call() -> None:
    net = NET_OF_UNITS
    async with Phone(net.sip, "000*100", host=net.carrier, caller="+15550123") as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("5")
        await phone.hung_up()


async def test_ready_alive_killed_and_stopped(units: dict[str, Unit]) -> None:
    """One test, because starting the parts takes longer than the rest."""
    await place_a_call()
    assert [units[name].program for name in ("rtpengine", "kamailio")] == ["rtpengine", "kamailio"]
    await asyncio.gather(*(is_silent_when_it_hangs(unit) for unit in units.values()))
    for unit in units.values():
        await is_ready_again_after_a_kill(unit)
    await place_a_call()
    for name in reversed(IN_ORDER):
        assert await units[name].stop() == 0, name
        assert not await answers(name)


async def is_silent_when_it_hangs(unit: Unit) -> None:
    """systemd would kill it after that time. The watch beside it may be faster."""
    unit.forget()
    assert await unit.told(within_s=2 * WATCHDOG_S) == "WATCHDOG=1", unit.name
    for pid in unit.of_the_part():
        os.kill(pid, signal.SIGSTOP)
    await unit.told(within_s=0.5)  # one may have been on its way
    assert await unit.told(within_s=WATCHDOG_S) == "nothing", unit.name


async def is_ready_again_after_a_kill(unit: Unit) -> None:
    unit.kill()
    await unit.process.wait()
    unit.forget()
    assert not await answers(unit.name)
    await unit.start()
    assert await answers(unit.name)
