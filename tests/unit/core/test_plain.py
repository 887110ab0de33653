"""Plain JSON data to dataclasses, every type checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from callinteractive import plain
from callinteractive.commands import Collect, Play, Wait
from callinteractive.facts import CallFacts
from callinteractive.script_state import State


@dataclass(frozen=True)
class Inner:
    text: str


@dataclass(frozen=True)
class Outer:
    number: int = 0
    time: float = 0
    flag: bool = False
    perhaps: str | None = None
    texts: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)
    inner: Inner | None = None
    made: object = None


def test_every_kind_of_field():
    values = {
        "number": 1,
        "time": 2,
        "flag": True,
        "perhaps": "x",
        "texts": ["a"],
        "named": {"b": "c"},
        "inner": {"text": "d"},
    }
    assert plain.read(Outer, values, made=7) == Outer(1, 2.0, True, "x", ("a",), {"b": "c"}, Inner("d"), 7)
    assert plain.read(Outer, {"perhaps": None, "inner": None, "time": 0.5}) == Outer(time=0.5)


@pytest.mark.skipif("CALLINTERACTIVE_TEST_COMPILED" in os.environ, reason="it needs the annotations of the sources")
@pytest.mark.parametrize("kind", [CallFacts, State, Play, Collect, Wait])
def test_types_that_machine_code_forgets_are_told(kind: type):
    """Without these a call could not be read back by a compiled sidecar, and the tests of sources would not see it."""
    made = ("pending", "step")  # by `CallScript.from_dict`
    hints = {name: hint for name, hint in plain.written_types(kind).items() if name not in made}
    assert plain.told_types(kind) == {name: hint for name, hint in hints.items() if not isinstance(hint, type)}


@pytest.mark.parametrize(
    "values",
    [
        {"number": True},
        {"number": 1.0},
        {"number": "1"},
        {"number": None},
        {"flag": 1},
        {"time": float("nan")},
        {"time": float("-inf")},
        {"time": 10**400},
        {"time": True},
        {"time": "1"},
        {"perhaps": 1},
        {"texts": "abc"},
        {"texts": [1]},
        {"named": {"a": None}},
        {"named": []},
        {"inner": {}},
        {"inner": {"text": 1}},
        {"inner": "x"},
        {"unknown": 1},
        {"made": 1},
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object]):
    with pytest.raises((ValueError, TypeError)):
        plain.read(Outer, values, made=7)
