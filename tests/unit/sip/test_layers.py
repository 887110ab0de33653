"""The package has RFC 3261's layers, and only the transport knows a socket, a loop or a clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sidecar.sip

PACKAGE = Path(sidecar.sip.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (("errors", "config"), ("message",), ("transaction",), ("dialog",), ("agent",), ("transport",), ("__init__",))
"""From the lowest to the highest. A layer is a folder or a module, and imports no layer that is higher."""
NOT_SANS_IO = {"asyncio", "socket", "select", "selectors", "threading", "time", "uvloop"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it: within functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            yield node.module or ""


def within_package(path: Path) -> set[str]:
    return {name.removeprefix("sidecar.sip.") for name in imports(path) if name.startswith("sidecar.sip.")}


def layer_of(module: str) -> int:
    top = module.partition(".")[0]
    (found,) = [number for number, layer in enumerate(LAYERS) if top in layer]
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_layer_imports_no_higher_layer(path: Path) -> None:
    own = layer_of(module_of(path))
    too_high = {name for name in within_package(path) if layer_of(name) > own}
    assert not too_high, f"{name_of(path)} imports {too_high}; lower layers never import higher ones: {LAYERS}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = {module_of(path): within_package(path) for path in MODULES if path.stem != "__init__"}
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert not waiting, f"these modules import each other: {waiting}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_modules_and_never_the_package(path: Path) -> None:
    assert "sidecar.sip" not in set(imports(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_transport_does_io(path: Path) -> None:
    found = {name.partition(".")[0] for name in imports(path)}
    assert name_of(path) == "transport.py" or not found & NOT_SANS_IO
    assert all(name.startswith("sidecar.sip.") for name in imports(path) if name.partition(".")[0] == "sidecar")
