"""For all integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.integration.kemi_support import Endpoint, RunningKamailio
from tests.integration.kemi_world import World, world_around


@pytest.fixture(autouse=True)
def _calls_end_with_their_test() -> Iterator[None]:
    yield
    Endpoint.forget_calls()


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    """The parties around the Kamailio that the test's module has."""
    async with world_around(kamailio) as made:
        yield made
