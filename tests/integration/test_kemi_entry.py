"""A new call through a real Kamailio to a scripted sidecar: facts, checks, private headers (R2, C1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callinteractive.headers import CallHeader, EntryHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, RunningKamailio


@pytest.fixture
async def kamailio(tmp_path: Path) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path) as running:
        yield running


@pytest.fixture
async def sidecar() -> AsyncIterator[Endpoint]:
    async with Endpoint.at(*sip.SIDECARS[0]) as endpoint:
        yield endpoint


async def test_first(kamailio: RunningKamailio, sidecar: Endpoint) -> None:
    async with Endpoint.at(sip.TRUNK, 22080) as caller:
        print(await kamailio.rpc("dispatcher.list"))
        caller.send(caller.invite("78123210001"))
        await caller.receive_only(100)
        got = await sidecar.receive("INVITE")
        print(bytes(got).decode())
        print(CallHeader.parse(got.get(CallHeader.NAME)), EntryHeader.parse(got.get(EntryHeader.NAME)))
        print(kamailio.log)
