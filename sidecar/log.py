"""Logging: JSON lines in production, readable ones on a terminal; stdlib loggers included.

A call writes several lines. Written one by one each costs a system call here and a wake-up of whoever reads them, more
than making them; so while an event loop runs they go out together, `GATHER_S` after the first of them at the latest.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import sys
from typing import Any, Literal, TextIO

import structlog

LogFormat = Literal["auto", "console", "json"]

GATHER_S = 0.05
"""How long a line may wait for others. A process that is killed outright takes so much of its log with it."""
GATHERED_CHARS = 32 * 1024
"""More than this goes out at once."""
_QUIET = ("httpx", "aiohttp")
"""Libraries whose informative lines repeat ours; httpx tells every URL, with the caller's number in it."""

_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def set_up(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send everything to stderr. ``auto`` is console on a terminal, else json."""
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if is_console
        else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    stream = GatheredLines(sys.stderr)
    atexit.register(stream.write_out)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),  # type: ignore[arg-type]  # write and flush are all it uses
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIET:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


class GatheredLines:
    """As much of a text stream as loggers use; lines reach `stream` together, or at once where no event loop runs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._chars = 0
        self._due: asyncio.TimerHandle | None = None

    def write(self, text: str) -> None:
        self._lines.append(text)
        self._chars += len(text)

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
        text, self._lines, self._chars = "".join(self._lines), [], 0
        self._stream.write(text)
        self._stream.flush()


def _to_json(entry: Any, **_: Any) -> str:
    return _encode(entry)
