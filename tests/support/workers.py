"""Which of pytest's workers this is, and loopback addresses that no other worker uses."""

from __future__ import annotations

import os

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def own_host(number: int) -> str:
    """For a unit test with ports that are known beforehand: another worker may run its neighbour at the same time."""
    return f"127.14.{WORKER}.{number}"
