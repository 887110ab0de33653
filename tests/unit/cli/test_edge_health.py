"""An edge's answers to those who ask by HTTP whether it is well."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from callinteractive.model import Address
from cli import edge_health
from cli.edge_health import EdgeHealth

HOST = "127.9.0.7"


class Kamailio(asyncio.DatagramProtocol):
    """Answers every datagram with this status."""

    status = 200

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        assert data.startswith(b"OPTIONS ")
        self.transport.sendto(f"SIP/2.0 {self.status} X\r\n\r\n".encode(), address)


async def asked(address: Address, path: str) -> tuple[int, Any]:
    app = web.Application()
    app.router.add_routes(EdgeHealth(address).routes())
    async with TestClient(TestServer(app, host=HOST)) as client, client.get(path) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("status", "healthy", "ready", "says"),
    [
        (200, 200, 200, ""),
        (503, 200, 503, "it drains: it takes no new calls"),
        (500, 200, 503, "Kamailio answers OPTIONS with 500"),
    ],
)
async def test_kamailio_answers(status: int, healthy: int, ready: int, says: str) -> None:
    transport, kamailio = await asyncio.get_running_loop().create_datagram_endpoint(Kamailio, local_addr=(HOST, 0))
    kamailio.status = status
    address = Address(*transport.get_extra_info("sockname")[:2])
    try:
        assert await asked(address, "/healthz") == (healthy, {"healthy": True})
        assert await asked(address, "/readyz") == (ready, {"ready": not says, "reasons": [says] if says else []})
    finally:
        transport.close()


async def test_kamailio_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_health, "ANSWER_S", 0.1)
    assert await asked(Address(HOST, 9), "/healthz") == (503, {"healthy": False})
    status, told = await asked(Address(HOST, 9), "/readyz")
    assert (status, told["ready"]) == (503, False)
    assert "does not answer" in told["reasons"][0]
