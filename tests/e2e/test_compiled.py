"""The stack runs what `callinteractive compile` has made of these sources, if anything; and without it too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import compiled
from tests.e2e.conftest import own_net
from tests.support.phone import Phone
from tests.support.stack import RunningStack

IVR = """
ivrs: [{number: "000*100", id: 1, entry_context: 1}]
contexts: {1: {options: {start: [{play_sound: {file: tone-440-3000.wav, where: background}}], "5": [hangup]}}}
"""


def compiled_modules(pid: int) -> set[str]:
    """The folders of our machine code that a process has loaded."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.partition("/")[2].rpartition("/")[0] for line in lines if "callinteractive__mypyc" in line}


@pytest.mark.parametrize("pure", [False, True], ids=["compiled", "pure"])
async def test_a_call_runs_what_was_compiled_unless_that_is_turned_off(
    tmp_path: Path, pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(compiled.PURE, raising=False)
    compiled.folder.cache_clear()
    folder = compiled.folder()
    if folder is None and not pure:
        pytest.skip("these sources are not compiled: make test-compiled does that, and runs this")
    if pure:
        monkeypatch.setenv(compiled.PURE, "1")
    expected = set() if pure else {str(folder).lstrip("/")}
    net = own_net()
    async with RunningStack(net, tmp_path / "site", IVR) as stack:
        async with Phone(net.sip, "000*100", host=net.carrier, caller="+15550123") as phone:
            await phone.answered()
            await phone.sound.hear_tone(440)
            await phone.sound.send_digits("5")
            await phone.hung_up()
        for part in ("kamailio", "sidecar-0", "sidecar-1"):
            assert compiled_modules(stack.pid(part)) == expected, part
