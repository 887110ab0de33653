"""For all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kemi_support import Endpoint


@pytest.fixture(autouse=True)
def _calls_end_with_their_test() -> Iterator[None]:
    yield
    Endpoint.forget_calls()
