"""What a sidecar's calls see of the store: they are kept there, behind them, and come back from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from typing import Any

from sidecar.state.gate import Gate

Data = dict[str, Any]
"""A call as JSON takes it (`sidecar.call.saved`)."""
Resume = Callable[[bool], bool]
"""Try again what is held; returns whether the call was known. With True it is the last time: refuse it otherwise."""


class All(Set[str]):
    """Whatever it is, it is in there."""

    def __contains__(self, _key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Keeper:
    """Keeps nothing: `state: none`. Nothing here raises, or makes a call wait.

    A call's key is a name that no other call of the fleet has. Set the hooks before `open`. They run in the event loop
    and may call `keep` and `forget`:
    - `on_adopt`: this call is ours from now on; here is its data. If it raises, the call is logged and forgotten.
    - `on_surrender`: this call has become another sidecar's. Drop it without a word to anybody. It may have ended here
      meanwhile, and then whoever has it must not be told so.
    """

    on_adopt: Callable[[str, Data], None]
    on_surrender: Callable[[str], None]
    is_failing = False
    """Whether the store does not answer: calls that end now may be another sidecar's."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.gate = Gate(now)

    def keep(self, key: str, data: Callable[[], Data]) -> None:
        """The call is at a stable point. `data` is asked at the next write, at most 50 ms later."""

    def forget(self, key: str) -> None:
        """The call is over. If it was not written yet, it never is."""

    async def open(self) -> Set[str]:
        """Take back the calls of the process before. Returns the keys of those that RTPengine must not lose: also of
        the calls that began here and that another sidecar has taken over. Takes a second at most."""
        return frozenset()

    def start(self) -> None:
        """Tell `on_adopt` of what `open` took, and from now on of the calls of sidecars that die."""

    def hold(self, resume: Resume) -> bool:  # noqa: ARG002  # there is nothing to wait for
        """Something has come for a call that is not known here. True: it waits, since the call may be a dead sidecar's
        that is ours in a moment. False: it is nobody's, as far as can be known."""
        return False

    def retire(self) -> None:
        """We drain: from now on no call of another sidecar is taken, and no other one counts on us in its `release`."""

    async def release(self) -> bool:
        """We end: let another sidecar of our pool take what is left, at once. `on_surrender` is told of each call.

        False where there is no other one alive, or no store: then nothing has happened, and the calls are still ours.
        Takes a second at most.
        """
        return False

    async def close(self) -> None:
        """Write what is left to write, and let go of the store. Takes a second at most."""
