"""`callinteractive run`: clean start and stop, parts that die, and reasons not to start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import ports
from cli.parts import Parts
from tests.e2e.ivr import SCRIPTED_GET
from tests.support.freeze import freeze
from tests.support.phone import Phone
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

PARTS = ("rtpengine", "sidecar-0", "sidecar-1", "kamailio")
MENU = '<PlaySound where="background" digitvar="digits">tone-440-3000.wav</PlaySound>'


def a_call(stack: RunningStack, caller: str, arguments: tuple[str, ...] = ()) -> Phone:
    return Phone(stack.net.sip, SCRIPTED_GET, host=stack.net.carrier, caller=caller, arguments=arguments)


async def one_call(stack: RunningStack, web: FakeWebApp, caller: str) -> str:
    """Place a call with a sound and a digit; returns which sidecar served it."""
    seen = len(web.requests[caller])
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with a_call(stack, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("5#")
        again = await web.request(caller, nth=seen + 2)
        await phone.hung_up()
    assert again.query["digits"] == "5"
    # Its end: a call that has not quite ended when its sidecar is struck is another one's then, which asks again.
    entry = await stack.logged(event="call ended", call_id=again.query["CallID"])
    return str(entry["part"])


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """The process and everything below it."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        found += [int(child) for child in children]
    return found


async def assert_all_gone(stack: RunningStack, pids: list[int], within_s: float) -> None:
    await until(lambda: not any(map(is_running, pids)), within_s, "end of every process")
    assert ports.problems(Parts.of(stack.site)) == []


@pytest.fixture
def short_tmp() -> Iterator[str]:
    """A directory with a short name. Those of pytest are too long for a Unix socket in them."""
    with tempfile.TemporaryDirectory() as directory:
        yield directory


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
async def test_stop_leaves_nothing_behind_even_with_a_call_in_progress(
    private_stack: RunningStack,
    web: FakeWebApp,
    caller: str,
    with_signal: signal.Signals,
    short_tmp: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", short_tmp)
    web.on(caller, actions('<Pause length="60"/>'))
    async with (
        private_stack as stack,
        a_call(stack, caller) as phone,
    ):
        pids = descendants(stack.process.pid)
        assert len(pids) > len(PARTS)
        await phone.answered()
        await web.request(caller)
        assert await stack.stop(with_signal) == 0
        await phone.hung_up()  # the caller gets a BYE instead of silence
    await assert_all_gone(private_stack, pids, within_s=1)
    assert os.listdir(short_tmp) == []


async def test_start_again_at_once_on_the_same_ports(private_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    async with private_stack as stack:
        await one_call(stack, web, caller)
        await stack.stop()
        await stack.start()
        await one_call(stack, web, caller)
        async with asyncio.timeout(PATIENT_S):
            while await stack.media_calls():  # they are deleted many at once, after a moment
                await asyncio.sleep(0.05)


async def test_a_killed_supervisor_s_calls_are_hung_up_and_nothing_outlives_it(
    private_stack: RunningStack, web: FakeWebApp, caller: str, short_tmp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sidecars end first: Kamailio is still there for their BYEs. Nobody is there to take the calls over."""
    monkeypatch.setenv("TMPDIR", short_tmp)  # nobody is there to remove the run directory
    web.on(caller, actions('<Pause length="60"/>'))
    site = private_stack.site_path
    site.write_text(f"{site.read_text()}state: none\n")
    async with private_stack as stack, a_call(stack, caller) as phone:
        await phone.answered()
        await web.request(caller)
        pids = descendants(stack.process.pid)
        stack.process.kill()
        await stack.process.wait()
        await phone.hung_up()
        await assert_all_gone(stack, pids, within_s=PATIENT_S)


async def test_killed_sidecar_the_next_call_is_answered_by_the_other_one(
    private_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    """Kamailio asks the other sidecar. Then the restarted one serves calls, with digits."""
    async with private_stack as stack:
        assert {await one_call(stack, web, caller) for _ in range(2)} == {"sidecar-0"}
        freeze(stack.pid("sidecar-0"))  # silent, and not restarted at once as a dead one would be
        for _ in range(3):
            assert await one_call(stack, web, caller) == "sidecar-1"
        os.kill(stack.pid("sidecar-0"), signal.SIGKILL)
        await until(lambda: stack.starts("sidecar-0") == 2, 30, "second start of sidecar-0")
        await _until_it_serves(stack, web, caller, "sidecar-0")


async def _until_it_serves(stack: RunningStack, web: FakeWebApp, caller: str, part: str) -> None:
    """Place calls until this sidecar answers one: Kamailio uses it again after a ping."""
    async with asyncio.timeout(30):
        while await one_call(stack, web, caller) != part:
            pass


async def test_sigkilled_sidecars_never_lose_a_new_call(
    private_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    async with private_stack as stack:
        for _ in range(2):
            victim = await one_call(stack, web, caller)
            starts = stack.starts(victim)
            os.kill(stack.pid(victim), signal.SIGKILL)
            await one_call(stack, web, caller)
            await until(lambda: stack.starts(victim) == starts + 1, 30, f"restart of {victim}")  # noqa: B023
            await _until_it_serves(stack, web, caller, victim)


@pytest.mark.parametrize("part", ["rtpengine", "kamailio"])
async def test_killed_daemon_is_started_again(
    private_stack: RunningStack, web: FakeWebApp, caller: str, part: str
) -> None:
    async with private_stack as stack:
        await one_call(stack, web, caller)
        os.kill(stack.pid(part), signal.SIGKILL)
        await until(lambda: stack.starts(part) == 2, 30, f"restart of {part}")
        await one_call(stack, web, caller)


async def test_taken_port_is_named_with_a_remedy(private_stack: RunningStack) -> None:
    taken = private_stack.net.sip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(taken)
        with pytest.raises(AssertionError, match="expected 'ready"):
            await private_stack.start()
        assert private_stack.process.returncode == 1
        text = "\n".join(private_stack.log)
        assert f"udp {taken[0]}:{taken[1]} is in use" in text
        assert "change sip.listen in site.yaml" in text


async def test_unreadable_configuration_is_told_by_line(private_stack: RunningStack) -> None:
    private_stack.ivr_path.write_text('ivrs:\n  - {number: "000*1", id: 1, entry_context: 1}\ncontexts: {1: [}\n')
    with pytest.raises(AssertionError):
        await private_stack.start()
    assert private_stack.process.returncode == 1
    assert re.search(r"ivr\.yaml:3: .*not YAML", "\n".join(private_stack.log))


async def test_address_of_another_machine_is_told(private_stack: RunningStack) -> None:
    """RTPengine would start with such ports, and then refuse every call."""
    site = private_stack.site_path.read_text()
    private_stack.site_path.write_text(re.sub(r"interface: [0-9.]+", "interface: 203.0.113.1", site))
    with pytest.raises(AssertionError, match="expected 'ready"):
        await private_stack.start()
    assert private_stack.process.returncode == 1
    assert "this machine has no address 203.0.113.1: change rtpengine.interface in site.yaml" in "\n".join(
        private_stack.log
    )


async def test_run_dir_too_long_for_a_socket_is_told(
    private_stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = private_stack.site_path.parent / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with pytest.raises(AssertionError, match="expected 'ready"):
        await private_stack.start()
    assert "--run-dir" in "\n".join(private_stack.log)
