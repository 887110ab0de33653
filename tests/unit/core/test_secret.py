"""Passwords of the configuration: which texts may be one, and why not."""

from __future__ import annotations

import pytest

from callinteractive.secret import Secret, SecretError, problem_of


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", None),
        ("e" * 4096, None),  # a token of an API may be long
        ("", "is empty"),
        ("e" * 4097, "has 4097 characters, and may have 4096"),
        ("two\nlines", "must be one line of printable characters"),
        ("tab\t", "must be one line of printable characters"),
    ],
)
def test_what_may_be_a_secret(text: str, problem: str | None) -> None:
    assert problem_of(text) == problem


def test_the_reason_names_the_place_and_not_the_secret() -> None:
    with pytest.raises(SecretError, match="variable TOKEN has 5000 characters") as raised:
        Secret(variable="TOKEN").read({"TOKEN": "geheim" + "x" * 4994}, lambda _name: "")
    assert "geheim" not in str(raised.value)
