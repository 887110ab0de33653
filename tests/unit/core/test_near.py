"""What somebody may have meant."""

from __future__ import annotations

import pytest

from callinteractive.near import MOST_KNOWN, near


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("anser", "answer"),
        ("ANSWER", "answer"),
        ("life-time", "lifetime"),
        ("xyz", None),
        ("", None),
        ("a" * 100_000, None),
    ],
)
def test_the_nearest_name_is_meant(name: str, meant: str | None) -> None:
    assert near(name, ("lifetime", "answer", "number")) == (f" (did you mean '{meant}'?)" if meant else "")


def test_nothing_is_sought_among_too_many() -> None:
    assert near("1", [str(number) for number in range(MOST_KNOWN + 1)]) == ""
