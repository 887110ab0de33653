"""`make demo`: runs the sample IVR and its web application, places one real call, and prints it as it happens.

The stack is `callinteractive run`. The caller is SIPp, with the tests' phone for the sound: it listens, dials digits as
RFC 4733 events, and measures what it hears. The exit status is 0 only if everything went as expected.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from cli.ports import Port
from cli.process import Process, ProcessSpec, StackError
from examples.demo import webapp
from tests.support.audio import level
from tests.support.phone import Phone
from tests.support.rtp import AUDIBLE, RtpEndpoint

HERE = Path(__file__).parent
IVR = ("127.0.0.1", 15060)
CARRIER = "127.0.0.2"
DIALLED, CALLER = "+15550199", "+15550123"
ORDER = "1234"
BREATH_S = 0.5  # silence this long ends a stretch of speech
HOLD_S = 0.8  # so late a moment is printed: those who tell of them are not equally fast
LOOK_S = 0.1
COLOURS = {"SIP": "cyan", "HTTP": "yellow", "action": "green", "digit": "magenta", "sound": "blue", "kill": "red"}


@dataclass(frozen=True, order=True)
class Moment:
    """One line of the timeline; at_s is in seconds since the epoch."""

    at_s: float
    kind: str
    text: str


class Log:
    """The lines that the stack and the web application print, with their time of arrival."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []

    def __call__(self, part: str, *lines: str) -> None:
        self.lines += [(time.time(), part, line) for line in lines]

    async def has(self, part: str, start: str) -> bool:
        return any(line.startswith(start) for _, source, line in self.lines if source == part)

    def moments(self) -> Iterator[Moment]:
        for at_s, part, line in self.lines:
            if part == "web application" and "asks for" in line:
                yield Moment(at_s, "HTTP", f"the web application gets a request: {line}")
            elif line.startswith("{"):
                yield from _of_sidecar(json.loads(line))


def main(demonstration: Callable[[], Coroutine[None, None, int]] | None = None) -> int:
    """Run the demo, or another one. Returns the exit status."""
    try:
        return asyncio.run((demonstration or demonstrate)())
    except (StackError, AssertionError) as error:
        click.secho("The demo failed:", fg="red", err=True)
        click.echo("\n".join([str(error), *getattr(error, "__notes__", ())]), err=True)
        return 1


async def demonstrate() -> int:
    """Start everything, call, print what happens, stop everything. Returns the exit status."""
    log, statuses, timeline = Log(), list[int](), Timeline()
    async with running(log, statuses):
        click.echo(f"Calling {DIALLED} from {CALLER}; the call takes about ten seconds …\n")
        heard_s = await call(timeline, log)
    timeline.print_all()
    return judge(log, timeline.moments, heard_s, statuses)


@asynccontextmanager
async def running(log: Log, statuses: list[int]) -> AsyncIterator[None]:
    """The web application and the stack; in the end `statuses` gets how they ended, the stack first."""
    problem = Port("tcp", *webapp.ADDRESS, "ADDRESS in examples/demo/webapp.py").problem()
    if problem:
        raise StackError(problem)
    serve = (sys.executable, "-m", "callinteractive", "run", "--log-format", "json")
    files = ("--site", str(HERE / "site.yaml"), "--ivr", str(HERE / "ivr.yaml"))
    click.echo("Starting the web application, Kamailio, RTPengine and two sidecars …")
    started: list[Process] = []
    try:
        for name, argv, ready in (
            ("web application", (sys.executable, str(HERE / "webapp.py")), "Pizza Line"),
            ("stack", (*serve, *files), "ready sip:"),
        ):
            spec = _spec(name, argv, log, ready)
            started.append(await Process.start(spec, log))
            await started[-1].wait_ready(timeout_s=30)
        yield
    finally:
        statuses += [await process.stop(grace_s=30) for process in reversed(started)]


async def call(timeline: Timeline, log: Log) -> float:
    """The caller presses 1 during the menu, then dials an order number. Returns how many seconds of speech it heard."""
    to_epoch = time.time() - asyncio.get_running_loop().time()
    async with (
        Phone(IVR, DIALLED, host=CARRIER, caller=CALLER, name="Anna") as phone,
        timeline.live(lambda: (*_of_phone(phone, to_epoch), *log.moments())),
    ):
        await phone.answered()
        for keys, listens_s in (("1", 2.0), (f"{ORDER}#", 1.5)):
            already_s = _heard_s(phone.sound)
            await phone.sound.wait_until(
                lambda: _heard_s(phone.sound) >= already_s + listens_s,  # noqa: B023
                within_s=10,
                what="speech",
            )
            timeline.add(Moment(time.time(), "digit", f"the caller presses {' '.join(keys)}"))
            await phone.sound.send_digits(keys)
        await phone.hung_up(within_s=15)
        return _heard_s(phone.sound)


def _of_phone(phone: Phone, to_epoch: float) -> Iterator[Moment]:
    """What it has sent, received and heard so far. to_epoch: what to add to the loop's clock."""
    now_s = asyncio.get_running_loop().time()
    for start_s, duration_s in _speech(phone.sound):
        if start_s + duration_s + BREATH_S < now_s:  # else it may go on
            at_s = start_s + duration_s + to_epoch
            yield Moment(at_s, "sound", f"the caller has heard {duration_s:.1f} s of speech")
    for message in phone.sipp.messages():
        arrow = "caller → IVR" if message.sent else "caller ← IVR"
        yield Moment(message.at_s, "SIP", f"{arrow}  {message.start_line}")


class Timeline:
    """The moments of a call, printed as they happen, from the first one on."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._printed: set[Moment] = set()

    def add(self, *moments: Moment) -> None:
        """Those that are known already count once."""
        self.moments = sorted({*self.moments, *moments})

    def print_all(self, before_s: float = math.inf) -> None:
        """Those that are not printed yet, and happened before."""
        for moment in self.moments:
            if moment.at_s < before_s and moment not in self._printed:
                self._printed.add(moment)
                show(moment, self.moments[0].at_s)

    @asynccontextmanager
    async def live(self, look: Callable[[], Iterable[Moment]]) -> AsyncIterator[None]:
        """Print while the block runs. `look` returns all moments so far, each time."""

        async def follow() -> None:
            while True:
                self.add(*look())
                self.print_all(time.time() - HOLD_S)
                await asyncio.sleep(LOOK_S)

        following = asyncio.create_task(follow())
        try:
            yield
            await asyncio.sleep(BREATH_S + LOOK_S)  # the last speech has ended
            self.add(*look())
        finally:
            following.cancel()


def show(moment: Moment, began_s: float) -> None:
    """Print one line of the timeline."""
    kind = click.style(f"{moment.kind:<7}", fg=COLOURS.get(moment.kind))
    click.echo(f"{moment.at_s - began_s:8.3f} s  {kind} {moment.text}")


def show_checks(checks: Mapping[str, bool]) -> None:
    """Print what was to be seen, and whether it was."""
    click.echo()
    for what, is_so in checks.items():
        click.secho(f"  {'✓' if is_so else '✗'} {what}", fg="green" if is_so else "red")


def judge(log: Log, moments: list[Moment], heard_s: float, statuses: list[int]) -> int:
    """Print which checks passed. Returns the exit status."""
    checks = {
        f"the web application was asked for order {ORDER}": any(
            f"asks for order {ORDER}" in moment.text for moment in moments
        ),
        "the answer's prompts were heard": heard_s >= 5,
        "no error was logged": not [line for _, _, line in log.lines if '"level": "error"' in line],
        "everything stopped cleanly": statuses[0] == 0,
    }
    show_checks(checks)
    if not all(checks.values()):
        click.echo("\n".join(line for _, _, line in log.lines[-60:]), err=True)
        return 1
    click.echo("\nNow change examples/demo/ivr.yaml or webapp.py, and run it again; `make run` keeps it running.")
    return 0


def _of_sidecar(entry: dict[str, object]) -> Iterator[Moment]:
    """Those entries of a sidecar's log that the timeline shows."""
    at_s = datetime.fromisoformat(str(entry["timestamp"])).timestamp() if "timestamp" in entry else 0.0
    match entry.get("event"):
        case "option":
            yield Moment(at_s, "action", f"enters option {entry['option']!r} of context {entry['context']}")
        case "action" if entry["action"] != "AwaitChoice":
            shown = {"file", "variable", "prompt", "context", "method", "url", "length"} & entry.keys()
            details = " ".join(f"{name}={entry[name]}" for name in sorted(shown) if entry[name] is not None)
            yield Moment(at_s, "action", f"{entry['action']} {details}".strip())
        case "webhook":
            actions = f", {entry['actions']} actions" if "actions" in entry else f": {entry.get('reason')}"
            asked = f"{entry.get('method')} {entry.get('url')}"
            yield Moment(at_s, "HTTP", f"the answer to {asked} is {entry['outcome']}{actions}")


def _spec(name: str, argv: tuple[str, ...], log: Log, ready: str) -> ProcessSpec:
    return ProcessSpec(name, argv, {**os.environ, "PYTHONUNBUFFERED": "1"}, lambda: log.has(name, ready))


def _heard_s(sound: RtpEndpoint) -> float:
    return sum(duration_s for _, duration_s in _speech(sound))


def _speech(sound: RtpEndpoint) -> list[tuple[float, float]]:
    """Stretches of audible sound: start on the loop's clock and length in seconds."""
    stretches: list[tuple[float, float]] = []
    for packet, samples, _rate in sound.audio():
        if level(samples) <= AUDIBLE:
            continue
        if stretches and packet.arrived_s - sum(stretches[-1]) < BREATH_S:
            stretches[-1] = (stretches[-1][0], packet.arrived_s - stretches[-1][0])
        else:
            stretches.append((packet.arrived_s, 0.0))
    return stretches


if __name__ == "__main__":
    sys.exit(main())
