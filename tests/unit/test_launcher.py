"""The `callinteractive` command finds its parts, installed and in a checkout."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import callinteractive
from callinteractive import __main__ as launcher
from cli import compiled, main  # noqa: F401  # what a start loads is here before its path changes


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests' own process comes from a compiled form, whether there is one or not."""
    monkeypatch.setattr(compiled, "folder", lambda: None)


def test_what_is_compiled_goes_before_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "folder", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(callinteractive, "__path__", callinteractive.__path__)
    with pytest.raises(SystemExit):
        launcher.main()
    assert sys.path[0] == str(tmp_path)
    assert callinteractive.__path__ == [str(tmp_path / "callinteractive")]


def test_ctrl_c_while_it_is_loaded_has_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(compiled, "folder", interrupted)
    with pytest.raises(SystemExit) as end:
        launcher.main()
    assert end.value.code == 128 + signal.SIGINT


def test_parts_are_beside_the_package_in_a_checkout_and_inside_it_when_installed(tmp_path: Path) -> None:
    package = tmp_path / "callinteractive"
    assert launcher.folder_of_parts(package) == tmp_path
    (package / "_parts").mkdir(parents=True)
    assert launcher.folder_of_parts(package) == package / "_parts"


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    (script,) = entry_points(group="console_scripts", name="callinteractive")
    with pytest.raises(SystemExit) as end:
        script.load()()
    assert end.value.code == 0
    assert capsys.readouterr().out == f"callinteractive, version {version('callinteractive')}\n"


def test_python_s_option_m_runs_the_command() -> None:
    command = (sys.executable, "-m", "callinteractive", "--version")
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert said == f"callinteractive, version {version('callinteractive')}\n"


def test_the_module_runs_as_the_command_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(launcher.__file__, run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("callinteractive, version ")
