"""Which ports RTPengine takes for sound: one half of them, and after each start the other half.

A new process gives its ports out from the bottom again, while the parties of calls before it may still send to theirs.
Whoever got such a port would hear a stranger. The parties that can be told are told within seconds where their sound is
now (`sidecar.media.moving`); by the start after that, the first half is quiet.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from callinteractive.model import RtpEngine

FEWEST = 16
"""So few ports are not halved."""


class Ports(NamedTuple):
    """The first and the last one."""

    first: int
    last: int


def halves(engine: RtpEngine) -> tuple[Ports, Ports]:
    """The lower and the upper half; the same where there are too few. Each begins with an even port, for RTP."""
    first, last = engine.port_min, engine.port_max
    count = last - first + 1
    if count < FEWEST or engine.redis is not None:  # with Redis it keeps its calls, and so their ports
        return Ports(first, last), Ports(first, last)
    middle = (first + count // 2 + 1) // 2 * 2
    return Ports(first, middle - 1), Ports(middle, last)


def of_next_start(engine: RtpEngine, folder: Path) -> Ports:
    """The half that the process before did not have. `folder` remembers it; if it can't, chance decides."""
    file = folder / f"rtpengine-{engine.name}.half"
    before = None
    with suppress(OSError, ValueError):
        before = int(file.read_text())
    now = random.randrange(2) if before not in (0, 1) else 1 - before
    with suppress(OSError):
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(f"{now}\n")
        new.replace(file)
    return halves(engine)[now]
