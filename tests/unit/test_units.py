"""The units start commands that there are, systemd understands them, and they leave little open."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import main
from sidecar.drain import DEFAULT_S

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "units"
SERVICES = sorted(FOLDER.glob("*.service"))
MOST_EXPOSED = 3.0
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


def settings(unit: Path) -> dict[str, list[str]]:
    """Every key of a unit with its values."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def as_installed(tmp_path: Path) -> list[str]:
    """Copies whose program is on this machine; systemd looks whether it is."""
    for unit in FOLDER.iterdir():
        text = unit.read_text().replace("/usr/bin/callinteractive", sys.executable)
        (tmp_path / unit.name).write_text(text)
    return [str(tmp_path / unit.name.replace("@.", "@0.")) for unit in SERVICES]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_its_command_is_one_of_ours(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for key, values in settings(unit).items() if key.startswith("Exec") for line in values]
    assert lines
    for line in lines:
        words = shlex.split(line.replace("%i", "0"))
        if words[:2] == ["-/bin/sh", "-c"]:  # in the background
            words = shlex.split(words[2].removesuffix("&"))
        program, name, *arguments = words
        assert program.removeprefix("-") == "/usr/bin/callinteractive"
        # The configuration is not on this machine.
        arguments = [str(FOLDER / "callinteractive.target") if word.endswith(".yaml") else word for word in arguments]
        arguments = [str(FOLDER) if word.startswith("/run/") else word for word in arguments]
        command = main.commands[name]
        with click.Context(command) as context:
            command.parse_args(context, arguments)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_nothing_long_is_waited_for_at_its_start(unit: Path) -> None:
    """systemd kills a part whose start, ExecStartPost included, takes 90 s."""
    assert all(line.endswith(" &'") for line in settings(unit).get("ExecStartPost", []))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_it_tells_when_it_is_ready_and_is_watched(unit: Path) -> None:
    told = settings(unit)
    assert told["Type"] == ["notify"]
    assert int(told["WatchdogSec"][0]) >= 5
    assert told["PartOf"] == ["callinteractive.target"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_conversion_of_sounds_may_bound_itself(unit: Path) -> None:
    """`sidecar.media.audiofile`: its memory, its time and its priority."""
    assert not any("@resources" in line for line in settings(unit)["SystemCallFilter"])


def test_a_sidecar_learns_when_the_machine_was_started() -> None:
    """`sidecar.state.sqlite_file`: without it no call is kept."""
    unit = settings(FOLDER / "callinteractive-sidecar@.service")
    assert "ProcSubset" not in unit, "/proc/sys would not be there"


def test_a_sidecar_may_write_the_file_of_events_that_is_documented() -> None:
    """ProtectSystem=strict leaves it nothing but what systemd has made for it."""
    unit = settings(FOLDER / "callinteractive-sidecar@.service")
    [file] = re.findall(r"^  file: (/\S+)$", (FOLDER.parents[1] / "docs/events.md").read_text(), re.MULTILINE)
    assert [str(Path(file).parent)] == [f"/var/log/{name}" for name in unit["LogsDirectory"]]


def test_a_sidecar_has_the_time_to_drain() -> None:
    assert int(settings(FOLDER / "callinteractive-sidecar@.service")["TimeoutStopSec"][0]) > DEFAULT_S


def test_a_sidecar_leaves_its_connections_to_the_next_one() -> None:
    """`sidecar.descriptor_store`: a pair. Without this line systemd takes none, and says nothing."""
    assert settings(FOLDER / "callinteractive-sidecar@.service")["FileDescriptorStoreMax"] == ["2"]


def test_kamailio_may_finish_what_it_sets_up() -> None:
    unit = settings(FOLDER / "callinteractive-kamailio.service")
    within_s = int(unit["ExecStop"][0].partition("--within ")[2].split()[0])
    assert int(unit["TimeoutStopSec"][0]) > within_s + 20  # and then end


def test_the_target_has_every_service() -> None:
    wanted = " ".join(settings(FOLDER / "callinteractive.target")["Wants"]).split()
    assert {re.sub("@0", "@", name) for name in wanted} >= {unit.name for unit in SERVICES}


@needs_systemd
def test_systemd_understands_them(as_installed: list[str]) -> None:
    question = ["systemd-analyze", "verify", "--man=no", *as_installed]
    done = subprocess.run(question, check=False, text=True, capture_output=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "callinteractive" in line]
    assert ours == []


@needs_systemd
def test_what_a_break_in_could_reach_is_little(as_installed: list[str]) -> None:
    for unit in as_installed:
        question = ["systemd-analyze", "security", "--offline=true", unit]
        done = subprocess.run(question, check=False, text=True, capture_output=True, timeout=60)
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        assert exposure, done.stderr
        assert float(exposure[1]) < MOST_EXPOSED, f"{unit}: {exposure[1]}"
