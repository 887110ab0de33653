"""What guards the callbacks that Kamailio calls: an exception becomes an answer, never silence."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from callinteractive.errors import HeaderError
from kemi import ksr
from kemi.anchor import MediaAnchor
from kemi.refusal import NO_MEMORY, Answered, NoMemory, Refused
from kemi.refusal_log import WINDOW_S, RefusalLog

Method = Callable[[Any], None]
Callback = Callable[..., int]


def guarded(otherwise: Callable[[Exception], None]) -> Callable[[Method], Callback]:
    """Make a KEMI callback of a method. Here Refused is answered; `otherwise` handles all other exceptions."""

    def decorate(method: Method) -> Callback:
        @functools.wraps(method)
        def guard(self: Any, _message: object, *_event: str) -> int:
            try:
                method(self)
            except Answered as answered:
                if answered.code:
                    refusals.write(answered.code, answered.reason)
            except Refused as refused:
                _attempt(_answer, refused)
            except Exception as error:
                _attempt(otherwise, error)
            return 1

        return guard

    return decorate


refusals = RefusalLog()


def _refuse(code: int, reason: str) -> None:
    _answer(Refused(code, reason))


def _answer(refused: Refused) -> None:
    ksr.reply(refused.code, refused.reason, refused.headers)
    refusals.write_refused(refused)


def blame(error: Exception) -> None:
    """Tell the sender of a request what is wrong with it. An error of ours is logged. Both are answered."""
    if isinstance(error, HeaderError):
        _refuse(400, str(error))
    elif isinstance(error, UnicodeDecodeError):
        _refuse(400, "Not UTF-8")
    elif isinstance(error.__cause__, ValueError) and isinstance(error, SystemError):
        _refuse(400, "A NUL Where None May Be")  # KEMI takes no text that has one
    else:
        fail(error)


def blame_by_http(error: Exception) -> None:
    """The same for a request of HTTP. An error of ours is logged only."""
    if isinstance(error, UnicodeDecodeError):
        ksr.reply_by_http(400, "Bad Request")
        refusals.write(400, "Not UTF-8")
    else:
        log(error)


def fail(error: Exception) -> None:
    if isinstance(error, MemoryError):
        _answer(NoMemory())
        return
    log(error)
    ksr.reply(500, "Server Internal Error")
    ksr.count_refusal(500)


def drop(error: Exception) -> None:
    """Do not send the branch."""
    log(error)
    ksr.drop()


def withhold(error: Exception) -> None:
    """Pass the reply on, but not what it may say of anchored media."""
    log(error)
    MediaAnchor.withhold()


def log(error: Exception) -> None:
    if isinstance(error, MemoryError):
        _log_no_memory()
    else:
        ksr.log_error("".join(traceback.format_exception(error)))


_quiet_until = float("-inf")


def _log_no_memory() -> None:
    """One line in `WINDOW_S` of each worker: in overload each message of each call may come to this."""
    global _quiet_until  # noqa: PLW0603
    now = time.monotonic()
    if now >= _quiet_until:
        _quiet_until = now + WINDOW_S
        ksr.log_error(NO_MEMORY)


_E = TypeVar("_E", bound=Exception)


def _attempt(handle: Callable[[_E], None], error: _E) -> None:
    try:
        handle(error)
    except Exception as second:
        log(second)
