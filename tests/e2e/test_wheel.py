"""The wheel, installed elsewhere, runs calls, and puts nothing but our own name into site-packages."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import pytest_asyncio

from cli.page.app import STATIC
from tests.e2e.conftest import own_net
from tests.support.phone import Phone
from tests.support.stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
IVR = """
ivrs: [{number: "000*100", id: 1, entry_context: 1}]
contexts: {1: {options: {start: [{play_sound: {file: tone-440-3000.wav, where: background}}], "5": [hangup]}}}
"""


def run(*command: object, cwd: Path) -> str:
    """What it prints; fails with it when the status is not 0."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, timeout=120, check=False, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_in_site_packages(environment: Path) -> set[str]:
    (purelib,) = environment.glob("lib/python3*/site-packages")
    return {path.name.partition("-")[0] for path in purelib.iterdir()} - {"libraries.pth", "__pycache__"}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel. The libraries that it needs are ours: no registry is asked."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (purelib / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return environment


async def test_it_has_the_files_of_the_page(installed: Path) -> None:
    (there,) = installed.glob("lib/python3*/site-packages/callinteractive/_parts/cli/page/static")
    assert {file.name for file in there.iterdir()} == {file.name for file in STATIC.iterdir()}


async def test_it_checks_and_runs_a_call_from_another_folder(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "callinteractive"
    net = own_net()
    stack = RunningStack(net, tmp_path / "site", IVR, command=(str(command),), cwd=tmp_path)
    assert names_in_site_packages(installed) == {"callinteractive"}
    assert "1 IVR" in run(command, "check", stack.site_path, stack.ivr_path, cwd=tmp_path)
    async with stack, Phone(net.sip, "000*100", host=net.carrier, caller="+15550123") as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("5")
        await phone.hung_up()
        assert str(ROOT) not in command_line(stack.pid("kamailio"))
