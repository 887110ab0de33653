"""Who calls in a test: reads the IVR, and dials it."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from callinteractive.commands import Transfer
from callinteractive.config import is_ivr_file, load_ivr_files, load_site
from callinteractive.facts import CallFacts, facts_of_new_call, facts_of_transferred_call
from callinteractive.model import Ivr, Site
from callinteractive.numbers import Directory
from callinteractive.script import CallScript
from callinteractive.testing.call import Call
from callinteractive.testing.web import Application, web_of


class Caller:
    """A phone that calls your IVR.

    | argument | meaning |
    |---|---|
    | ivr | the file `ivr.yaml`, or a folder of such files |
    | app | your web application: WSGI or ASGI, a function, or a server's URL; none: the URLs of the IVR are asked |
    | site | the file `site.yaml`: its extensions can call and be called, its sounds are those there are |
    | sounds | the folder of sounds, where there is no site; a sound that is not there is a problem |
    | number, name | who calls: a number from outside, or that of an extension of the site |
    | strict | whether a warning or an error fails the test, such as an answer that is not valid |

    Raises OSError, and ConfigError with all findings. A context manager, since it may hold connections.
    """

    def __init__(
        self,
        ivr: Path | str,
        app: Application = None,
        *,
        site: Path | str | None = None,
        sounds: Path | str | None = None,
        number: str = "+15550100",
        name: str = "",
        strict: bool = True,
    ) -> None:
        self.number, self.name = number, name
        self.calls: list[Call] = []
        """The calls so far."""
        self._strict = strict
        self._ivr_file = load_ivr_files({str(file): file.read_text("utf-8-sig") for file in _files(Path(ivr))})
        self._site = Site(node=0, edges=())
        if site is not None:
            self._site = load_site(Path(site).read_text("utf-8-sig"), str(site))
            sounds = sounds or Path(site).parent / self._site.sounds
        self._sounds = None if sounds is None else frozenset(file.name for file in Path(sounds).iterdir())
        self._directory = Directory(self._site, self._ivr_file)
        self._web = web_of(app)
        folder = Path(ivr if site is None else site).parent
        self._web.read_secret = lambda secret: secret.read(os.environ, lambda name: (folder / name).read_text())

    def dial(
        self,
        number: str | None = None,
        *,
        context: str | int | None = None,
        option: str = "start",
        strict: bool | None = None,
    ) -> Call:
        """Call this number; without one the first IVR. The call then stands at the first sound, or what comes first.

        `context` and `option` enter the IVR elsewhere than at its entry. Raises ValueError where there is no such
        number, context or option.
        """
        __tracebackhide__ = True
        dialled = number or self._ivr_file.ivrs[0].number
        extension = self._directory.find_extension(self.number)
        found = self._directory.find_ivr(dialled, extension)
        if found is None:
            numbers = ", ".join(number for ivr in self._ivr_file.ivrs for number in (ivr.number, *ivr.dids))
            raise ValueError(f"{dialled} leads to no IVR; there are: {numbers}")
        entry = found.ivr.entry_context if context is None else str(context)
        if option not in getattr(self._ivr_file.contexts.get(entry), "options", ()):
            raise ValueError(f"there is no option {option} of context {entry!r}")
        caller = {"name": self.name, "number": self.number}
        facts = facts_of_new_call(uuid.uuid4().hex, self._site.node, found, dialled, **caller, extension=extension)
        call = self._made(found.ivr, facts, entry, option, self._strict if strict is None else strict)
        call.begin()
        return call

    def _made(self, ivr: Ivr, facts: CallFacts, context: str, option: str, strict: bool) -> Call:
        """A call that has not begun."""

        def enter(number: str, transfer: Transfer) -> Call:
            found = self._directory.find_ivr(number, self._directory.find_extension(facts.caller_extension or ""))
            if found is None:
                raise ValueError(f"{number} is no IVR of the file")
            shown = {"name": transfer.caller_name, "number": transfer.caller_number}
            there = facts_of_transferred_call(facts, uuid.uuid4().hex, found, number, **shown)
            return self._made(found.ivr, there, found.ivr.entry_context, "start", strict)

        call = Call(
            lambda observe: CallScript(self._ivr_file, ivr, facts, context=context, option=option, observe=observe),
            self._web,
            enter=enter,
            sounds=self._sounds,
            transfer_timeout_s=self._site.defaults.transfer_timeout_s,
            strict=strict,
            began=time.time(),
        )
        self.calls.append(call)  # before it begins: a call that fails at once has a story too
        return call

    def close(self) -> None:
        """Let go of connections and threads."""
        self._web.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder in the order of their names."""
    return sorted(file for file in path.iterdir() if is_ivr_file(file.name)) if path.is_dir() else [path]
