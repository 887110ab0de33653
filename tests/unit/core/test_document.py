"""YAML read by hand: every value with its line, nothing guessed, nothing harmful."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.document import MAX_CHARACTERS, MAX_DEPTH, Document, Value
from callinteractive.errors import ConfigError, Finding

_PIECES = [*"[]{},-?#&*!%|>~:'\"", "\n", "\n  ", "\n    ", "a", "b: c", ": ", "- ", "? ", " ", "---\n", "...\n", "\r\n"]
_PIECES += [
    "null",
    "yes",
    "'no'",
    '"\\x41"',
    '"\\0"',
    "a?b",
    "a:b",
    "é",
    "😀",
    "\t",
    "\u2028",
    "|\n",
    ">-\n",
    "|2#",
    "%YAML 1.1\n",
]


@pytest.fixture(autouse=True, params=["libyaml", "no libyaml"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test reads with both readers: they must agree to the letter."""
    if request.param == "no libyaml":
        monkeypatch.setattr(yaml, "__with_libyaml__", False)


def reason_of(text: str) -> Finding:
    with pytest.raises(ConfigError) as caught:
        Document(text, "f.yaml")
    (finding,) = caught.value.findings
    return finding


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: b\nc: [", 2, "not YAML: while parsing a flow"),
        ("a: b: c", 1, "not YAML: mapping values are not allowed here"),
        ("a:\n\tb: c", 2, "cannot start any token"),
        ("a: b\n--- c", 2, "expected a single document"),
        ("\n*: [hangup]", 2, 'put "*" in quotes'),
        ("a: &b c\nd: *b", 2, "aliases are not supported; repeat the value"),
        ("a: &a [*a]", 1, "aliases are not supported"),
        (
            "a:\n  !!python/object/apply:os.system [x]",
            2,
            "tags (tag:yaml.org,2002:python/object/apply:os) are not supported",
        ),
        ("a: !!bool maybe", 1, "tags (tag:yaml.org,2002:bool) are not supported"),
        ("a: !x b", 1, "put a text that begins with ! in quotes"),
        ("a: !%FF b", 1, "not YAML: while scanning a tag"),
        ("\n" + "[" * 1_000, 2, f"nested deeper than {MAX_DEPTH} levels"),
        ("a: " + "{b: " * 30 + "c" + "}" * 30, 1, f"nested deeper than {MAX_DEPTH} levels"),
        ('a: b\nc: "\\0"', 2, "a NUL or half a surrogate pair is no text"),
        ('a: "\\uD800"', 1, "a NUL or half a surrogate pair is no text"),
        ("a\nb\x00c", 2, "not text: it holds '\\x00'"),
        ("a: b\nc: \x07", 2, "not text: it holds '\\x07'"),
        ('\na: "\\UFFFFFFFF"', 2, "an escape or a version that can't be read"),
        ("%YAML 1." + "9" * 5000 + "\n--- a", 1, "an escape or a version that can't be read"),
        ("a" * (MAX_CHARACTERS + 1), 1, "more than 4194304 characters"),
    ],
)
def test_what_is_no_document_is_told_with_its_line(text: str, line: int, reason: str):
    finding = reason_of(text)
    assert reason in finding.reason
    assert finding.line == line
    assert str(finding).startswith(f"f.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "line", "column", "hint"),
    [
        ("a:\n\tb: c", 2, 1, "indent with spaces"),
        ("a: @x", 1, 4, "in quotes"),
        ("a: b: c", 1, 5, 'put a text with ": " in quotes'),
        ("a:\n  b: 1\n   c: 2", 3, 5, "begin keys of one mapping in one column"),
        ("a:\n  b: 1\n c: 2", 3, 2, "begin in one column"),
        ("a: 'it's'", 1, 8, "nothing follows a closing quote"),
        ("a: {*: b}", 1, 6, 'put "*" in quotes'),
        ("a: {#: b}", 1, 10, '"#" without quotes begins a comment'),
        ('a: "b', 1, 4, "a quote is not closed"),
        ("a: 'b\nc: d\ne: f\n", 1, 4, "a quote is not closed"),
        ("a: {url: http://h/a?b=c}", 1, 20, 'put a text with "?" in quotes'),
        ("a: [1\nb: 2", 2, 2, "a bracket is missing"),
        ("a: b\nc:d", 2, 1, "with a space behind the colon"),
        ("a:\n  - b\n  -c\nd: e", 3, 3, "with a space behind the colon or dash"),
        ("a: b\n---\nc: d", 2, 1, "leave out the line ---"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_column_and_what_to_do(text: str, line: int, column: int, hint: str):
    finding = reason_of(text)
    assert finding.line == line
    assert f", column {column}; " in finding.reason
    assert hint in finding.reason


def test_depth_is_that_of_the_place_not_the_number_of_values():
    assert Document("[" + "[[]], " * 100 + "]", "f.yaml").root.is_list


def test_scalars_keep_their_spelling():
    values = Document("[0123, 000*332, +7812, 1_000, 0x10, 1e3, 2024-01-01, ~x, 'no', \"a\\tb\", on]", "f").root.items()
    spelled = ["0123", "000*332", "+7812", "1_000", "0x10", "1e3", "2024-01-01", "~x", "no", "a\tb", "on"]
    assert [value.text() for value in values] == spelled


def test_a_boolean_is_told_from_its_word_in_quotes():
    values = Document("[no, No, off, false, yes, True, on, 'no', \"yes\", n, y]", "f").root.items()
    expected = [False, False, False, False, True, True, True, "no", "yes", "n", "y"]
    assert [value.scalar() for value in values] == expected


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0", 0), ("10", 10), ("007", 7), ("+5", 5), ("'5'", 5), ("", 3), ("~", 3)]
)
def test_an_integer(text: str, value: int):
    document = Document(f"a: {text}", "f")
    assert document.root.entries()["a"].integer(3, 0, 10) == value
    document.finish()


@pytest.mark.parametrize("text", ["11", "-1", "x", "1.5", "0x5", "1_0", "5s", "[5]", "yes", "٣", "9" * 5000, "''"])
def test_what_is_no_integer_is_a_finding(text: str):
    document = Document(f"a: {text}", "f")
    assert document.root.entries()["a"].integer(3, 0, 10) == 3
    (finding,) = document.findings
    assert (finding.line, finding.path) == (1, "a")


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("1", 1.0), ("", 2.0), ("1e1", 10.0)])
def test_a_number(text: str, value: float):
    document = Document(f"a: {text}", "f")
    assert document.root.entries()["a"].number(float, 2.0, 0.05, 60) == value
    document.finish()


@pytest.mark.parametrize("text", [".nan", "nan", ".inf", "inf", "1e400", "-1", "0", "61", "1:30"])
def test_what_is_no_number_is_a_finding(text: str):
    document = Document(f"a: {text}", "f")
    assert document.root.entries()["a"].number(float, 2.0, 0.05, 60) == 2.0
    assert document.findings[0].reason == f"must be a number from 0.05 to 60, not '{text}'"


def test_a_number_that_must_be_there():
    document = Document("{}", "f")
    assert document.root.section("a")["a"].integer(None, 5, 10) == 5
    assert [finding.reason for finding in document.findings] == ["is missing"]


def test_every_finding_has_its_place_and_all_are_told():
    document = Document("a:\n  b: 1\n  b:\n    - x\n    - [y]\n  [c]: 2\n", "f.yaml")
    section = document.root.section("a", "z", "list")
    assert section["a"].section("b")["b"].text() == "1"
    section["z"].text()
    section["list"].items()
    with pytest.raises(ConfigError) as caught:
        document.finish()
    assert str(caught.value).splitlines() == [
        "f.yaml:1: z: is missing",
        "f.yaml:3: a.b: 'b' is given twice, first in line 2",
        "f.yaml:6: a: a key must be one value; put it in quotes",
    ]


def test_an_unknown_key_is_told_with_the_known_ones():
    document = Document("a: 1\nbb: 2", "f")
    section = document.root.section("b", "a")
    assert (section["b"].text(""), section["a"].text()) == ("", "1")
    assert document.findings == [Finding("f", 2, "bb", "unknown key 'bb'; known here: a, b")]


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (lambda value: value.text(), "[x]", "must be one value, not a list or a mapping"),
        (lambda value: value.boolean(False), "maybe", "must be yes or no, not 'maybe'"),
        (lambda value: value.choice("a", ("a", "b")), "c", "must be one of a, b, not 'c'"),
        (lambda value: list(value.items()), "x", "must be a list: [ … ]"),
        (lambda value: value.entries(), "x", "must be a mapping: {key: value}"),
        (lambda value: value.checked(lambda text: "bad: " + text), "x", "bad: x"),
    ],
)
def test_what_a_value_must_be(read, text: str, reason: str):  # type: ignore[no-untyped-def]
    document = Document(f"a: {text}", "f")
    read(document.root.entries()["a"])
    assert [finding.reason for finding in document.findings] == [reason]


def test_what_is_missing_is_the_default():
    section = Document("a:", "f").root.section("a", "b")
    for name in ("a", "b"):
        value = section[name]
        assert value.is_missing
        assert value.optional_text() is None
        assert value.text("x") == "x"
        assert value.boolean(True) is True
        assert value.choice("a", ("a",)) == "a"
        assert list(value.items()) == []
        assert value.entries() == {}
    assert Document("", "f").root.is_missing
    assert Document("a: yes", "f").root.entries()["a"].boolean(False)


def read(text: str) -> object:
    """All that a document holds: every value with its line and kind, or the findings."""
    try:
        return _content(Document(text, "f").root)
    except ConfigError as error:
        return error.findings


def _content(value: Value) -> object:
    if value.is_mapping:
        return value.line, [(key, _content(inner)) for key, inner in value.entries().items()]
    if value.is_list:
        return value.line, [_content(inner) for inner in value.items()]
    return value.line, value.is_missing, value.scalar() if not value.is_missing else None


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_it_does_not_matter_whether_there_is_libyaml(text: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", True)
        fast = read(text)
        patch.setattr(yaml, "__with_libyaml__", False)
        assert fast == read(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "? ",
        "a: [b?c]",
        "a: b?c",
        "a: |#\n  b",
        "a: &b c",
        "--- a\n--- b",
        "a:\tb",
        '"\\0"',
        "a: \x07",
        "[" * 21,
    ],
)
def test_libyaml_leaves_what_it_reads_otherwise(text: str, monkeypatch: pytest.MonkeyPatch):
    found = read(text)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert found == read(text)
