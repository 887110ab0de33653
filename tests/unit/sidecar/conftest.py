"""The webhook client, by both of its ways to a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar import sender as module
from sidecar.webhook import Webhook


@pytest.fixture(params=["plain", "library"])
async def webhook(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Webhook]:
    """By our own connections, and as what is not common goes: by aiohttp's."""
    if request.param == "library":
        monkeypatch.setattr(module, "server_of", lambda _url: None)
    async with Webhook() as client:
        yield client
