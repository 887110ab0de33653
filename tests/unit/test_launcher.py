"""The `callinteractive` command finds its parts, installed and in a checkout."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from callinteractive import __main__ as launcher


def test_parts_are_beside_the_package_in_a_checkout_and_inside_it_when_installed(tmp_path: Path) -> None:
    package = tmp_path / "callinteractive"
    assert launcher.folder_of_parts(package) == tmp_path
    (package / "_parts").mkdir(parents=True)
    assert launcher.folder_of_parts(package) == package / "_parts"


def as_script() -> None:
    (script,) = entry_points(group="console_scripts", name="callinteractive")
    script.load()()


def as_module() -> None:
    runpy.run_module("callinteractive", run_name="__main__")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # loaded by this test
@pytest.mark.parametrize("start", [as_script, as_module])
def test_the_command(
    start: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == 0
    assert capsys.readouterr().out == f"callinteractive, version {version('callinteractive')}\n"


def test_the_module_runs_as_the_command_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(launcher.__file__, run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("callinteractive, version ")
