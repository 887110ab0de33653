"""One call of a test: what the caller does, and what must happen.

The call stands still until the test goes on. A sound that the test has named is heard to its end, as by a patient
person. One that it has not named still plays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from callinteractive.commands import Collect, Command, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.events import (
    DIGITS,
    Dialled,
    Event,
    Expired,
    Fetched,
    FetchFailed,
    HungUp,
    Played,
    PlayFailed,
    TransferAnswered,
    TransferFailed,
    Waited,
    transfer_failed,
)
from callinteractive.script import CallScript, Note
from callinteractive.testing.ringing import NO_ANSWER, Ringing
from callinteractive.testing.web import Request, Web

MAX_STEPS = 1000
"""A call that goes on for longer without the caller has no end."""

Script = Callable[[Callable[[Note], None]], CallScript]


class Call:
    """A call that `Caller.dial` has begun.

    The caller acts by `press`, `wait`, `listen` and `hang_up`. `hears`, `asks`, `rings` and `ends` say what must happen
    next; an AssertionError tells what happened instead, with the story of the call.
    """

    def __init__(
        self,
        script: Script,
        web: Web,
        *,
        enter: Callable[[str, Transfer], Call],
        sounds: Collection[str] | None,
        transfer_timeout_s: int,
        strict: bool,
        began: float,
    ) -> None:
        """`script` makes the call's script for an observer; `sounds` are those there are, None for any.

        `enter` makes the call that a transfer to another IVR is.
        """
        self.heard: list[str] = []
        """Every sound so far, also the one that plays."""
        self.requests: list[Request] = []
        """Every request to the web application so far."""
        self.problems: list[str] = []
        """What would be in the log as a warning or an error."""
        self.talks_to: str | None = None
        """The number that has answered a transfer."""
        self.elapsed_s = 0.0
        """How long the caller has waited: pauses, silence, ringing. Sounds take no time here."""
        self._enter = enter
        self._web, self._sounds, self._transfer_timeout_s, self._strict = web, sounds, transfer_timeout_s, strict
        self._began = began
        self._lines: list[str] = []
        self._is_named = False  # whether the test knows of what plays
        self._asserted = 0  # how many requests the test knows of
        self._told = 0  # how many problems it has been told
        self._end = ""  # why the call is over
        self._script = script(self._on_note)
        self._command: Command = Hangup("")

    def begin(self) -> None:
        """Enter the IVR; `Caller.dial` does that."""
        __tracebackhide__ = True
        self._take(self._script.start(self._began))

    # What the caller does.

    def press(self, digits: str) -> None:
        """Press these keys, one after the other: 0-9 * # A-D.

        A foreground sound that the test has named has ended by then. One that it has not named still plays, and the
        keys are lost, as in a real call.
        """
        __tracebackhide__ = True
        digits = str(digits)  # a number, as people write it
        if unknown := sorted(set(digits) - set(DIGITS)):
            raise ValueError(f"no such key: {' '.join(unknown)}; there are 0-9 * # A-D")
        for digit in digits:
            while isinstance(self._command, Play) and self._is_named and not self._command.barge_in:
                self._pass_time()
            self._must_go_on(f"press {digit}")
            match self._command:
                case Play(sound=sound, barge_in=False):
                    self._say("presses", f"{digit}  (lost: {sound} is a foreground sound)")
                case _:
                    self._say("presses", digit)
            self._go(Dialled(digit))

    def wait(self) -> None:
        """Do nothing until something new happens: a sound, a request, phones that ring, the end of the call."""
        __tracebackhide__ = True
        self._must_go_on("wait")
        before = len(self.heard), len(self.requests)
        command = self._command
        for _ in range(MAX_STEPS):
            self._pass_time()
            is_new = self._command is not command and isinstance(self._command, Transfer | Hangup)
            if is_new or before != (len(self.heard), len(self.requests)):
                return
        raise AssertionError(self._failure(f"{MAX_STEPS} steps without anything new: the script has no end"))

    def listen(self) -> list[str]:
        """Hear everything out until the call waits for the caller or for phones, or ends. Returns those sounds."""
        __tracebackhide__ = True
        first = len(self.heard) - (isinstance(self._command, Play) and not self._is_named)
        for _ in range(MAX_STEPS):
            if not isinstance(self._command, Play | Wait):
                return self.heard[first:]
            self._pass_time()
        raise AssertionError(self._failure(f"{MAX_STEPS} sounds: the script has no end"))

    def hang_up(self) -> None:
        """The caller hangs up."""
        __tracebackhide__ = True
        if self._end:
            raise AssertionError(self._failure("the caller cannot hang up"))
        self._say("hangs up", "")
        self._script.handle(HungUp(), self._now)
        self._finish("the caller has hung up")

    # What must happen next.

    def hears(self, *sounds: str) -> None:
        """The caller hears these sounds next, in this order."""
        __tracebackhide__ = True
        for sound in sounds:
            self._let_pass()
            if not isinstance(self._command, Play) or self._is_named or self._command.sound != sound:
                raise AssertionError(self._failure(f"expected to hear {sound}"))
            self._is_named = True

    def asks(self, path: str | None = None, **parameters: str) -> Request:
        """The web application is asked next, at this path and with these parameters among others; returns the request.

        It is the oldest that the test has not asserted yet.
        """
        __tracebackhide__ = True
        if self._asserted == len(self.requests):
            self._let_pass(until_request=True)
        if self._asserted == len(self.requests):
            raise AssertionError(self._failure(f"expected a request{f' to {path}' if path else ''}"))
        request = self.requests[self._asserted]
        self._asserted += 1
        if path not in (None, request.path):
            raise AssertionError(self._failure(f"expected a request to {path}, but it went to {request.path}"))
        for name, value in parameters.items():
            if (sent := request.parameters.get(name)) != value:
                raise AssertionError(self._failure(f"expected {name}={value!r} in {request}, but it is {sent!r}"))
        return request

    def rings(self, *numbers: str) -> Ringing[Call]:
        """These phones ring next, all at once; without `numbers` any phones."""
        __tracebackhide__ = True
        self._let_pass()
        transfer = self._command
        if not isinstance(transfer, Transfer) or self.talks_to or numbers not in ((), transfer.numbers):
            raise AssertionError(self._failure(f"expected {', '.join(numbers) or 'phones'} to ring"))

        def end(number: str, event: Event, after_s: float) -> None:
            __tracebackhide__ = True
            if self._command is not transfer or self.talks_to:
                raise AssertionError(self._failure(f"{', '.join(transfer.numbers)} no longer ring"))
            self._after(after_s, event, number)

        def enter(number: str, answer: Callable[[], None]) -> Call:
            __tracebackhide__ = True
            there = self._enter(number, transfer)
            answer()
            there.begin()
            return there

        return Ringing(transfer, self._timeout_s(transfer), end, enter)

    def ends(self) -> None:
        """The IVR hangs up next, or the call is over already."""
        __tracebackhide__ = True
        self._let_pass()
        if not self._end:
            raise AssertionError(self._failure("expected the call to end"))

    # How things are.

    @property
    def is_over(self) -> bool:
        """Whether somebody has hung up."""
        return bool(self._end)

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the call."""
        return dict(self._script.variables)

    @property
    def context(self) -> str:
        """The ID of the context that the call is in."""
        return self._script.context.id

    @property
    def option(self) -> str:
        """The option of the context that runs."""
        return self._script.option

    @property
    def story(self) -> str:
        """What has happened, line by line."""
        return "\n".join(self._lines)

    @property
    def state(self) -> str:
        """What is happening now, in words."""
        match self._command:
            case _ if self._end:
                return f"the call is over: {self._end}"
            case _ if self.talks_to:
                return f"the caller talks to {self.talks_to}"
            case Play(sound=sound):
                more = ", which the test has named before" if self._is_named else ""
                return f"the caller hears {sound}{more}"
            case Collect(timeout_ms=timeout_ms):
                return f"the call waits {timeout_ms / 1000:g} s for a key: press one, or wait()"
            case Wait(pause_ms=pause_ms):
                return f"there is a pause of {pause_ms / 1000:g} s"
            case Transfer(numbers=numbers):
                return f"{', '.join(numbers)} ring: say what they do, as in rings().answer()"
        return "the web application is asked"

    def __repr__(self) -> str:
        return f"<Call: {self.state}>"

    # Inside.

    @property
    def _now(self) -> float:
        return self._began + self.elapsed_s

    def _let_pass(self, *, until_request: bool = False) -> None:
        """What needs nobody: the rest of a sound that the test has named, a pause, the silence that ends a number."""
        for _ in range(MAX_STEPS):
            is_heard = isinstance(self._command, Play) and self._is_named
            is_number = isinstance(self._command, Collect) and bool(self._script.dialled)
            if not (is_heard or is_number or isinstance(self._command, Wait)):
                break
            requests = len(self.requests)
            self._pass_time()
            if until_request and len(self.requests) > requests:
                break

    def _pass_time(self) -> None:
        """The caller does nothing until what is going on is over."""
        match self._command:
            case Play():
                self._go(Played())
            case Collect(timeout_ms=milliseconds):
                self._say("is silent", f"{milliseconds / 1000:g} s")
                self._after(milliseconds / 1000, Waited())
            case Wait(pause_ms=milliseconds):
                self._say("waits", f"{milliseconds / 1000:g} s")
                self._after(milliseconds / 1000, Waited())
            case transfer:
                assert isinstance(transfer, Transfer)
                self._after(self._timeout_s(transfer), transfer_failed(NO_ANSWER))

    def _timeout_s(self, transfer: Transfer) -> int:
        return transfer.timeout_s or self._transfer_timeout_s

    def _after(self, seconds: float, event: Event, number: str = "") -> None:
        """`event` happens after so many seconds, unless the call's lifetime ends before."""
        left_s = self._script.expires_at - self._now
        self.elapsed_s += min(seconds, left_s)
        if seconds >= left_s:
            event = Expired()
        if isinstance(event, TransferAnswered):
            self.talks_to = number
            self._say("talks to", number)
        elif isinstance(self._command, Transfer):
            self._say("rings", f"{event.status} {event.code}" if isinstance(event, TransferFailed) else "for too long")
        self._go(event)

    def _go(self, event: Event) -> None:
        """Tell the script, and carry out what it wants unless it takes time."""
        command = self._script.handle(event, self._now)
        if command is not None:
            self._take(command)

    def _take(self, command: Command) -> None:
        while True:
            self._command, self._is_named = command, False
            following: Command | None = None
            match command:
                case Fetch():
                    following = self._script.handle(self._fetch(command), self._now)
                case Play(sound=sound) if self._sounds is not None and sound not in self._sounds:
                    self._add_problem(f"there is no sound {sound}")
                    following = self._script.handle(PlayFailed("there is no such sound"), self._now)
                case Play(sound=sound, barge_in=barge_in):
                    self.heard.append(sound)
                    self._say("hears", f"{sound}  (a key stops it)" if barge_in else sound)
                case Transfer(numbers=numbers):
                    self._say("rings", ", ".join(numbers))
                case Hangup(cause=cause):
                    self._say("is over", cause)
                    self._finish(cause)
            if following is None:
                return self._tell_problems()
            command = following

    def _fetch(self, fetch: Fetch) -> Fetched | FetchFailed:
        return self._web.fetch(fetch.request, self._on_request)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        self._say("asks", str(request))
        if not request.failure:
            self._say("", f"answer: {request.status} {request.answer}")

    def _finish(self, cause: str) -> None:
        self._end = cause
        self._command = Hangup(cause)

    def _must_go_on(self, what: str) -> None:
        __tracebackhide__ = True
        if self._end or self.talks_to:
            raise AssertionError(self._failure(f"the caller cannot {what}"))

    def _on_note(self, note: Note) -> None:
        fields = dict(note.fields)
        if note.level != "info":
            self._add_problem(str(fields.get("reason", note.what)))
        elif note.what == "option":
            self._say("menu", f"{fields['context']}: {fields['option']}")
        elif note.what == "action" and fields.pop("action") in ("Jump", "SetVar", "SetCaller"):
            self._say(note.fields["action"], " ".join(f"{name}={value}" for name, value in fields.items() if value))

    def _add_problem(self, problem: str) -> None:
        self.problems.append(problem)
        self._say("PROBLEM", problem)

    def _tell_problems(self) -> None:
        """Raises AssertionError for what the test does not expect."""
        __tracebackhide__ = True
        new, self._told = self.problems[self._told :], len(self.problems)
        if new and self._strict:
            hint = "a test that expects it dials with strict=False and looks at problems"
            raise AssertionError(self._failure(f"{'; '.join(new)} ({hint})"))

    def _say(self, what: str, text: str) -> None:
        self._lines.append(f"{self.elapsed_s:7.1f} s  {what:<9} {text}".rstrip())

    def _failure(self, what: str) -> str:
        return f"{what}; {self.state}\n{self.story}"
