"""The compiled form is used only for the very sources that it was made of."""

from __future__ import annotations

import ast
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli import compile as compiling
from cli import compiled
from tests.support.timing import PATIENT_S


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of our sources, and nothing compiled."""
    for package in (*compiled.PACKAGES, "cli"):
        source = compiled.source_of(package)
        shutil.copytree(source, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "kamailio.cfg"))
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "cli" / "compiled.py"))
    monkeypatch.setattr(compiled, "BASE", tmp_path / "lib")
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    monkeypatch.delenv(compiled.PURE, raising=False)
    compiled.folder.cache_clear()
    yield tmp_path
    compiled.folder.cache_clear()


def folder() -> Path | None:
    compiled.folder.cache_clear()
    return compiled.folder()


def test_it_is_used_for_these_sources_only(tree: Path) -> None:
    assert folder() is None
    made = compiled.BASE / compiled.fingerprint()
    made.mkdir(parents=True)
    assert folder() == made
    with (tree / "sidecar" / "sip" / "errors.py").open("a") as file:
        file.write("# edited\n")
    assert folder() is None


@pytest.mark.parametrize("change", ["callinteractive/new.py", "kemi/main.py", "cli/compile.py"])
def test_any_change_counts(tree: Path, change: str) -> None:
    before = compiled.fingerprint()
    with (tree / change).open("a") as file:
        file.write("\n")
    assert compiled.fingerprint() != before


def test_a_name_counts_too(tree: Path) -> None:
    before = compiled.fingerprint()
    (tree / "kemi" / "nat.py").rename(tree / "kemi" / "nats.py")
    assert compiled.fingerprint() != before


def test_the_environment_turns_it_off(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (compiled.BASE / compiled.fingerprint()).mkdir(parents=True)
    monkeypatch.setenv(compiled.PURE, "1")
    assert folder() is None
    assert compiled.environment() == {}


def test_what_we_start_is_told_and_looks_whether_it_is_there(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = compiled.BASE / compiled.fingerprint()
    made.mkdir(parents=True)
    assert compiled.environment() == {compiled.VARIABLE: str(made)}
    monkeypatch.setenv(compiled.VARIABLE, str(made))
    (tree / "kemi" / "new.py").touch()
    assert folder() == made, "the whole stack runs the same"
    made.rmdir()
    assert folder() is None


def test_installed_the_packages_are_found_where_they_are(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.fingerprint()
    parts = tree / "callinteractive" / "_parts"
    parts.mkdir()
    for package in ("cli", "kemi", "sidecar"):
        (tree / package).rename(parts / package)
    monkeypatch.setattr(compiled, "__file__", str(parts / "cli" / "compiled.py"))
    assert compiled.fingerprint() == before


def test_without_a_compiler_one_line_says_what_is_missing_and_what_that_costs(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tree))
    assert compiling.run() == compiling.UNAVAILABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt-get install gcc" in line
    assert "CPU" in line


def test_what_is_compiled_is_there() -> None:
    for package, patterns in compiling.MODULES.items():
        top = compiled.source_of(package)
        missing = [pattern for pattern in patterns.split() if not list(top.glob(f"{pattern}.py"))]
        assert not missing, f"cli/compile.py names modules of {package} that are not there"


def test_two_at_once_do_it_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would remove what the other one has made so far."""
    name, began, waits = compiled.fingerprint(), threading.Event(), threading.Event()
    builds: list[str] = []

    def build(base: Path, made: str, _tell: object) -> None:
        builds.append(made)
        began.set()
        assert waits.wait(PATIENT_S)
        (base / made).mkdir()

    monkeypatch.setattr(compiling, "_missing", lambda: ())
    monkeypatch.setattr(compiling, "_build", build)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(compiling.build, compiled.BASE)
        assert began.wait(PATIENT_S)
        second = pool.submit(compiling.build, compiled.BASE, lambda _line: waits.set())
        assert (first.result(), second.result()) == ((name, True), (name, False))
    assert builds == [name]


def test_what_mypyc_refuses_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if list(compiling._missing()):
        pytest.skip("no compiler here")
    monkeypatch.setattr(compiling, "MODULES", {"callinteractive": "limits"})
    (tree / "callinteractive" / "limits.py").write_text("def one() -> int:\n    return ''\n")
    with pytest.raises(compiling.CompileError, match=r"limits\.py:2"):
        compiling.build(compiled.BASE)
    assert folder() is None
    # A checkout without the stubs of its libraries: there some exceptions from strict types are not needed.
    (tree / "pyproject.toml").write_text("[tool.mypy]\nstrict = true\n")
    (tree / "callinteractive" / "limits.py").write_text("def one() -> int:\n    return 1  # type: ignore[union-attr]\n")
    told: list[str] = []
    name, took = compiling.build(compiled.BASE, told.append)
    assert took
    assert told
    assert folder() == compiled.BASE / name
    assert list((compiled.BASE / name / "callinteractive").glob("limits.*.so"))
    assert compiling.build(compiled.BASE) == (name, False)


def _compiled_sources() -> dict[Path, ast.Module]:
    sources = [
        path
        for package, names in compiling.MODULES.items()
        for name in names.split()
        for path in compiled.source_of(package).glob(f"{name}.py")
    ]
    return {path: ast.parse(path.read_text()) for path in sources}


def test_no_compiled_class_method_calls_that_of_its_base() -> None:
    """mypyc gives the base's class method the metaclass: `cls(...)` there raises TypeError."""
    for path, tree in _compiled_sources().items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and "classmethod" in map(ast.unparse, function.decorator_list):
                called = [ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)]
                assert "super" not in called, f"{path}: {function.name}"


def test_no_compiled_constructor_hands_on_starred_arguments() -> None:
    """mypyc gives the base's `__init__` the tuple as its first argument."""
    for path, tree in _compiled_sources().items():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                assert not any(isinstance(argument, ast.Starred) for argument in call.args), path


def test_no_name_stands_for_errors_of_several_compiled_classes() -> None:
    """mypyc takes the class of the first `except ... as name` for that of all, and raises TypeError for the others."""
    trees = _compiled_sources()
    classes = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for path, tree in trees.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            caught: dict[str, set[str]] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    caught.setdefault(node.name, set()).add(ast.unparse(node.type))
            for name, types in caught.items():
                assert len(types) == 1 or not types & classes, f"{path}: {function.name}: {name}"
