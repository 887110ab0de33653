"""What a test of a refusal says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kemi.refusal import Refused


@contextmanager
def refused(code: int) -> Iterator[None]:
    """What is done inside must be refused with that code."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code
