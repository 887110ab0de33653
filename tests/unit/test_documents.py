"""What the documents show is what the code takes."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path, PurePath

import click
import pytest
import yaml
from click.testing import CliRunner

from callinteractive import response
from callinteractive.config import load_ivr_file, load_site
from cli.main import main

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "bench", "sipp-scenarios", "tests")
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")))
    if path != ROOT / "docs/reference/commands.md"  # made by `make docs`
)
DECISIONS = ROOT / "docs" / "decisions"
HEADINGS = ["Context", "Decision", "What was measured", "Consequences", "What would change our mind"]


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of this language, with its document."""
    return [
        (name, block)
        for name in DOCUMENTS
        for block in re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    ]


def titled_blocks() -> list[tuple[str, str, str]]:
    """Every fenced block that says of which file it is a part: its document, the file and the block."""
    fence = re.compile(r'^ *```\w+ title="([^~"]*)"\n(.*?)^ *```', re.MULTILINE | re.DOTALL)  # ~: a reader's file
    return [(name, *found) for name in DOCUMENTS for found in fence.findall((ROOT / name).read_text())]


@pytest.mark.parametrize(("document", "file", "text"), titled_blocks())
def test_parts_of_files_are_what_the_files_hold(document: str, file: str, text: str) -> None:
    assert text.strip() in (ROOT / file).read_text()


@pytest.mark.parametrize(("document", "text"), blocks("python"))
def test_python_examples_are_python(document: str, text: str) -> None:
    compile(text, document, "exec")


@pytest.mark.parametrize(("document", "text"), blocks("json"))
def test_json_examples_are_json(document: str, text: str) -> None:
    json.loads(text)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_that_no_test_of_ours_reads_is_a_part_of_a_file(document: str) -> None:
    """A test runs that file."""
    untitled = re.compile(r"^ *```(php|js|javascript|mjs|ini|toml) *$", re.MULTILINE)
    assert untitled.findall((ROOT / document).read_text()) == []


@pytest.mark.parametrize(("document", "text"), blocks("yaml"))
def test_yaml_examples_load(document: str, text: str) -> None:
    load = load_ivr_file if "ivrs:" in text else load_site
    load(text, document)


@pytest.mark.parametrize(("document", "text"), blocks("xml"))
def test_xml_examples_parse(document: str, text: str) -> None:
    parsed = response.parse(text.encode())
    assert parsed.actions, document
    assert parsed.warnings == ()


def command_lines() -> list[tuple[str, tuple[str, ...]]]:
    """Every command of a shell block: its document and its words."""
    found = []
    for language in ("sh", "console"):
        for document, text in blocks(language):
            for line in text.replace("\\\n", " ").splitlines():
                prompt, is_prompt, typed = line.partition("$ ")
                if language == "console" and not (is_prompt and not prompt.strip()):
                    continue  # what a command says
                lexer = shlex.shlex(typed if language == "console" else line, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                for is_end, words in itertools.groupby(lexer, key=lambda word: set(word) <= set("|&;()<>")):
                    if not is_end:
                        found.append((document, tuple(words)))
    return found


def command_lines_of(name: str) -> list[tuple[str, list[str]]]:
    """What stands behind this command, also behind `sudo` and a folder."""
    return [
        (document, list(words[start + 1 :]))
        for document, words in command_lines()
        for start, word in enumerate(words[:3])
        if PurePath(word).name == name and all(before == "sudo" or "=" in before for before in words[:start])
    ]


@pytest.mark.parametrize(("document", "arguments"), command_lines_of("callinteractive"))
def test_commands_are_what_the_command_line_takes(document: str, arguments: list[str]) -> None:
    """Each command that a document shows exists, with these options and so many arguments."""
    command: click.Command = main
    context = click.Context(command)
    while isinstance(command, click.Group) and arguments:
        name, command, arguments = command.resolve_command(context, arguments)  # type: ignore[assignment]
        context = click.Context(command, context, name)
    if "--help" not in arguments:
        _, left, _ = command.make_parser(context).parse_args(arguments)
        assert left == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_the_text_exist(document: str) -> None:
    named = re.findall(r"`callinteractive ([a-z][a-z-]*)", (ROOT / document).read_text())
    assert [name for name in named if name not in main.commands] == []


@pytest.mark.parametrize(("document", "arguments"), command_lines_of("make"))
def test_make_s_targets_exist(document: str, arguments: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target in arguments if "=" not in target and target not in targets] == []


def test_every_action_of_the_readmes_table_parses_without_a_warning() -> None:
    table = re.findall(r"^\| `(<.*>)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    parsed = response.parse(f"<Response>{''.join(table)}</Response>".encode())
    assert len(parsed.actions) == len(table) == 7
    assert parsed.warnings == ()


def test_the_readme_shows_what_simulate_prints(tmp_path: Path) -> None:
    """Line by line, but for the times."""
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"^```console\n\$ callinteractive simulate (.*)\n((?:.*\n)*?)```", readme, re.MULTILINE)
    assert block is not None
    ivr = tmp_path / "ivr.yaml"  # the site.yaml beside the template is a template too
    ivr.write_text((ROOT / "cli" / "templates" / "common" / "ivr.yaml").read_text())
    printed = CliRunner().invoke(main, ["simulate", "--ivr", str(ivr), *block[1].split()]).stdout.splitlines()
    shown = block[2].splitlines()
    assert shown[-1].strip() == "…"
    assert printed[: len(shown) - 1] == shown[:-1]


def test_the_configuration_reference_names_every_key() -> None:
    """A key that is not known makes the loaders name those that are."""
    reference = (ROOT / "docs/configuration.md").read_text()
    site = {
        "node": 1,
        "x": 1,
        "sip": {"x": 1},
        "sidecars": {"x": 1},
        "rtpengine": {"x": 1},
        "kamailio": {"x": 1},
        "defaults": {"x": 1},
        "edges": [{"x": 1}],
        "rtpengines": [{"x": 1}],
    }
    site |= {"trunks": [{"x": 1}], "extensions": [{"x": 1}]}
    ivr = {"ivrs": [{"x": 1}], "contexts": {"1": {"x": 1}}}
    known: set[str] = set()
    for load, document in ((load_site, site), (load_ivr_file, ivr)):
        with pytest.raises(Exception, match="unknown key") as error:
            load(yaml.safe_dump(document), "file")
        for names in re.findall(r"known here: (.*)", str(error.value)):
            known.update(names.split(", "))
    assert len(known) > 20
    missing = {key for key in known if not re.search(rf"\b{key}\b", reference)}
    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text())
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


IN_THE_TREE = re.compile(
    r"`((?:callinteractive|kemi|sidecar|cli|bench|tests|tools|docs|examples|sipp-scenarios)/[\w./*-]*)"
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    named = IN_THE_TREE.findall((ROOT / document).read_text())
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def decisions() -> list[Path]:
    return sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_says_what_would_change_our_mind(path: Path) -> None:
    assert re.findall(r"^## (.*)", path.read_text(), re.MULTILINE) == HEADINGS


def test_the_index_of_decisions_lists_all_of_them() -> None:
    listed = re.findall(r"\]\(([^)/]+\.md)\)", (DECISIONS / "README.md").read_text())
    assert sorted(listed) == [path.name for path in decisions()]


def test_the_compose_file_is_yaml() -> None:
    services = yaml.safe_load((ROOT / "examples/deploy/compose.yaml").read_text())["services"]
    assert list(services) == ["rtpengine", "sidecars", "kamailio", "api"]
    for service in services.values():
        command = main.commands[service["command"][0]]
        command.make_context(service["command"][0], [*service["command"][1:]], resilient_parsing=True)


def test_the_parts_of_the_compose_file_share_what_they_tell_each_other_by() -> None:
    """`reload`, the API and `drain` find the parts by the state directory, and Kamailio by its socket."""
    compose = yaml.safe_load((ROOT / "examples/deploy/compose.yaml").read_text())
    image = (ROOT / "examples/deploy/Dockerfile").read_text()
    for service in compose["services"].values():
        mounted = dict(volume.split(":")[1::-1] for volume in service["volumes"])
        named = {path: name for path, name in mounted.items() if name in compose["volumes"]}
        options = service["command"]
        run_dir = [options[at + 1] for at, option in enumerate(options) if option == "--run-dir"]
        directories = [value for key, value in service["environment"].items() if key.endswith("_DIRECTORY")]
        assert {*run_dir, *directories} <= named.keys()
        assert all(f" {path}" in image for path in named)  # made in the image, so that they are its user's
