"""What a transfer's final SIP code means to its script (A13)."""

from __future__ import annotations

import pytest

from callinteractive.events import transfer_failed


@pytest.mark.parametrize(
    ("status", "codes"),
    [
        ("busy", [486, 600]),
        ("no_answer", [408, 480, 487]),
        ("rejected", [403, 603, 607, 608]),
        ("failed", [300, 404, 488, 500, 503, 604, 606]),
    ],
)
def test_A13_the_status_of_a_failed_transfer(status: str, codes: list[int]):
    for code in codes:
        failed = transfer_failed(code)
        assert (failed.status, failed.code) == (status, code)
