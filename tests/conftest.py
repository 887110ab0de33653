"""Which file of tests begins first, where several workers run them; and a busy machine fails no property."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

HERE = Path(__file__).parent
STACKS = ("integration", "e2e")
LONG = (
    # Those with many calls at once: two workers run them by themselves. The first worker begins with the first and the
    # third file. Each gets another one when it has two tests left. In this order both end at the same time.
    *("e2e/test_soak.py", "e2e/test_fault_matrix.py", "integration/test_kemi_load.py", "e2e/test_transfer_soak.py"),
    *("e2e/test_fleet_rolling.py", "e2e/test_rolling.py", "e2e/test_transfer_ends.py"),
    # Those with few tests that take long.
    *("e2e/test_dialog.py", "integration/test_media_sounds.py", "e2e/test_odd_sounds.py", "e2e/test_reload.py"),
    *("e2e/test_demo.py", "e2e/test_page.py", "e2e/test_new.py", "e2e/test_wheel.py", "e2e/test_units.py"),
    *("e2e/test_two_releases.py", "e2e/test_fleet_sidecar_dies.py", "e2e/test_provisioning.py", "e2e/test_nat.py"),
    *("e2e/test_hostile_log.py", "integration/test_media_after_restart.py", "integration/test_kemi_tcp.py"),
)
"""They begin first, in this order. One that began last would run alone while the other workers have nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files of tests with daemons first, then those with many tests. Tests without daemons stay as they are."""
    files = {item.path: str(item.path.relative_to(HERE)) for item in items if HERE in item.path.parents}
    size = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int, str]:
        name = files.get(item.path, "")
        if not name.startswith(STACKS):
            return (-1, 0, "")
        return (LONG.index(name) if name in LONG else len(LONG), -size[item.path], name)

    items.sort(key=place)
