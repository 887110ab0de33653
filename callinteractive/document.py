"""A YAML document: every value knows its line, every complaint is a `Finding`, nothing is guessed.

It is built on PyYAML's node tree. Loaded objects have lost their lines and the spelling of scalars: ``0123`` must stay
four characters, and ``no`` must differ from ``"no"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import yaml

from callinteractive.errors import ConfigError, Finding
from callinteractive.near import near

MAX_CHARACTERS = 4 * 1024 * 1024
MAX_DEPTH = 20
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_BOOLEAN = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_TEXT = "tag:yaml.org,2002:str"
_TRUE = ("yes", "true", "on")
_WORDS = ("yes", "no", "true", "false", "on", "off")
_TAGS = {form(word): _BOOLEAN for word in _WORDS for form in (str, str.capitalize, str.upper)} | dict.fromkeys(
    ("", "~", "null", "Null", "NULL"), _NULL
)
"""What YAML 1.1 makes of these words without quotes. All others are texts here."""
_UNUSUAL = re.compile(r"^%|[\t\x85\u2028\u2029\ufeff]|[|>][-+0-9]*#|(?<![^\s,\[{-])\?(?!\S)", re.MULTILINE)
"""Where libyaml and PyYAML may read differently."""
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_T = TypeVar("_T")


class Value:
    """One value of the document. A reader notes a finding and returns a default, so that one run finds everything."""

    def __init__(self, document: Document, node: yaml.Node | None, path: str, line: int) -> None:
        self._document = document
        self._node = node
        self.path = path
        self.line = line

    @property
    def file(self) -> str:
        return self._document.filename

    @property
    def is_missing(self) -> bool:
        return self._node is None or self._node.tag == _NULL

    @property
    def _is_text(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and not self.is_missing

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    def wrong(self, reason: str) -> None:
        """Note a finding here."""
        self._document.findings.append(Finding(self._document.filename, self.line, self.path, reason))

    def text(self, default: str | None = None) -> str:
        """The scalar as it is spelled. A finding where it is missing and has no `default`."""
        if self.is_missing:
            if default is None:
                self.wrong("is missing")
            return default or ""
        if not isinstance(self._node, yaml.ScalarNode):
            self.wrong("must be one value, not a list or a mapping")
            return default or ""
        return str(self._node.value)

    def optional_text(self) -> str | None:
        return None if self.is_missing else self.text()

    def scalar(self) -> str | bool:
        """The scalar; an unquoted YAML boolean as a bool."""
        text = self.text()
        if self._node is not None and self._node.tag == _BOOLEAN:
            return text.lower() in _TRUE
        return text

    def boolean(self, default: bool) -> bool:
        if self.is_missing:
            return default
        value = self.scalar()
        if isinstance(value, bool):
            return value
        self.wrong(f"must be yes or no, not {value[:40]!r}")
        return default

    def number(self, kind: type[_T], default: _T | None, least: float, most: float) -> _T:
        """An int or float in [least, most]. A finding where it is missing and has no `default`."""
        text = self.text(None if default is None else str(default))
        try:
            value = kind(text)  # type: ignore[call-arg]  # int and float both take a str
            if text.isascii() and "_" not in text and least <= value <= most:  # type: ignore[operator]
                return value
        except ValueError:
            pass
        if self._is_text:
            self.wrong(f"must be a number from {least} to {most}, not {text[:40]!r}")
        return kind(least) if default is None else default  # type: ignore[call-arg]

    def integer(self, default: int | None, least: int, most: int) -> int:
        return self.number(int, default, least, most)

    def optional_integer(self, least: int, most: int) -> int | None:
        return None if self.is_missing else self.integer(None, least, most)

    def choice(self, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(default)
        if value in allowed:
            return value
        self.wrong(f"must be one of {', '.join(allowed)}, not {value[:40]!r}{near(value, allowed)}")
        return default

    def checked(self, check: Callable[[str], str | None], default: str | None = None) -> str:
        """A text. `check` returns what is wrong with it, or None."""
        value = self.text(default)
        if self._is_text and (reason := check(value)):
            self.wrong(reason)
        return value

    def items(self) -> Iterator[Value]:
        """The values of a list; a missing list is empty."""
        if isinstance(self._node, yaml.SequenceNode):
            for index, node in enumerate(self._node.value):
                yield Value(self._document, node, f"{self.path}[{index}]", _line(node))
        elif not self.is_missing:
            self.wrong("must be a list: [ … ]")

    def section(self, *keys: str, withdrawn: Mapping[str, str] | None = None) -> dict[str, Value]:
        """The value as a mapping with these keys. Any other key of it is a finding; those not given are missing.

        `withdrawn` are keys of earlier versions, or of the other file, each with what to do about it.
        """
        entries = self.entries()
        for name in entries.keys() - set(keys):
            remedy = (withdrawn or {}).get(name)
            meant = near(name, keys)
            entries[name].wrong(remedy or f"unknown key {name[:40]!r}{meant}; known here: {', '.join(sorted(keys))}")
        return {key: entries.get(key) or Value(self._document, None, self._path_of(key), self.line) for key in keys}

    def entries(self) -> dict[str, Value]:
        """Keys and values of a mapping in their order; a missing mapping is empty. A key given twice is a finding."""
        if not isinstance(self._node, yaml.MappingNode):
            if not self.is_missing:
                self.wrong("must be a mapping: {key: value}")
            return {}
        entries: dict[str, Value] = {}
        for key, node in self._node.value:
            if not isinstance(key, yaml.ScalarNode):
                Value(self._document, key, self.path, _line(key)).wrong("a key must be one value; put it in quotes")
                continue
            name = str(key.value)
            here = Value(self._document, node, self._path_of(name), _line(key))
            if ":" in name and here.is_missing:  # in braces, "file:a.wav" is a key without a value
                Value(self._document, key, self.path, _line(key)).wrong(
                    f"write a space behind the colon: {': '.join(name.split(':', 1))[:80]}"
                )
            elif name in entries:
                here.wrong(f"{name[:40]!r} is given twice, first in line {entries[name].line}")
            else:
                entries[name] = here
        return entries

    def _path_of(self, key: str) -> str:
        return f"{self.path}.{key}".lstrip(".")


class Document:
    """A parsed YAML text. Raises ConfigError when it is not YAML, or too deep or too long to read safely."""

    def __init__(self, text: str, filename: str) -> None:
        self.filename = filename
        self.findings: list[Finding] = []
        if len(text) > MAX_CHARACTERS:
            self._refuse(1, f"more than {MAX_CHARACTERS} characters")
        self._tree = self._compose(text)
        self.root = Value(self, self._tree, "", 1)

    def refuse_swapped(self, keys_of_other: Collection[str], reason: str) -> None:
        """Raise ConfigError with `reason` alone where all keys are those of the other file."""
        pairs = self._tree.value if isinstance(self._tree, yaml.MappingNode) else []
        if pairs and all(isinstance(key, yaml.ScalarNode) and key.value in keys_of_other for key, _ in pairs):
            self._refuse(1, reason)

    def finish(self) -> None:
        """Raise ConfigError if there are findings."""
        if self.findings:
            raise ConfigError(sorted(self.findings))

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return _compose_fast(text)
        except _UnusualError:
            pass  # PyYAML reads it, or says what is wrong with it
        try:
            loader = _Loader(text)
        except yaml.reader.ReaderError as error:
            self._refuse(text.count("\n", 0, error.position) + 1, f"not text: it holds {chr(error.character)!r}")
        try:
            return loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            begun = error.context_mark if error.context in _BEGUN else None  # the problem is where its end is missed
            mark = begun or error.problem_mark or error.context_mark
            reason = ", ".join(filter(None, (error.context, error.problem)))
            hint = next((f"; {hint}" for part, hint in _HINTS if part in reason), "")
            column = f", column {mark.column + 1}" if mark else ""
            self._refuse(mark.line + 1 if mark else 1, f"not YAML: {reason}{column}{hint}")
        except (ValueError, OverflowError):  # PyYAML: "\UFFFFFFFF", or a %YAML with a very long number
            self._refuse(loader.line + 1, "not YAML: an escape or a version that can't be read")

    def _refuse(self, line: int, reason: str) -> NoReturn:
        raise ConfigError([Finding(self.filename, line, "", reason)]) from None


_BEGUN = ("while scanning a simple key", "while scanning a quoted scalar")
_HINTS = (
    ("an alias", 'put "*" in quotes'),
    ("character '\\t' that cannot start", "indent with spaces, not with tabs"),
    ("that cannot start any token", "put a text that begins with it in quotes"),
    ("mapping values are not allowed", 'put a text with ": " in quotes, and begin keys of one mapping in one column'),
    ("could not find expected ':'", "write key: value or - item, with a space behind the colon or dash"),
    ("expected <block end>, but found '<scalar>'", "nothing follows a closing quote; inside '…' write '' for a quote"),
    ("expected <block end>", "keys of one mapping, and items of one list, begin in one column"),
    ("but got '?'", 'put a text with "?" in quotes'),
    ("expected ',' or", "a comma or a bracket is missing"),
    ("but found '<stream end>'", 'a bracket is not closed; "#" without quotes begins a comment'),
    ("unexpected end of stream", "a quote is not closed"),
    ("another document", "leave out the line ---"),
)
"""What to do about what PyYAML says, by a part of that."""


class _UnusualError(Exception):
    """This text is not for the fast reader."""


def _compose_fast(text: str) -> yaml.Node | None:
    """The tree of an ordinary document, ten times as fast as PyYAML: by libyaml.

    Raises _UnusualError where there is no libyaml, and for all that `_Loader` refuses or may read differently.
    """
    if not yaml.__with_libyaml__ or _UNUSUAL.search(text) or yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise _UnusualError
    try:
        next_event = yaml.CSafeLoader(text).get_event
        next_event()  # the stream starts
        if isinstance(next_event(), yaml.StreamEndEvent):
            return None
        root = _compose_node(next_event(), next_event, 0, is_flow=False)
        if root.tag == _NULL:
            raise _UnusualError
        next_event()  # the document ends
        if not isinstance(next_event(), yaml.StreamEndEvent):
            raise _UnusualError
    except (yaml.YAMLError, ValueError) as error:
        raise _UnusualError from error
    return root


def _compose_node(event: Any, next_event: Callable[[], Any], depth: int, *, is_flow: bool) -> yaml.Node:
    """The node that `event` begins, which is inside `depth` others. Raises _UnusualError."""
    kind = type(event)
    if kind is yaml.AliasEvent or event.anchor is not None or event.tag is not None:
        raise _UnusualError
    if kind is yaml.ScalarEvent:
        return _compose_scalar(event, is_flow=is_flow)
    if depth == MAX_DEPTH:
        raise _UnusualError
    depth, is_flow = depth + 1, event.flow_style
    children = []
    while type(inner := next_event()) not in _ENDS:
        children.append(_compose_node(inner, next_event, depth, is_flow=is_flow))
    if kind is yaml.SequenceStartEvent:
        return yaml.SequenceNode("", children, event.start_mark)
    return yaml.MappingNode("", list(zip(children[::2], children[1::2], strict=True)), event.start_mark)


def _compose_scalar(event: Any, *, is_flow: bool) -> yaml.Node:
    value, is_plain = event.value, event.implicit[0]
    if _NO_TEXT.search(value) or (is_plain and is_flow and "?" in value):
        raise _UnusualError
    return yaml.ScalarNode(_TAGS.get(value, _TEXT) if is_plain else _TEXT, value, event.start_mark)


class _Loader(yaml.SafeLoader):
    """Refuses what nobody needs here and what could harm: aliases (cycles, bombs), tags, deep nesting, non-text."""

    depth = 0

    def get_event(self) -> Any:
        event = super().get_event()  # type: ignore[no-untyped-call]
        if reason := self._refusal(event):
            raise yaml.composer.ComposerError(None, None, reason, event.start_mark)
        return event

    def _refusal(self, event: yaml.Event) -> str | None:
        if isinstance(event, yaml.AliasEvent):
            return 'aliases are not supported; repeat the value, jump to a shared context, or put "*" in quotes'
        if isinstance(event, yaml.CollectionEndEvent):
            self.depth -= 1
        if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            return None
        if event.tag is not None:
            return f"tags ({event.tag[:40]}) are not supported; put a text that begins with ! in quotes"
        if isinstance(event, yaml.ScalarEvent):
            return "a NUL or half a surrogate pair is no text; leave it out" if _NO_TEXT.search(event.value) else None
        self.depth += 1
        return f"nested deeper than {MAX_DEPTH} levels" if self.depth > MAX_DEPTH else None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
