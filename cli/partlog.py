"""The logs of all parts of a stack as one stream: prefixed lines for a person, JSON objects for a collector."""

from __future__ import annotations

import json
import sys
from typing import Literal, TextIO

LogFormat = Literal["json", "console"]

PREFIX_WIDTH = len("callinteractive")
OF_SIDECARS = "sidecar-"
"""How the names of parts begin that log JSON objects."""


def resolve_format(wanted: str, stream: TextIO = sys.stderr) -> LogFormat:
    """``json`` and ``console`` as they are; ``auto`` is console on a terminal, json elsewhere."""
    if wanted == "auto":
        return "console" if stream.isatty() else "json"
    return "json" if wanted == "json" else "console"


class PartLog:
    """Call it with a part's name and its lines; it writes them to `stream` in the format given."""

    def __init__(self, stream: TextIO, log_format: LogFormat) -> None:
        self._stream = stream
        self.format = log_format

    def __call__(self, part: str, *lines: str) -> None:
        if self.format == "json":
            written = [self._as_json(part, line) for line in lines]
        else:
            written = [f"{part:<{PREFIX_WIDTH}} | {line}" for line in lines]
        # One write for whole lines: other processes may share this stream.
        self._stream.write("\n".join((*written, "")))
        self._stream.flush()

    @staticmethod
    def _as_json(part: str, line: str) -> str:
        """A sidecar's line is an object already and only gains its part; a daemon's becomes the event of one."""
        if part.startswith(OF_SIDECARS) and line.startswith('{"') and line.endswith('"}'):
            # Thousands a second, by our own encoder: reading and writing them anew would cost as much again.
            return f'{{"part": "{part}", {line[1:]}'
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        fields = entry if isinstance(entry, dict) else {"event": line}
        return json.dumps({"part": part, **fields}, ensure_ascii=False)
