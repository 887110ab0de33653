"""Logging: JSON lines in production, readable ones on a terminal; stdlib loggers included.

A call writes several lines. Written one by one each costs a system call here and a wake-up of whoever reads them, more
than making them; so while an event loop runs they go out together, `GATHER_S` after the first of them at the latest.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import math
import os
import stat
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, TextIO

import structlog

from sidecar import console
from sidecar.jsontext import encode
from sidecar.linewriter import LONGEST_LINE_BYTES, TELL_EVERY_S, Flow, LineWriter, read_shared, shown

LogFormat = Literal["auto", "console", "json"]

GATHER_S = 0.05
"""How long a line may wait for others. A process that is killed outright takes so much of its log with it."""
GATHERED_CHARS: Final = 32 * 1024
"""More than this goes out at once."""
MOST_CHARACTERS: Final = 8 * 1024
"""Of one field. A longer one loses its middle: a traceback's beginning and end tell most."""
_QUIET = ("httpx", "aiohttp")
"""Libraries whose informative lines repeat ours; httpx tells every URL, with the caller's number in it."""
_SERVER = "aiohttp.server"
_NOT_HTTP = "aiohttp.http_exceptions"
"""Where the errors come from that a request has which can't be read."""

LINES_LOST = "CALLINTERACTIVE_LINES_LOST"
"""The variable with the path of `callinteractive run`'s count of lost lines."""
LOG_FILE = "CALLINTERACTIVE_LOG_FILE"
"""The variable with the name of this part and the descriptor of the file that `callinteractive run` logs to."""
_writers: list[LineWriter] = []
_streams: list[GatheredLines] = []
_handed: tuple[str, int] | None = None
"""What `LOG_FILE` said."""
_part = ""
"""What each line says it is of, where nobody adds that."""


def set_up(log_format: LogFormat, level: int = logging.INFO) -> LineWriter:
    """Send everything to stderr, what ends the process included. ``auto`` is console on a terminal, else json.

    A traceback is a field of its record. Returns what writes, which counts the lines that could not be written.
    """
    global _handed  # noqa: PLW0603  # there is one log in a process
    _handed = _taken_from_environment() or _handed
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    is_console = log_format == "console" or (log_format == "auto" and is_terminal)
    last: list[structlog.typing.Processor] = (
        [_complete, _bound, partial(_to_console, colours=is_terminal and "NO_COLOR" not in os.environ)]
        if is_console
        else [_to_json]
    )
    writer = LineWriter(sys.stderr, _notice_for(is_console))
    _writers.append(writer)
    stream = GatheredLines(writer)
    _streams.append(stream)
    atexit.register(_finish, stream, writer)
    structlog.configure(
        processors=last,
        wrapper_class=partial(Logger, level),  # type: ignore[arg-type]  # all that structlog does with it is to call it
        logger_factory=lambda *_names: stream,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIET:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    logging.getLogger(_SERVER).addFilter(_tell_shortly)
    sys.excepthook = _on_uncaught
    threading.excepthook = lambda thrown: _on_uncaught(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)
    return writer


def write_to_file() -> None:
    """From now on JSON lines go straight to the file that `callinteractive run` logs to, if it does: as it writes them.

    It would spend a tenth of a call's CPU on copying them.
    """
    global _part  # noqa: PLW0603  # there is one log in a process
    if _handed is None or not _streams:
        return  # they go to stderr
    part, descriptor = _handed
    file = open(descriptor, "w", closefd=False)  # noqa: SIM115  # as long as this process lives
    writer = LineWriter(file, _notice_for(is_console=False))
    _writers.append(writer)
    _streams[-1].write_out()
    _part = part
    _streams[-1].go_to(writer, Flow(time.monotonic()))
    atexit.register(_finish, _streams[-1], writer)


def _taken_from_environment() -> tuple[str, int] | None:
    """What `LOG_FILE` says, if it is a file. Processes that this one starts get neither the variable nor the file."""
    part, _, number = os.environ.pop(LOG_FILE, "").rpartition(":")
    try:
        descriptor = int(number)
        if not part or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        os.set_inheritable(descriptor, False)
    except (ValueError, OverflowError, OSError):
        return None
    return part, descriptor


def lines_lost() -> int:
    """Log lines that could not be written: of this process, and of `callinteractive run` if that started it."""
    return sum(writer.lost for writer in _writers) + read_shared(os.environ.get(LINES_LOST, ""))


def _on_uncaught(kind: type[BaseException], error: BaseException | None, trace: types.TracebackType | None) -> None:
    """One record, where Python would write lines of text."""
    logging.getLogger("sidecar").critical("uncaught exception", exc_info=(kind, error or kind(), trace))


def _finish(stream: GatheredLines, writer: LineWriter) -> None:
    stream.finish()
    writer.close()


class GatheredLines:
    """As much of a text stream as loggers use; lines reach `stream` together, or at once where no event loop runs."""

    def __init__(self, stream: TextIO | LineWriter) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._chars = 0
        self._due: asyncio.TimerHandle | None = None
        self._flow: Flow | None = None
        self._telling: asyncio.TimerHandle | None = None

    def go_to(self, stream: TextIO | LineWriter, flow: Flow) -> None:
        """Lines that come from now on reach `stream`, as many as `flow` lets through."""
        self._stream = stream
        self._flow = flow

    def write(self, text: str) -> None:
        self._lines.append(text)
        self._chars += len(text)

    def line(self, text: str) -> None:
        """A whole line, without its end."""
        self._lines.append(text + "\n")
        self._chars += len(text) + 1
        if self._due is None or self._chars > GATHERED_CHARS:
            self.flush()

    def flush(self) -> None:
        """A line is complete: see to it that it gets out in time."""
        if self._chars > GATHERED_CHARS:
            self.write_out()
        elif self._due is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self.write_out()
            else:
                self._due = loop.call_later(GATHER_S, self.write_out)

    def write_out(self) -> None:
        """Everything, now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines, self._chars = self._lines, [], 0
        if self._flow is not None:
            lines = self._let_through(lines, self._flow)
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()

    def _let_through(self, lines: list[str], flow: Flow) -> list[str]:
        now = time.monotonic()
        passed = lines[: flow.take(len(lines), now)]
        if left_out := flow.to_tell(now):
            passed.append(_left_out_notice(left_out))
        elif flow.left_out and self._telling is None:
            with suppress(RuntimeError):  # no event loop: it is told with a later line, or at the end
                self._telling = asyncio.get_running_loop().call_later(TELL_EVERY_S + GATHER_S, self._tell)
        return passed

    def _tell(self) -> None:
        """No line may have come since: then nothing else tells what was left out."""
        self._telling = None
        self.write_out()

    def finish(self) -> None:
        """Everything, and what was left out."""
        self.write_out()
        if self._flow is not None and (left_out := self._flow.to_tell(math.inf)):
            self._stream.write(_left_out_notice(left_out))


_LEVELS: Final = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()}


def write(logger: Any, level: str, event: str, fields: dict[str, Any]) -> None:
    """A line, by `Logger` or by structlog's own: for who has the fields in a dict.

    In compiled code it costs less to write a line than to make keywords of a dict.
    """
    if isinstance(logger, Logger):
        logger.write(level, event, fields)
    else:
        getattr(logger, level)(event, **fields)


class Logger:
    """What `structlog.get_logger()` gives: as structlog's own, in a third of its time. A call writes seven lines."""

    __slots__ = ("_bound", "_least", "_processors", "_stream")

    def __init__(
        self,
        least: int,
        stream: GatheredLines,
        processors: list[structlog.typing.Processor],
        context: dict[str, Any],
    ) -> None:
        """least: the lowest level that is written. context: the fields of every line."""
        self._least = least
        self._stream = stream
        self._processors = processors
        self._bound = context

    def bind(self, **fields: Any) -> Logger:
        """The same with more fields in every line."""
        return Logger(self._least, self._stream, self._processors, {**self._bound, **fields})

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """A line of that level, by its name; `fields` stays as it is."""
        if self._least <= _LEVELS[level]:
            self._write(level, event, fields)

    def debug(self, event: str, **fields: Any) -> None:
        if self._least <= logging.DEBUG:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        if self._least <= logging.INFO:
            self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        if self._least <= logging.WARNING:
            self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        if self._least <= logging.ERROR:
            self._write("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        self._write("critical", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self.error(event, **{"exc_info": True, **fields})

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        entry: Any = {**self._bound, **fields, "event": event}
        try:
            for process in self._processors:
                entry = process(self._stream, level, entry)
        except structlog.DropEvent:  # `structlog.testing.capture_logs` has put itself among the processors
            return
        self._stream.line(entry)


def _complete(logger: Any, level: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add level, time and traceback: in one step, since a call writes half a dozen lines."""
    entry["level"] = "error" if level == "exception" else level
    entry["timestamp"] = _clock()
    if "exc_info" in entry:
        entry = structlog.processors.format_exc_info(logger, level, entry)
    return entry


def _bound(_logger: Any, _level: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in entry.items():
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            half = MOST_CHARACTERS // 2
            left_out = len(value) - 2 * half
            entry[name] = f"{value[:half]} … ({left_out} characters left out) … {value[-half:]}"
    return entry


def _to_console(_logger: Any, _name: str, entry: structlog.typing.EventDict, *, colours: bool) -> str:
    return "\n".join(console.lines(entry, colours=colours))


def _tell_shortly(record: logging.LogRecord) -> bool:
    """What comes to an HTTP port and is no HTTP is its sender's mistake, and no traceback of ours explains it."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__ == _NOT_HTTP:
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        record.msg, record.args = "%s: %s", (record.getMessage(), " ".join(str(error).split()))
    return True


def _notice_for(is_console: bool) -> Callable[[int], str]:
    def notice(lost: int) -> str:
        event = "log lines could not be written"
        return f"warning: {event}: {lost}" if is_console else _to_json(None, "warning", {"lines": lost, "event": event})

    return notice


def _left_out_notice(lines: int) -> str:
    """As `cli.partlog` tells it."""
    event = "log lines left out: too many a second"
    return _to_json(None, "warning", {"of": _part, "lines": lines, "event": event}) + "\n"


class _Clock:
    """The time as ISO 8601, UTC. A second's text is made once."""

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def __call__(self) -> str:
        now = time.time_ns() // 1000
        second = now // 1_000_000
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        # Not with a width in the f-string: where it is compiled, that takes half as long as all else of a line.
        return f"{self._text}.{str(1_000_000 + now % 1_000_000)[1:]}Z"


_clock = now_text = _Clock()
"""The present time as each record has it."""


def _to_json(logger: Any, level: str, entry: structlog.typing.EventDict) -> str:
    entry = _complete(logger, level, entry)
    line = _encoded(entry)
    if len(line) > MOST_CHARACTERS:
        line = _encoded(_bound(logger, level, entry))
    return _with_part(line, "part" in entry) if _part else line


def _with_part(line: str, has_other: bool) -> str:
    """As `callinteractive run` writes it (`cli.partline`): nothing in it harms a terminal that the file is shown on, or
    says that it is of another part."""
    if has_other or _is_too_long(line):
        read = line.encode("utf-8", "backslashreplace").decode()
        text = {"part": _part, "level": "info", "event": shown(read), "timestamp": _clock()}
        return json.dumps(text, ensure_ascii=False)
    if not ((line.isascii() and "\x7f" not in line) or line.isprintable()):
        line = "".join([char if char.isprintable() else json.dumps(char)[1:-1] for char in line])
    return f'{{"part": "{_part}", {line[1:]}'


def _is_too_long(line: str) -> bool:
    most = LONGEST_LINE_BYTES
    return len(line) > most // 4 and len(line.encode("utf-8", "backslashreplace")) > most


def _encoded(entry: Mapping[str, Any]) -> str:
    try:
        return encode(entry)
    except (ValueError, RecursionError):  # not a number, or nested too deeply: no log line may stop a call
        return encode({name: value if isinstance(value, str) else _repr(value) for name, value in entry.items()})


def _repr(value: object) -> str:
    try:
        return repr(value)[:MOST_CHARACTERS]
    except Exception as error:
        return f"(cannot be shown: {type(error).__name__})"
