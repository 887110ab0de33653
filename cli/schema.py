"""`callinteractive schema`: the JSON Schemas of site.yaml and ivr.yaml, by which editors complete and check them.

They are not written down anywhere: the loaders are run on documents that have everything, which note what is asked of
each value. So a key that is added to a loader is in the schema too. What a schema can't say, `check` does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import click

from callinteractive import ivr_file, site_file
from callinteractive.actions import BY_YAML_KEY, Action
from callinteractive.document import Value
from callinteractive.errors import InvalidActionError

Kind = Literal["site", "ivr"]
KINDS: tuple[Kind, ...] = ("site", "ivr")
DIALECT = "http://json-schema.org/draft-07/schema#"
TEXT = {"type": ["string", "number", "boolean"]}
"""YAML takes 332 for a number and yes for a boolean; the loaders read what is written."""
BOOLEANS = [True, False, "yes", "no", "on", "off"]
"""YAML 1.2, which editors speak, takes the last four for texts."""
_MODES = ("mapping", "text", "list", "missing")
"""What a value may be. Each takes one after the other, by its own count: so all forms of a value meet all of those
around it."""
_TRACES = 40
_ANY = "1"
"""A name that is right for a context, an option and a variable's value."""
_TABLE_ROW = re.compile(r"^\| (\w+) \| (.*?) \|", re.MULTILINE)


def schema(kind: Kind) -> dict[str, Any]:
    """As JSON-ready data."""
    module: ModuleType = site_file if kind == "site" else ivr_file
    load: Callable[[str, str], object] = site_file.load_site if kind == "site" else ivr_file.load_ivr_file
    shape = _Shape()
    for _ in range(_TRACES):
        _trace(module, load, shape)
    found = shape.schema()
    if kind == "ivr":
        context = found["properties"]["contexts"]["additionalProperties"]
        context["properties"]["options"]["additionalProperties"] = {"type": "array", "items": _rule()}
    return {"$schema": DIALECT, "title": f"{kind}.yaml of Call Interactive", **found}


def run(kind: Kind) -> int:
    """Print it. The exit status is 0."""
    click.echo(json.dumps(schema(kind), indent=2, ensure_ascii=False))
    return 0


def write(folder: Path) -> None:
    """Both, as site.json and ivr.json. Raises OSError."""
    for kind in KINDS:
        text = json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"
        (folder / f"{kind}.json").write_text(text, encoding="utf-8")


@dataclass
class _Shape:
    """What the loaders ask of one place of a document."""

    kinds: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, _Shape] = field(default_factory=dict)
    each: _Shape | None = None
    item: _Shape | None = None
    met: int = 0

    def note(self, kind: dict[str, Any]) -> None:
        if kind not in self.kinds:
            self.kinds.append(kind)

    def note_number(self, kind: str, least: float, most: float) -> None:
        """Bounds may depend on another value: the widest count."""
        for known in self.kinds:
            if known.get("type") == kind:
                known["minimum"], known["maximum"] = min(known["minimum"], least), max(known["maximum"], most)
                return
        self.kinds.append({"type": kind, "minimum": least, "maximum": most})

    def schema(self) -> dict[str, Any]:
        forms = [kind for kind in self.kinds if kind != TEXT or len(self.kinds) == 1]
        if self.keys:
            keys = {name: shape.schema() for name, shape in sorted(self.keys.items())}
            forms.append({"type": "object", "properties": keys, "additionalProperties": False})
        if self.each is not None:
            forms.append({"type": "object", "additionalProperties": self.each.schema()})
        if self.item is not None:
            forms.append({"type": "array", "items": self.item.schema()})
        # A key without a value is as one that is missing.
        return {} if not forms else forms[0] if len(forms) == 1 else {"anyOf": forms}


class _Tracer(Value):
    """A value that has whatever is asked of it, as far as its form lets it, and notes that in `shape`."""

    def __init__(self, shape: _Shape) -> None:
        self.shape, self._mode = shape, _MODES[shape.met % len(_MODES)]
        shape.met += 1
        self.path, self.line = "", 0

    @property
    def file(self) -> str:
        return ""

    @property
    def is_missing(self) -> bool:
        return self._mode == "missing"

    @property
    def is_mapping(self) -> bool:
        return self._mode == "mapping"

    @property
    def is_list(self) -> bool:
        return self._mode == "list"

    def wrong(self, reason: str) -> None:
        pass

    def text(self, default: str | None = None) -> str:
        self.shape.note(TEXT)
        return _ANY if default is None else default

    def optional_text(self) -> str | None:
        self.shape.note(TEXT)
        return None if self.is_missing else _ANY

    def scalar(self) -> str | bool:
        self.shape.note(TEXT)
        return _ANY

    def boolean(self, default: bool) -> bool:
        self.shape.note({"enum": BOOLEANS})
        return default

    def number(self, kind: type[Any], default: Any, least: float, most: float) -> Any:
        self.shape.note_number("integer" if kind is int else "number", least, most)
        if self.shape.met % 2:
            return kind(most)
        return kind(least) if default is None else default

    def optional_integer(self, least: int, most: int) -> int | None:
        self.number(int, None, least, most)
        return None

    def choice(self, default: str, allowed: tuple[str, ...]) -> str:
        self.shape.note({"enum": _choices(allowed)})
        return default

    def checked(self, check: Callable[[str], str | None], default: str | None = None) -> str:  # noqa: ARG002
        return self.text(default)

    def items(self) -> Iterator[Value]:
        self.shape.item = self.shape.item or _Shape()
        yield _Tracer(self.shape.item)

    def section(self, *keys: str, withdrawn: object = None) -> dict[str, Value]:  # noqa: ARG002
        return {key: _Tracer(self.shape.keys.setdefault(key, _Shape())) for key in keys}

    def entries(self) -> dict[str, Value]:
        self.shape.each = self.shape.each or _Shape()
        return {_ANY: _Tracer(self.shape.each)}


def _choices(allowed: tuple[str, ...]) -> list[str | bool]:
    """YAML 1.1 takes yes and no for booleans."""
    booleans = {"yes": True, "no": False}
    return [*allowed, *(booleans[text] for text in allowed if text in booleans)]


def _trace(module: ModuleType, load: Callable[[str, str], object], shape: _Shape) -> None:
    class Document:
        """In place of the real one, which the module makes of a text."""

        findings: tuple[()] = ()

        def __init__(self, _text: str, _filename: str) -> None:
            self.root = _Tracer(shape)

        def refuse_swapped(self, _keys: object, _reason: str) -> None:
            pass

        def finish(self) -> None:
            pass

    real = module.Document
    module.Document = Document  # type: ignore[attr-defined]
    try:
        # What such values lead to may be impossible; it has read all of them by then.
        with suppress(Exception):
            load("", "")
    finally:
        module.Document = real  # type: ignore[attr-defined]


class _WrittenTracer:
    """In place of a `WrittenAction`: notes what an action reads."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.forms: dict[str, dict[str, Any]] = {}
        self.needed: list[str] = []
        self.text: str | None = None

    def attribute(self, name: str) -> str | None:
        self.forms.setdefault(name, TEXT)
        return None

    def required(self, name: str) -> str:
        self.forms.setdefault(name, TEXT)
        self.needed.append(name)
        return "x"

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        self.forms[name] = {"enum": list(allowed)}
        return allowed[0]

    def optional_integer(self, name: str, least: int, most: int) -> int | None:
        self.forms[name] = {"type": "integer", "minimum": least, "maximum": most}
        return None

    def trimmed_text(self) -> str:
        self.text = "text"
        return "x"

    def items(self) -> tuple[str, ...]:
        self.text = "items"
        return ("1",)


def _rule() -> dict[str, Any]:
    """One rule of an option: a bare name, or a name with its keys (C4)."""
    keys = {name: _keys_of(action) for name, action in BY_YAML_KEY.items()}
    one = {"type": "object", "properties": keys, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [{"enum": list(BY_YAML_KEY)}, one]}


def _keys_of(action: type[Action]) -> dict[str, Any]:
    written = _WrittenTracer()
    with suppress(InvalidActionError):
        action.read(written)  # type: ignore[arg-type]  # it has all that actions use
    names = [*action.ATTRIBUTES, *([action.TEXT_KEY] if action.TEXT_KEY else [])]
    doc = sys.modules[action.__module__].__doc__ or ""
    told = {name: text.strip().replace("``", "`") for name, text in _TABLE_ROW.findall(doc)}
    keys = {}
    for name in names:
        is_text = name == action.TEXT_KEY
        form = dict(written.forms.get(name, TEXT))
        if is_text and written.text == "items":
            form = {"anyOf": [{"type": "array", "items": TEXT}, TEXT]}
        description = told.get("text" if is_text else name)
        keys[name] = {**form, **({"description": description} if description else {})}
    found: dict[str, Any] = {"type": ["object", "null"], "properties": keys, "additionalProperties": False}
    return {**found, "description": doc.partition("\n")[0].replace("``", "`"), **_required(written.needed)}


def _required(names: list[str]) -> dict[str, Any]:
    return {"required": names} if names else {}
