"""The core is sans-IO: only transport.py knows a socket, a loop or a clock."""

import ast
from pathlib import Path

import pytest

import sidecar.sip

MODULES = sorted(Path(sidecar.sip.__file__).parent.glob("*.py"))
FORBIDDEN = {"asyncio", "socket", "select", "threading", "time", "uvloop"}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_of_the_core_does_no_io(path: Path) -> None:
    found = imports(path)
    if path.name != "transport.py":
        assert not {name.partition(".")[0] for name in found} & FORBIDDEN
    assert all(name.startswith("sidecar.sip") for name in found if name.partition(".")[0] in ("sidecar", "cli", "kemi"))


def test_nothing_below_the_package_itself_uses_the_transport() -> None:
    users = [path.name for path in MODULES if "sidecar.sip.transport" in imports(path)]
    assert users == ["__init__.py"]
