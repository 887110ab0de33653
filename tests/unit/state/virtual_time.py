"""A loop whose time passes only while nothing is to be done, and then at once: no test waits, and none is early."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

_UVLOOP_S = 0.0005
"""uvloop's timers are of whole milliseconds."""


class _Selector(selectors.DefaultSelector):
    """Instead of waiting it lets the time pass."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for nothing"
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """As of uvloop: the handle of a timer that is due is none of a timer. It has no `when`."""
        if when - self.time() < _UVLOOP_S:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)

    def sleep_process(self, seconds: float) -> None:
        """As if the process were stopped for so long: time passes, and nothing is done."""
        self._virtual.now += seconds


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)
