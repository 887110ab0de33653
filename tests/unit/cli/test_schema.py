"""The JSON Schemas: whatever a loader takes they take, and what it does not know they do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from callinteractive.actions import BY_YAML_KEY
from callinteractive.config import SITE_KEYS, load_ivr_file, load_site
from callinteractive.errors import ConfigError
from cli import schema
from cli.main import main
from tests.support import stack
from tests.unit import test_documents

ROOT = Path(__file__).parents[3]
SCHEMAS = {kind: schema.schema(kind) for kind in schema.KINDS}
FILES = [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("packaging/**/*.yaml"), *ROOT.glob("cli/templates/*/ivr.yaml")]


def problems(kind: str, text: str) -> list[str]:
    data = json.loads(json.dumps(yaml.safe_load(text)))  # an editor's keys are texts
    validator = jsonschema.Draft7Validator(SCHEMAS[kind])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]


def of_kind(text: str) -> str | None:
    keys = yaml.safe_load(text)
    if not isinstance(keys, dict):
        return None
    return "ivr" if "ivrs" in keys or "contexts" in keys else "site" if keys.keys() & {"node"} else None


EXAMPLES = [
    *test_documents.blocks("yaml"),
    *((str(path.relative_to(ROOT)), path.read_text()) for path in FILES),
    ("tests", stack.Net("127.9.9", 20000).site_yaml(3)),
]


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_every_example_is_taken(name: str, text: str) -> None:
    kind = of_kind(text)
    assert kind is None or problems(kind, text) == [], name


def test_there_are_examples_of_both() -> None:
    kinds = [of_kind(text) for _, text in EXAMPLES]
    assert kinds.count("ivr") > 5
    assert kinds.count("site") > 5


@pytest.mark.parametrize("kind", schema.KINDS)
def test_it_is_a_schema(kind: schema.Kind) -> None:
    printed = json.loads(CliRunner().invoke(main, ["schema", kind]).stdout)
    assert printed == SCHEMAS[kind]
    jsonschema.Draft7Validator.check_schema(printed)


def test_it_has_every_key_of_a_site_and_every_rule() -> None:
    assert SCHEMAS["site"]["properties"].keys() == set(SITE_KEYS)
    context = SCHEMAS["ivr"]["properties"]["contexts"]["additionalProperties"]
    names, one = context["properties"]["options"]["additionalProperties"]["items"]["anyOf"]
    assert set(names["enum"]) == one["properties"].keys() == set(BY_YAML_KEY)


def nested(found: Any, keys: frozenset[str] = frozenset()) -> frozenset[str]:
    """All keys of all mappings."""
    if isinstance(found, dict):
        keys |= frozenset(found.get("properties", ()))
        for value in found.values():
            keys = nested(value, keys)
    elif isinstance(found, list):
        for value in found:
            keys = nested(value, keys)
    return keys


def test_it_has_the_keys_that_a_loader_names() -> None:
    """A key that is not known makes the loaders name those that are."""
    site = {"node": 1, "x": 1, **{name: {"x": 1} for name in ("sip", "sidecars", "rtpengine", "kamailio", "defaults")}}
    site |= {name: [{"x": 1}] for name in ("edges", "rtpengines", "trunks", "extensions")}
    ivr = {"ivrs": [{"x": 1}], "contexts": {"1": {"x": 1}}}
    for kind, load, document in (("site", load_site, site), ("ivr", load_ivr_file, ivr)):
        with pytest.raises(ConfigError) as error:
            load(yaml.safe_dump(document), "file")
        known = {name for names in re.findall(r"known here: (.*)", str(error.value)) for name in names.split(", ")}
        assert known - nested(SCHEMAS[kind]) == set()


IVR = """\
ivrs: [{number: "000*332", id: 1, entry_context: 1}]
contexts:
  1:
    options:
      start: [hangup, {pause: {length: 5}}, {hangup: }]
"""
SITE = "node: 1\nsip: {listen: [\"udp:127.0.0.1:5060\"]}\nextensions: [{number: '0*1', id: 1, password: x}]\n"


@pytest.mark.parametrize(
    ("kind", "text", "old", "new"),
    [
        ("ivr", IVR, "id: 1", "ids: 1"),
        ("ivr", IVR, "id: 1", "id: one"),
        ("ivr", IVR, "entry_context: 1", "entry_context: 1, answer: never"),
        ("ivr", IVR, "hangup,", "hang_up,"),
        ("ivr", IVR, "length: 5", "lenght: 5"),
        ("ivr", IVR, "length: 5", "length: 99999"),
        ("ivr", IVR, "{pause: {length: 5}}", "{pause: {length: 5}, hangup: }"),
        ("ivr", IVR, "{pause: {length: 5}}", "{set_var: {value: 5}}"),
        ("site", SITE, "node: 1", "node: 1\nsipp: {}"),
        ("site", SITE, "listen", "listens"),
        ("site", SITE, "node: 1", "node: 1\ninternal_calls: perhaps"),
        ("site", SITE, "node: 1", "node: 1\nsidecars: {count: 0}"),
    ],
)
def test_a_mistake_is_seen(kind: str, text: str, old: str, new: str) -> None:
    assert problems(kind, text) == []
    assert old in text
    assert problems(kind, text.replace(old, new, 1)) != []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("site", SITE + "sidecars: {count: 8, pools: {vip: [7]}}\n"),
        ("site", SITE + "internal_calls: 'no'\n"),  # as YAML 1.2 reads no
        ("site", SITE + "api: no\nstate: none\n"),
        ("site", SITE + "trunks: [{name: a, to: ['sip:a.example'], username: u, password: {env: P}, register: yes}]\n"),
        ("site", SITE + "trunks: [{name: a, to: 'sip:a.example', media: {srtp: no}, inbound: yes}]\n"),
        ("ivr", IVR.replace("{hangup: }", '{simple_transfer: {to: ["1"], final: no}}, {simple_transfer: {to: "1,2"}}')),
    ],
)
def test_all_forms_of_a_value_are_taken(kind: str, text: str) -> None:
    assert problems(kind, text) == []


def test_an_action_tells_what_its_keys_are_for() -> None:
    printed = json.dumps(SCHEMAS["ivr"])
    assert "the file's name in the sound library" in printed
    assert '"description": ""' not in printed
