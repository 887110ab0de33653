from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.cli.api.world import World, site_with_api


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with site_with_api() as opened:
        yield opened
