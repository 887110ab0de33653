"""What a stack's Kamailio says of itself over its operator's socket."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.programs import locate
from tests.support.stack import POLL_S, RunningStack


async def kamcmd(stack: RunningStack, *command: str) -> str:
    """What kamcmd prints."""
    socket = f"unix:{_run_dir(stack.pid('kamailio'))}/ctl"
    kamcmd = (locate("kamcmd"), "-s", socket, *command)
    child = await asyncio.create_subprocess_exec(*kamcmd, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(5):
        out, _ = await child.communicate()
    return out.decode()


async def assert_no_dialogs(stack: RunningStack, within_s: float = 6.0) -> None:
    """Wait until it holds no dialog."""

    async def held() -> str:
        counts = re.findall(r"\ball: (\d+)", await kamcmd(stack, "dlg.stats_active"))
        return "" if counts == ["0"] else f"{counts} dialogs"

    await _until_empty(held, within_s)


async def assert_no_transactions(stack: RunningStack, within_s: float = 12.0) -> None:
    """Wait until it holds no transaction but those of its own probes; tm keeps an ended one for 5 s."""

    async def held() -> str:
        methods = re.findall(r"method: (\w+)", await kamcmd(stack, "tm.list"))
        left = Counter(method for method in methods if method != "OPTIONS")
        return ", ".join(f"{count} {method} transactions" for method, count in left.items())

    await _until_empty(held, within_s)


async def carriers_known(stack: RunningStack, *alive: str, within_s: float = 30.0) -> None:
    """Wait until Kamailio's probes have found exactly the carriers at these addresses to be there.

    It takes the silence of two probes, of 8 s each, for it to give one up.
    """

    async def otherwise() -> str:
        listed = re.findall(r"URI: sip:([\d.]+):(\d+)\s+FLAGS: (\w+)", await kamcmd(stack, "dispatcher.list"))
        flags = {host: flags for host, port, flags in listed if int(port) == stack.net.carrier_port}
        # A for active and I for inactive; T is a carrier that has been silent once, and is still chosen.
        is_so = all(known == ("AP" if host in alive else "IP") for host, known in flags.items())
        return "" if is_so else f"{flags}, wanted {alive}"

    await _until_empty(otherwise, within_s)


async def _until_empty(ask: Callable[[], Awaitable[str]], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while answer := await ask():
        assert time.monotonic() < deadline, f"Kamailio after {within_s} s: {answer}"
        await asyncio.sleep(POLL_S)


def _run_dir(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return arguments[arguments.index("-Y") + 1]
