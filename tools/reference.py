"""`make reference`: writes the pages of docs/reference/ that say what the code says. A test holds them up to date.

Actions and private headers come from docstrings. The page of the commands is the command line's own help. It changes
often and is in no repository: `make docs` writes it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from callinteractive import headers
from callinteractive.actions import ACTIONS, Action
from callinteractive.signature import SignatureHeader
from cli.main import main as command_line

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_ITEMS = re.compile(r" ?\((?:[A-Z]\d+(?:[-,] ?)?)+\)")
"""The codes of rules, such as (A6) and (C2, C3): readers of the documents do not know them."""
_WIDTH = 100
_ACTIONS = """\
# Actions and rules

An *action* is an element of your application's answer. A *rule* is the same in `ivr.yaml`: its name is in snake_case,
and the text of the element has a key of its own. Two rules exist in `ivr.yaml` only.

An answer is `<Response>` with at most 10 actions, and at most 64 KiB long. An empty answer means: go on with the next
rule. Names are case-sensitive. White space around text does not count. An unknown attribute is a warning. Everything
else that is wrong makes the whole answer invalid: nothing of it runs, one line of the log says why, and the call goes
on with the option's next rule.
"""
_REFUSALS = """\
# Refusals

When Kamailio refuses a SIP request, its log has one line for it: who sent it, which number, why, and what to change.
A stranger cannot fill your log: there are at most 5 lines of one sender, and 50 of all, in 10 seconds of each of its
processes. The next line tells how many were left out.

A message that Kamailio can't read gets no answer and no such line: where To, Call-ID, CSeq or Via is missing or
malformed, a header is there twice that may be there once, or a line is no header. The log has errors then.

This is what the line advises, unless it knows better:

| SIP code | why, and what to change |
|---|---|"""
_HEADERS = f"""\
# Private headers

Kamailio and the sidecars tell each other what they know of a call in SIP headers that begin with `{headers.PREFIX}`.
Kamailio removes them from every message that comes from outside and from every message that leaves. Neither your
phones nor your carrier ever see one. You see them in a trace of the loopback interface.

A value is one `application/x-www-form-urlencoded` text of at most {headers.MAX_LENGTH:,} octets.

| header | what it says |
|---|---|"""


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    return {"actions.md": actions(), "headers.md": private_headers(), "refusals.md": refusals()}


def _markdown(docstring: str) -> str:
    """A docstring in Markdown, without codes of rules."""
    return _ITEMS.sub("", inspect.cleandoc(docstring)).replace("``", "`")


def actions() -> str:
    """Every action: its XML, its attributes, its YAML."""
    return "\n".join((_ACTIONS, *(line for action in ACTIONS for line in _action(action))))


def _action(action: type[Action]) -> Iterator[str]:
    head, _, rest = _markdown(importlib.import_module(action.__module__).__doc__ or "").partition("\n\n")
    xml, meaning = _example(head)
    rest, _, yaml = rest.rpartition("YAML: ")
    yield f"## {action.NAME}" if action.IN_RESPONSE else f"## {action.yaml_key()}"
    yield ""
    if meaning:
        yield f"{meaning[0].upper()}{meaning[1:]}"
        yield ""
    if action.IN_RESPONSE:
        yield f"```xml\n<Response>\n  {xml}\n</Response>\n```"
    else:
        yield "A rule of `ivr.yaml` only."
    yield f"\n{rest.strip()}\n"
    yield f"In `ivr.yaml`: {yaml}\n"


def _example(head: str) -> tuple[str, str]:
    """The XML of an action, or its name, and what it does."""
    found = re.fullmatch(r"`([^`]+)`(?: — |\.)?(.*)", head, re.DOTALL)
    assert found, head
    return found[1], found[2].removeprefix("a rule of ivr.yaml: ").strip()


def private_headers() -> str:
    """The private headers, by name."""
    kinds = [
        kind
        for name, kind in inspect.getmembers(headers, inspect.isclass)
        if getattr(kind, "NAME", None) and not name.startswith("_")
    ]
    rows = sorted((kind.NAME, _markdown(kind.__doc__ or "").partition("\n\n")[0]) for kind in [*kinds, SignatureHeader])
    return "\n".join((_HEADERS, *(f"| `{name}` | {' '.join(text.split())} |" for name, text in rows), ""))


def refusals() -> str:
    """What Kamailio's log advises where a request is refused, by SIP code."""
    # Read, not imported: Kamailio's script needs Kamailio.
    tree = ast.parse((FOLDER.parents[1] / "kemi" / "refusal_log.py").read_text())
    assigned = (node for node in tree.body if isinstance(node, ast.Assign))
    advice = next(node.value for node in assigned if ast.unparse(node.targets[0]) == "_ADVICE")
    rows = sorted(ast.literal_eval(advice).items())
    return "\n".join((_REFUSALS, *(f"| {code} | {text} |" for code, text in rows), ""))


def commands() -> str:
    """The help of every command."""
    context = click.Context(command_line, info_name="callinteractive", max_content_width=_WIDTH, terminal_width=_WIDTH)
    parts = ["# Commands", "", "What `callinteractive COMMAND --help` says.", ""]
    for name in command_line.list_commands(context):
        command = command_line.get_command(context, name)
        if command is None or command.hidden:
            continue
        sub = click.Context(command, context, name, max_content_width=_WIDTH, terminal_width=_WIDTH)
        parts += [f"## {name}", "", "```text", command.get_help(sub), "```", ""]
    return "\n".join(parts)


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def write_commands() -> None:
    """Write the page of the commands, unless it is as it should be."""
    page, text = FOLDER / "commands.md", commands()
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


if __name__ == "__main__":
    main()
