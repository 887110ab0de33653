"""Questions to a stack's Kamailio, over the control socket that operators use."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.programs import locate
from tests.support.stack import POLL_S, RunningStack
from tests.support.timing import PATIENT_S

PROVISIONAL = "core:rcv_replies_1xx_invite"


async def kamcmd(stack: RunningStack, *command: str) -> str:
    """Run a kamcmd command; returns what it prints."""
    socket = f"unix:{_run_dir(stack.pid('kamailio'))}/ctl"
    kamcmd = (locate("kamcmd"), "-s", socket, *command)
    child = await asyncio.create_subprocess_exec(*kamcmd, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENT_S):
        out, _ = await child.communicate()
    return out.decode()


async def assert_no_transactions(stack: RunningStack, within_s: float = PATIENT_S) -> None:
    """Wait until it holds no transaction except those of its own probes. tm keeps an ended one for 5 s."""

    async def held() -> str:
        methods = re.findall(r"method: (\w+)", await kamcmd(stack, "tm.list"))
        left = Counter(method for method in methods if method != "OPTIONS")
        return ", ".join(f"{count} {method} transactions" for method, count in left.items())

    await _until_empty(held, within_s)


async def provisional_replies(stack: RunningStack) -> int:
    """How many 1xx replies to INVITEs it has received since it was started."""
    return int((await kamcmd(stack, "stats.fetchn", PROVISIONAL)).split(":")[-1].strip("} \n"))


async def provisional_reply_received(stack: RunningStack, since: int, within_s: float = PATIENT_S) -> None:
    """Wait until it has received more 1xx replies to INVITEs than `since`."""

    async def missing() -> str:
        received = await provisional_replies(stack)
        return "" if received > since else f"{received} provisional replies"

    await _until_empty(missing, within_s)


async def replies_passed_on(stack: RunningStack, count: int = 0, since: int = 0) -> int:
    """Wait until it has passed on that many replies more than `since`; how many since it was started."""

    async def passed() -> int:
        return int(re.findall(r"rpl_sent: (\d+)", await kamcmd(stack, "tm.stats"))[0])

    async def missing() -> str:
        return "" if await passed() >= since + count else f"fewer than {count} replies passed on"

    await _until_empty(missing, PATIENT_S)
    return await passed()


async def carriers_known(stack: RunningStack, *alive: str, within_s: float = 30.0) -> None:
    """Wait until Kamailio considers exactly the carriers at these addresses alive.

    It gives a carrier up after two probes without an answer, 8 s each.
    """

    async def otherwise() -> str:
        listed = re.findall(r"URI: sip:([\d.]+):(\d+)\s+FLAGS: (\w+)", await kamcmd(stack, "dispatcher.list"))
        flags = {host: flags for host, port, flags in listed if int(port) == stack.net.carrier_port}
        # A: active. I: inactive. T: silent once, but still chosen.
        is_so = all(known == ("AP" if host in alive else "IP") for host, known in flags.items())
        return "" if is_so else f"{flags}, wanted {alive}"

    await _until_empty(otherwise, within_s)


async def _until_empty(ask: Callable[[], Awaitable[str]], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while answer := await ask():
        assert time.monotonic() < deadline, f"Kamailio after {within_s} s: {answer}"
        await asyncio.sleep(POLL_S)


def anchored_calls(stack: RunningStack) -> list[str]:
    """The names of the files of `kemi.anchored`."""
    folder = Path(_run_dir(stack.pid("kamailio"))) / "anchored"
    return [file.name for file in folder.iterdir()]


def _run_dir(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return arguments[arguments.index("-Y") + 1]
