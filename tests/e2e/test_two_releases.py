"""Sidecars of two releases side by side, as in a rolling upgrade: each goes on with the calls of the other."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import _ivr_yaml, own_net
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import FIRST, both_hear, connected, transfer
from tests.support import release
from tests.support.callee import Callee
from tests.support.phone import Phone
from tests.support.sipp import ANSWERS_UPDATE
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp

pytestmark = pytest.mark.skipif(not release.is_known(), reason="this checkout has no older commits (or is none)")


class Installed:
    """The release that is installed now, as a package would be: what is started gets it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "installed"
        self._older = release.unpack(directory / "older")
        self.use(older=True)

    def use(self, *, older: bool) -> None:
        new = self.path.with_name("next")
        new.symlink_to(self._older if older else release.ROOT)
        new.replace(self.path)


async def test_a_talk_goes_to_the_newer_one_and_back(web: FakeWebApp, tmp_path: Path, caller: str) -> None:
    """`run` and Kamailio are of the older release all the time, both sidecars at first."""
    installed = Installed(tmp_path)
    stack = RunningStack(
        own_net(8),
        tmp_path / "stack",
        _ivr_yaml(web),
        replace={"drain_s: 0": "drain_s: 1"},
        command=release.command(installed.path),
    )
    web.on(caller, transfer(FIRST))
    async with (
        stack,
        Callee(stack.net.sip, (stack.net.phone, stack.net.phone_port), arguments=ANSWERS_UPDATE) as callee,
        Phone(stack.net.sip, TRANSFER, host=stack.net.carrier, caller=caller, arguments=ANSWERS_UPDATE) as phone,
    ):
        await connected(phone, callee)
        first = str((await stack.logged(event="call"))["part"])
        (second,) = {"sidecar-0", "sidecar-1"} - {first}

        async def drain(part: str, *, older: bool) -> None:
            """Its call goes to the other one, and it is started again, with that release."""
            installed.use(older=older)
            since, starts = len(stack.log), stack.starts(part)
            os.kill(stack.pid(part), signal.SIGTERM)
            await stack.logged(PATIENT_S, since, event="sidecar stops", part=part, handed_over=True)
            await stack.logged(PATIENT_S, since, event="call taken over")
            await until(lambda: stack.starts(part) > starts, PATIENT_S, f"{part} is started again")
            await both_hear(phone.sound, callee.sound)

        await drain(first, older=False)
        await drain(second, older=True)  # to the newer one
        assert [release.is_older(stack.pid(part)) for part in (first, second)] == [False, True]
        await drain(first, older=True)  # and back
        assert not stack.entries(level="error")
        phone.sipp.nudge()
        await phone.sipp.finished()
        await callee.hung_up()
