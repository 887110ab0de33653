"""For all integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
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


@pytest_asyncio.fixture(loop_scope="module")
async def sidecar(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    """Both sidecars of the module's Kamailio, with one inbox."""
    async with sip.sidecars_with_one_inbox(kamailio) as both:
        yield both


@pytest_asyncio.fixture(loop_scope="module")
async def caller(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    """Calls from the trunk."""
    del kamailio
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(loop_scope="module")
async def trunk(sidecar: Endpoint) -> AsyncIterator[Endpoint]:
    """The trunk's gateway, which calls once the sidecars are there."""
    del sidecar
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as endpoint:
        yield endpoint
