"""What may import what, and that no piece of an action is missing: fails in milliseconds, and says what to add."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callinteractive import actions
from callinteractive.actions import ACTIONS, Action, AwaitChoice

ROOT = Path(__file__).resolve().parents[2]
ACTIONS_DIR = ROOT / "callinteractive" / "actions"
TESTS_DIR = ROOT / "tests" / "unit" / "core"

MAY_IMPORT = {
    "callinteractive": set(),
    "kemi": {"callinteractive"},
    "sidecar": {"callinteractive"},
    "cli": {"callinteractive", "sidecar"},
}
"""kemi -> callinteractive <- sidecar <- cli (design)."""

NOT_PURE = (
    *("socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing", "subprocess", "signal"),
    *("time", "random", "secrets", "uuid", "logging", "os", "pathlib", "shutil", "tempfile", "http", "urllib.request"),
    "KSR",
)
"""No I/O, event loop, thread, clock or chance, and nothing of Kamailio's: the core is driven by its arguments."""

CORE_LIBRARIES = {"lxml", "yaml"}


LAUNCHER = ROOT / "callinteractive" / "__main__.py"
"""Starts the command line. It is in the core's folder because `python -m callinteractive` looks there."""


TEST_KIT = "callinteractive.testing", "callinteractive.pytest_plugin"
"""For the tests of users: it reads files and asks web applications."""


def sources(package: str) -> list[Path]:
    found = sorted(set((ROOT / package).rglob("*.py")) - {LAUNCHER})
    assert found, f"there is no package {package}"
    return found


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write absolute imports"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str):
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[package] - {package} | {"tests"}
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sources(package)
        for line, name in imports(file)
        if name.partition(".")[0] in forbidden
    ]
    assert not wrong, f"imports go kemi -> callinteractive <- sidecar <- cli, but {'; '.join(wrong)}"


def core() -> list[Path]:
    """The modules of the core proper."""
    files = sources("callinteractive")
    return [file for file in files if not any(is_within(module_name(file), kit) for kit in TEST_KIT)]


def test_the_core_is_pure():
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in core()
        for line, name in imports(file)
        if any(is_within(name, module) for module in (*NOT_PURE, *TEST_KIT))
    ]
    assert not wrong, f"the core has no I/O, loop, thread or clock; time is an argument, but {'; '.join(wrong)}"


def test_kamailios_workers_never_load_python_s_tls():
    """It shares OpenSSL with Kamailio's TLS module, and Kamailio 5.6 crashes from that."""
    ksr = "import sys, types\nclass Ksr(types.ModuleType): __getattr__ = lambda self, name: Ksr(name)\n"
    code = f"{ksr}sys.modules['KSR'] = Ksr('KSR'); import kemi.main; print(*sys.modules)"
    loaded = subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=True, capture_output=True, timeout=30).stdout
    assert not {b"ssl", b"_ssl", b"asyncio", b"http.client", b"urllib.request"} & set(loaded.split())


def test_the_core_needs_few_libraries():
    """It runs inside Kamailio's workers too."""
    tops = {name.partition(".")[0] for file in core() for _, name in imports(file)}
    libraries = {top for top in tops if top not in sys.stdlib_module_names} - {"callinteractive"}
    assert libraries <= CORE_LIBRARIES, f"new libraries in the core: {libraries - CORE_LIBRARIES}"


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", ["callinteractive"])
def test_no_module_needs_itself(package: str):
    """No circle of imports, also none that a type checker alone sees: each module can be read before those above it."""
    files = {module_name(file): file for file in sources(package)}
    needs = {
        name: {
            needed
            for _, imported in imports(file)
            for needed in (imported, imported.rpartition(".")[0])
            if needed in files and needed != package
        }
        for name, file in files.items()
    }
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        for name in free:
            del needs[name]
    circle = {name: sorted(needed & needs.keys()) for name, needed in needs.items()}
    assert not circle, f"these import each other in a circle, or import one that does: {circle}"


# An action is a module, a line in the index and a test.


def defined_actions() -> dict[str, list[type[Action]]]:
    """The actions that each module of callinteractive/actions/ defines."""
    modules = {path.stem: importlib.import_module(f"callinteractive.actions.{path.stem}") for path in module_files()}
    return {
        name: [kind for _, kind in inspect.getmembers(module, inspect.isclass) if is_defined_in(kind, module.__name__)]
        for name, module in modules.items()
    }


def is_defined_in(kind: type, module: str) -> bool:
    return issubclass(kind, Action) and kind is not Action and kind.__module__ == module


def module_files() -> list[Path]:
    return sorted(path for path in ACTIONS_DIR.glob("*.py") if path.stem != "__init__")


def test_every_action_is_in_the_index():
    defined = {kind for kinds in defined_actions().values() for kind in kinds}
    missing = sorted(f"{kind.__name__} of {kind.__module__}" for kind in defined - {*ACTIONS, AwaitChoice})
    assert not missing, f"name {', '.join(missing)} in ACTIONS of callinteractive/actions/__init__.py"


def test_everything_in_the_index_has_a_module_of_its_own():
    defined = defined_actions()
    for kind in (*ACTIONS, AwaitChoice):
        module = kind.yaml_key()
        path = f"callinteractive/actions/{module}.py"
        assert defined.get(module) == [kind], f"define {kind.__name__}, and it alone, in {path}"


def test_every_action_has_a_test():
    missing = [kind.yaml_key() for kind in (*ACTIONS, AwaitChoice) if not file_of_test(kind.yaml_key()).is_file()]
    assert not missing, f"write {', '.join(str(file_of_test(name).relative_to(ROOT)) for name in missing)}"


def file_of_test(action: str) -> Path:
    return TESTS_DIR / "actions" / f"test_{action}.py"


def attribute_table(docstring: str | None) -> list[str]:
    return [line for line in (docstring or "").splitlines() if line.startswith("|")]


@pytest.mark.parametrize("kind", ACTIONS, ids=lambda kind: kind.NAME)
def test_the_test_of_an_action_quotes_its_attribute_table(kind: type[Action]):
    table = attribute_table(importlib.import_module(kind.__module__).__doc__)
    file = file_of_test(kind.yaml_key())
    quoted = attribute_table(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))
    assert table, f"the docstring of {kind.__module__} lacks its attribute table"
    where = file.relative_to(ROOT)
    assert quoted == table, f"quote the attribute table of {kind.__module__} in {where}, and test what changed"


@pytest.mark.parametrize("kind", ACTIONS, ids=lambda kind: kind.NAME)
def test_an_action_reads_the_attributes_of_its_table(kind: type[Action]):
    """One that is not in ATTRIBUTES is called unknown, one that is not in the table is not documented."""
    table = attribute_table(importlib.import_module(kind.__module__).__doc__)
    rows = [row.split("|")[1].strip() for row in table[2:]]
    expected = [*kind.ATTRIBUTES, *(["text"] if kind.TEXT_KEY else [])] or ["–"]
    assert sorted(rows) == sorted(expected), f"ATTRIBUTES of {kind.__name__} and its table differ"


def test_no_two_actions_share_a_name():
    written = [name for kind in ACTIONS for name in (kind.NAME, *kind.ALIASES)]
    assert len(set(written)) == len(written)
    assert len(actions.BY_YAML_KEY) == len(ACTIONS)


SEMANTICS = {"C": 6, "R": 6, "X": 5, "A": 15}


def test_every_item_of_the_semantics_has_a_test_that_names_it():
    names = {
        part
        for file in TESTS_DIR.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for part in node.name.split("_")
    }
    items = {f"{letter}{number}" for letter, last in SEMANTICS.items() for number in range(1, last + 1)}
    missing = sorted(items - names)
    assert not missing, f"no test in tests/unit/core names {', '.join(missing)}, as in test_C3_hash_ends_the_number"
