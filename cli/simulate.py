"""`callinteractive simulate`: a call with no phone.

The real CallScript asks the real web application. A person dials, or the command line does. Time is a number: to wait
adds to it, so nobody has to wait.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import click

from callinteractive.actions import ACTIONS
from callinteractive.asking import failure_of
from callinteractive.commands import Collect, Command, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.events import (
    Dialled,
    Event,
    Fetched,
    HungUp,
    Played,
    PlayFailed,
    TransferAnswered,
    TransferFailed,
    Waited,
    transfer_failed,
)
from callinteractive.facts import CallFacts, facts_of_new_call
from callinteractive.model import Extension, Ivr, IvrFile, Site
from callinteractive.near import near
from callinteractive.numbers import Directory
from callinteractive.script import CallScript, Note
from callinteractive.web import WAIT_SOUND_AFTER_S
from cli.dialler import Dialler, HangsUp, asking, no_keys
from cli.files import read_ivr_file, read_site
from cli.surroundings import Surroundings, unusable_sounds
from sidecar.linewriter import printable
from sidecar.webhook import Webhook

FAILURES: dict[str, TransferFailed] = {failed.status: failed for failed in map(transfer_failed, (486, 408, 603, 404))}
"""How a transfer may fail, each with a SIP code that says so."""
OUTCOMES = ("answered", *FAILURES)
MOST_UNHEEDED = 100
"""Sounds take no time here. In a call music goes on until somebody hangs up; here it would go on for ever."""
SHOWN = 160
"""Characters that are shown of an answer that can't be used: an error page says what is wrong at its begin."""
WRITTEN = {action.NAME for action in ACTIONS}
"""The actions that somebody wrote; the script begins others by itself."""


@dataclass(frozen=True)
class Options:
    """The command line's options."""

    ivr: Path | str
    site_path: Path | None
    number: str | None
    caller: str
    caller_name: str
    digits: str | None
    transfer: str


def run(options: Options) -> int:
    """The exit status: 0 when the call went through to its end, 1 when it could not be placed."""
    ivr_file, findings = read_ivr_file(options.ivr)
    site_path = options.site_path or _site_beside(options.ivr)
    site, more = read_site(site_path) if site_path else (Site(node=0, edges=()), [])
    if ivr_file is None or site is None:
        for finding in findings + more:
            click.echo(str(finding), err=True)
        return 1
    if (wrong := no_keys(options.digits or "")) is not None:
        click.echo(f"--digits: {wrong}", err=True)
        return 1
    dialled = options.number or ivr_file.ivrs[0].number
    placed = place(site, ivr_file, dialled, options.caller, options.caller_name)
    if placed is None:
        numbers = [number for ivr in ivr_file.ivrs for number in (ivr.number, *ivr.dids)]
        dialled = f"{options.number}{near(str(options.number), numbers)}"
        click.echo(f"{dialled} leads to no IVR of {options.ivr}; there are: {', '.join(numbers)}", err=True)
        return 1
    ivr, facts = placed
    kind = f"extension {facts.caller_extension}" if facts.caller_extension else "external"
    click.secho(f"{facts.caller_number} ({kind}) calls {facts.called_number}", bold=True)
    sounds = site_path.parent / site.sounds if site_path else None
    around = Surroundings(site, site_path.parent, ivr_file, ()) if site_path else None
    call = SimulatedCall(ivr_file, ivr, facts, Dialler(options.digits), options.transfer, sounds, around)
    asyncio.run(call.run(_folder(site_path or options.ivr)))
    return 0


def _site_beside(ivr: Path | str) -> Path | None:
    """The site.yaml in the folder of ivr.yaml, where there is one that may be read."""
    beside = ivr.parent / "site.yaml" if isinstance(ivr, Path) else None
    return beside if beside and os.access(beside, os.R_OK) else None


def place(site: Site, ivr_file: IvrFile, dialled: str, caller: str, caller_name: str) -> tuple[Ivr, CallFacts] | None:
    """Where the call enters, and its facts as Kamailio would make them; None where the number leads to no IVR."""
    directory = Directory(site, ivr_file)
    extension = directory.find_extension(caller)
    found = directory.find_ivr(dialled, extension)
    if found is None:
        return None
    shown = {"name": caller_name, "number": caller}
    return found.ivr, facts_of_new_call(uuid.uuid4().hex, site.node, found, dialled, **shown, extension=extension)


def _folder(file: Path | str) -> Path:
    """Where the names of files with secrets start from: the folder of site.yaml, else of ivr.yaml."""
    path = Path() if isinstance(file, str) else file
    return path if path.is_dir() else path.parent


def _as_written(value: object) -> str:
    """Numbers stand in a transfer with commas."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _begin(body: bytes) -> str:
    """How an answer begins, in one line."""
    return " ".join(body[: 2 * SHOWN].decode(errors="replace").split())[:SHOWN]


class SimulatedCall:
    """One call: prints the script's commands and tells the script what the person does."""

    def __init__(
        self,
        ivr_file: IvrFile,
        ivr: Ivr,
        facts: CallFacts,
        dialler: Dialler,
        transfer: str,
        sounds: Path | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """`sounds`: the site's folder. It and `around` are None where no site is given."""
        self._script = CallScript(ivr_file, ivr, facts, observe=self._on_note)
        self._contexts = ivr_file.contexts
        self._dialler = dialler
        self._transfer = transfer
        self._sounds = sounds
        self._around = around
        self._home = Extension(facts.called_extension, facts.called_extension_id)
        self._began = time.time()
        self._elapsed_s = 0.0
        self._unheeded = 0
        """Sounds in a row during which no key counts."""

    async def run(self, folder: Path = Path()) -> None:
        """Run the call until somebody hangs up or a transfer is answered. folder: of site.yaml."""
        async with Webhook(folder=folder) as webhook:
            try:
                command = self._script.start(self._now)
                while not isinstance(command, Hangup) and not self._script.is_over:
                    event = (
                        await self._fetch(webhook, command) if isinstance(command, Fetch) else self._carry_out(command)
                    )
                    # None: the script carries on with what it asked for before.
                    command = self._script.handle(event, self._now) or command
            except HangsUp:
                self._script.handle(HungUp(), self._now)
                self._say("caller", "hangs up")

    @property
    def _now(self) -> float:
        return self._began + self._elapsed_s

    def _carry_out(self, command: Command) -> Event:
        match command:
            case Play(sound=sound) if self._sounds and (wrong := unusable_sounds(self._sounds, {sound})):
                reason = f"{wrong[sound]}: the caller does not hear it"
                self._say("error", reason, fg="red")
                return PlayFailed(reason)
            case Play(sound=sound, barge_in=True):
                self._say("hears", f"{sound}  (a digit stops it)")
                return self._key() or Played()
            case Play(sound=sound):
                self._say("hears", sound)
                self._hear_out()
                return Played()
            case Collect(timeout_ms=timeout_ms):
                more = " more" if self._script.dialled else ""
                return self._key() or self._wait(timeout_ms, f"dials nothing{more}")
            case Wait(pause_ms=pause_ms):
                return self._wait(pause_ms, "waits")
            case Transfer():
                return self._ring(command)
        raise AssertionError(f"{command} is no command that waits for an event")

    def _hear_out(self) -> None:
        self._unheeded += 1
        if self._unheeded == MOST_UNHEEDED:
            self._say("caller", f"has heard {MOST_UNHEEDED} sounds in a row, and nothing that a key would stop")
            raise HangsUp

    def _key(self) -> Dialled | None:
        self._unheeded = 0
        key = self._dialler.key(is_dialling=bool(self._script.dialled))
        if key is None:
            return None
        self._say("caller", f"dials {key}")
        return Dialled(key)

    def _wait(self, milliseconds: int, what: str) -> Waited:
        self._say("caller", f"{what} for {milliseconds / 1000:g} s")
        self._elapsed_s += milliseconds / 1000
        self._unheeded = 0
        return Waited()

    async def _fetch(self, webhook: Webhook, fetch: Fetch) -> Event:
        request = fetch.request
        self._say("request", f"{request.method} {request.url}")
        for name, value in parse_qsl((request.body or b"").decode(), keep_blank_values=True):
            self._say("", f"  {name}={value}")
        began = time.monotonic()
        event = await webhook.fetch(request)
        took_s = time.monotonic() - began
        if request.web.wait_sound and took_s > WAIT_SOUND_AFTER_S:
            self._say("hears", f"{request.web.wait_sound}  (while the web application thinks)")
        self._elapsed_s += took_s
        if isinstance(event, Fetched):
            self._say("answer", f"{event.status}, {len(event.body)} bytes")
            if event.body and failure_of(event):
                self._say("", f"  {_begin(event.body)}")
        return event

    def _ring(self, transfer: Transfer) -> Event:
        limit = "" if transfer.timeout_s is None else f", for at most {transfer.timeout_s} s"
        shown_as = f"{transfer.caller_name} <{transfer.caller_number}>".strip()
        self._say("rings", f"{', '.join(transfer.numbers)} for {shown_as}{limit}")
        wrong = [self._around.unreachable(number, self._home) for number in transfer.numbers] if self._around else []
        for reason in filter(None, wrong):
            self._say("error", reason, fg="red")
        outcome = "failed" if wrong and all(wrong) else self._outcome()
        self._say("rings", outcome)
        if outcome == "no_answer":
            self._elapsed_s += transfer.timeout_s or 0
        return FAILURES.get(outcome) or TransferAnswered()

    def _outcome(self) -> str:
        if self._transfer != "ask":
            return self._transfer
        if not sys.stdin.isatty():
            return "answered"
        with asking():
            return str(click.prompt("   how does it end?", default="answered", type=click.Choice(OUTCOMES)))

    def _on_note(self, note: Note) -> None:
        """Print what the script reports: the option it enters, the action it begins, what went wrong."""
        fields = dict(note.fields)
        match note.what:
            case "option":
                self._say("menu", f"{self._contexts[fields['context']].name}: {fields['option']}", fg="cyan")
            case "action":
                self._on_action(fields.pop("action"), fields)
            case "hangup":
                self._say("call", f"hung up: {fields['cause']}", fg="cyan")
            case _ if note.level != "info":
                self._say(note.level, fields.get("reason", ""), fg="red")

    def _on_action(self, name: str, fields: dict[str, object]) -> None:
        if name in WRITTEN:
            shown = (f"{key}={_as_written(value)}" for key, value in fields.items() if value not in (None, False, ""))
            self._say("action", " ".join((name, *shown)))

    def _say(self, what: str, text: str, fg: str | None = None) -> None:
        """`text` may be the web application's: it must not steer the terminal, nor write a line of its own."""
        shown = click.style(printable(text), fg=fg)
        click.echo(f"{self._elapsed_s:7.1f} s  {click.style(f'{what:<8}', dim=True)} {shown}")
