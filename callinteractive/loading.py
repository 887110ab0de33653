"""What the readers of site.yaml and of ivr.yaml share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 1_000_000
"""The largest limit of calls that can be configured: more than any machine takes."""


@contextmanager
def without_collection() -> Iterator[None]:
    """Nothing that loading makes is garbage. To look for it took half of the time with thousands of contexts."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
