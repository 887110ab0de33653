"""A call of an IVR with no phone: scripts are driven by events and a clock that only the test moves."""

from __future__ import annotations

import textwrap

from callinteractive.commands import Command, Fetch
from callinteractive.config import load_ivr_file
from callinteractive.events import Dialled, Event, Fetched
from callinteractive.facts import CallFacts
from callinteractive.model import IvrFile
from callinteractive.script import CallScript, Note

FACTS = CallFacts(
    call_id="5205dc5cc5a411e5ab9eb3691b90ea15",
    call_api_id="3584705175:5205dc5cc5a411e5ab9eb3691b90ea15",
    caller_number="000*306",
    caller_name="000*306",
    called_number="332",
    called_extension="000*332",
    called_extension_id=145,
    caller_extension="000*306",
    caller_extension_id=134,
)
"""The call of the example request in the protocol's description."""

ASK = '- call_interactive: {url: "http://127.0.0.1:8000/menu"}'


def ivr_file(contexts: str, ivr: str = "") -> IvrFile:
    """An ivr.yaml with one IVR that enters context 1; `contexts` is the YAML below that key, `ivr` more keys of it."""
    more = f", {ivr}" if ivr else ""
    head = f'ivrs: [{{number: "000*332", id: 145, entry_context: 1{more}}}]\ncontexts:\n'
    return load_ivr_file(head + textwrap.indent(textwrap.dedent(contexts).strip("\n"), "  "), "ivr.yaml")


def menu(start: str, more: str = "") -> IvrFile:
    """An IVR whose context 1 runs the rules `start`; `more` holds more options and keys of contexts."""
    rules = textwrap.indent(textwrap.dedent(start).strip("\n"), "      ")
    options = textwrap.indent(textwrap.dedent(more).strip("\n"), "    ")
    return ivr_file(f"1:\n  options:\n    start:\n{rules}\n{options}\n")


def response(actions: str) -> Fetched:
    """The web application's answer with these actions."""
    return Fetched(200, f"<Response>{actions}</Response>".encode())


class Call:
    """Drives a CallScript: every method moves the clock by `after` seconds and returns the next command."""

    def __init__(self, file: IvrFile, facts: CallFacts = FACTS, **entry: str) -> None:
        self.notes: list[Note] = []
        self.now = 1_700_000_000.0
        self.file = file
        self.script = CallScript(file, file.ivrs[0], facts, observe=self.notes.append, **entry)

    def start(self) -> Command:
        return self.script.start(self.now)

    def tell(self, event: Event, after: float = 0.1) -> Command | None:
        self.now += after
        return self.script.handle(event, self.now)

    def dial(self, digits: str, after: float = 0.1) -> Command | None:
        """Dial one digit after the other; return what followed the last."""
        command: Command | None = None
        for digit in digits:
            command = self.tell(Dialled(digit), after)
        return command

    def answer(self, actions: str) -> Command | None:
        """The web application answers with these actions."""
        return self.tell(response(actions))

    def move(self) -> None:
        """Go on in another sidecar."""
        self.script = CallScript.from_json(self.script.to_json(), self.file, self.notes.append)

    @property
    def variables(self) -> dict[str, str]:
        return self.script.variables

    def errors(self) -> list[Note]:
        return [note for note in self.notes if note.level == "error"]


def started(start: str, more: str = "") -> tuple[Call, Command]:
    """A call in the IVR of `menu`, and its first command."""
    call = Call(menu(start, more))
    return call, call.start()


def asked(more: str = "") -> Call:
    """A call that has just asked the web application; its rules afterwards are one `hangup`."""
    call, command = started(f"{ASK}\n- hangup", more)
    assert isinstance(command, Fetch)
    return call
