"""The reference says what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from callinteractive import record
from callinteractive.config import load_ivr_file
from callinteractive.events import FetchOutcome
from callinteractive.facts import CallFacts
from tools import reference

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "text"), reference.pages().items())
def test_a_page_made_of_code_is_up_to_date(name: str, text: str) -> None:
    assert (reference.FOLDER / name).read_text() == text, "run: make reference"


def first_column(heading: str) -> list[str]:
    """The names of the table below a heading of the page about requests."""
    page = (ROOT / "docs/reference/request.md").read_text()
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_R2_the_reference_has_every_parameter() -> None:
    facts = CallFacts("id", "1:id", "1", "Ann", "+1", "0*1", 1, "+1", "0*2", 2)
    assert sorted(first_column("Parameters")) == sorted(facts.parameters("Ann", "1"))


def test_the_reference_has_every_outcome_of_a_request() -> None:
    assert sorted(first_column("When a request fails")) == sorted({"ok", "status", "invalid", *get_args(FetchOutcome)})


def test_E1_the_page_of_the_events_has_every_event() -> None:
    page = (ROOT / "docs/events.md").read_text()
    assert [name for name in get_args(record.Name) if f"| `{name}` |" not in page] == []


def events_of_logs(path: Path) -> Iterator[str]:
    """What a module logs for people: LOG.info("…"), self.log.error("…"), call.note("error", "…")."""
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        logger = ast.unparse(call.func.value).lower().endswith("log")
        at = 0 if logger and call.func.attr in ("info", "warning", "error", "critical") else 1
        if (at == 0 or call.func.attr == "note") and len(call.args) > at:
            event = call.args[at]
            if isinstance(event, ast.Constant) and isinstance(event.value, str) and "%" not in event.value:
                yield event.value


def test_the_page_of_the_logs_has_every_line() -> None:
    page = (ROOT / "docs/logs.md").read_text()
    modules = [path for folder in ("sidecar", "callinteractive", "cli/api") for path in (ROOT / folder).rglob("*.py")]
    events = {event for path in modules for event in events_of_logs(path)}
    assert len(events) > 50
    rows = "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    assert sorted(event for event in events if f"`{event}`" not in rows) == []


def test_a_rule_is_where_the_page_of_the_architecture_says() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (\d{4}.*?) \| (.*?) \|$", page.partition("## Which rule is where")[2], re.MULTILINE)
    assert len(rows) > 15
    for rules, files in rows:
        paths = [ROOT / name for name in re.findall("`(.*?)`", files)]
        modules = [module for path in paths for module in (path.rglob("*.py") if path.is_dir() else [path])]
        text = "".join(module.read_text() for module in modules)
        assert [rfc for rfc in re.findall(r"\b\d{4}\b", rules) if f"RFC {rfc}" not in text] == [], files


def test_limits_name_keys_that_exist() -> None:
    page = (ROOT / "docs/reference/request.md").read_text()
    (limits,) = re.findall(r"^## Limits\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    keys = re.findall(r"\| `(\w+)` \|$", limits, re.MULTILINE)
    ivr = {"number": "0*1", "id": 1, "entry_context": 1, **dict.fromkeys(keys, 1), "follow_redirects": True}
    assert len(keys) == 3
    load_ivr_file(yaml.safe_dump({"ivrs": [ivr], "contexts": {1: {"options": {"start": []}}}}), "ivr.yaml")


def test_no_page_has_codes_of_rules() -> None:
    """Readers of the documents do not know them."""
    code = re.compile(r"\b[ACRX][0-9]{1,2}\b")
    assert {name: code.findall(text) for name, text in reference.pages().items() if code.search(text)} == {}
