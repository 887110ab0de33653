"""For all unit tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.callbacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Exception in callback"):
            self.callbacks.append(f"{text}: {record.exc_info and record.exc_info[1]!r}")


@pytest.fixture(autouse=True)
def _callbacks_do_not_fail() -> Iterator[None]:
    """An error in a timer or in a protocol goes to a log line: no test would fail."""
    heard, log = _Heard(), logging.getLogger("asyncio")
    log.addHandler(heard)
    yield
    log.removeHandler(heard)
    assert not heard.callbacks
