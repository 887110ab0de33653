"""What a call script asks for next: imperative, plain data. A script waits for one command at a time.

A new command replaces the one before it: a sound that still plays stops, a wait is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from callinteractive.request import HttpRequest


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class Fetch:
    """Send this HTTP request; answered by `Fetched` or `FetchFailed`. A silent wait: digits are still taken."""

    request: Final[HttpRequest]

    def __init__(self, request: HttpRequest) -> None:
        self.request = request


@dataclass(frozen=True, slots=True)
class Play:
    """Play this sound of the library once; answered by `Played` at its end, or `PlayFailed`.

    `barge_in`: a digit stops it.
    """

    sound: str
    barge_in: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """Be silent and take digits; answered by `Waited` when `timeout_ms` have passed."""

    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Be silent (Pause, A2); answered by `Waited` when `pause_ms` have passed."""

    pause_ms: int


@dataclass(slots=True, init=False, unsafe_hash=True)
class Transfer:
    """Ring all `numbers` at once (A10); answered by `TransferAnswered` or `TransferFailed`.

    `timeout_s` None means the system timeout (A11). The caller is shown as `caller_name`, `caller_number`.
    `status_url` is told what becomes of it. `hidden`: digits that no record and no log line may show (E3).
    """

    numbers: Final[tuple[str, ...]]
    timeout_s: Final[int | None]
    early_media: Final[bool]
    final: Final[bool]
    caller_name: Final[str]
    caller_number: Final[str]
    status_url: Final[str | None]
    hidden: Final[tuple[str, ...]]

    def __init__(
        self,
        numbers: tuple[str, ...],
        timeout_s: int | None,
        early_media: bool,
        final: bool,
        caller_name: str,
        caller_number: str,
        status_url: str | None = None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        self.numbers = numbers
        self.timeout_s = timeout_s
        self.early_media = early_media
        self.final = final
        self.caller_name = caller_name
        self.caller_number = caller_number
        self.status_url = status_url
        self.hidden = hidden


@dataclass(slots=True, init=False, unsafe_hash=True)
class Hangup:
    """End the call. `cause` is for the log; `code` is the failure of a final transfer (A13), to be sent as the
    final reply where the call was never answered."""

    cause: Final[str]
    code: Final[int | None]

    def __init__(self, cause: str, code: int | None = None) -> None:
        self.cause = cause
        self.code = code


Command = Fetch | Play | Collect | Wait | Transfer | Hangup
