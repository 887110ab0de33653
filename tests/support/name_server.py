"""A name server for tests: real answers on the wire, from records that a test sets; or silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """Answers over UDP. `records`: by name and type, the time to live and the texts of the records."""

    _transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self.is_silent = False
        self.asked: list[tuple[str, str]] = []

    @classmethod
    @asynccontextmanager
    async def at(cls, host: str, port: int = 53) -> AsyncIterator[NameServer]:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        server._transport = transport
        try:
            yield server
        finally:
            transport.close()

    def set(self, name: str, kind: str, *texts: str, ttl_s: int = 1) -> None:
        self.records[name, kind] = (ttl_s, texts)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.is_silent:
            return
        answer = dns.message.make_response(query, recursion_available=True)
        if found := self.records.get((name, kind)):
            ttl_s, texts = found
            answer.answer.append(dns.rrset.from_text_list(question.name, ttl_s, "IN", kind, texts))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)
