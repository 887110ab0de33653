"""Caches keyed by what strangers write are bounded in octets (S16)."""

from __future__ import annotations

from callinteractive.remember import LONGEST, remember


def test_short_texts_are_remembered_and_long_ones_are_not() -> None:
    asked = []

    @remember(10)
    def length(text: str) -> int:
        """Its own docstring."""
        asked.append(text)
        return len(text)

    long = "x" * (LONGEST + 1)
    assert [length("a"), length("a"), length(long), length(long)] == [1, 1, len(long), len(long)]
    assert asked == ["a", long, long]
    assert length.__doc__ == "Its own docstring."


def test_no_more_than_so_many_texts_are_kept() -> None:
    asked = []

    @remember(3)
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    for text in "abcabcdad":
        assert length(text) == 1
    assert asked == ["a", "b", "c", "d", "a"]
