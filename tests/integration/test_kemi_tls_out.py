"""Calls to a carrier by TLS: only if its certificate is the carrier's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Message
from tests.integration.test_kemi_tls import SITE, TLS, put
from tests.support.certificates import Authority, Pair
from tests.support.stack import until
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio


class Carrier:
    """A carrier that is reached by TLS: it answers OPTIONS, and INVITEs with 486, or where it `rings`, with 180."""

    def __init__(self) -> None:
        self.invites: list[Message] = []
        self.probes = 0
        self.rings = False
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    @asynccontextmanager
    async def at(cls, pair: Pair) -> AsyncIterator[Carrier]:
        carrier = cls()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.private_key)
        carrier._server = await asyncio.start_server(carrier._serve, *GATEWAY, ssl=context)
        try:
            yield carrier
        finally:
            carrier.switch_off()

    def switch_off(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                message = Message.parse(head)
                await reader.readexactly(int(message.get("Content-Length") or 0))
                if message.method == "INVITE":
                    self.invites.append(message)
                self.probes += message.method == "OPTIONS"
                if message.method != "ACK":
                    answer = "180 Ringing" if self.rings else "486 Busy Here"
                    status = answer if message.method == "INVITE" else "200 OK"
                    writer.write(bytes(sip.reply(message, status, tag="c")))
        except (EOFError, OSError):
            pass
        finally:
            writer.close()


GATEWAY = (f"{sip.NET}.44", 22061)
OUT = SITE.replace(
    "tls: {name: sip.carrier.example}",
    f'to: "sips:{GATEWAY[0]}:{GATEWAY[1]}", tls: {{name: sip.carrier.example}}',
)
ONLY_BY_TLS = OUT.replace("  - {name: carrier", "  - {name: unused").replace(f', to: "sip:{sip.TRUNK}:22080"', "")


def transfer(number: str, timeout_s: int = 5) -> dict[str, str]:
    """The private headers of a sidecar's INVITE."""
    facts = CallFacts("a" * 32, "1:" + "a" * 32, "+7903", "Ivan", "332", "000*332", 145)
    headers = (CallHeader(facts), TransferHeader((number,), timeout_s, False), CallerHeader("Ivan", "+7903"))
    return {header.NAME.replace("-", "_"): str(header) for header in headers}


@pytest.mark.parametrize("who", ["carrier", "impostor", "forger"])
async def test_calls_go_to_a_carrier_by_tls(tmp_path: Path, who: str) -> None:
    """Only if an authority of ours vouches for its certificate, and it is for the carrier's name."""
    authority = Authority(tmp_path / "authority")
    put(authority.issue("own", f"IP:{TLS[0]}"), tmp_path)
    signer = Authority(tmp_path / "forger") if who == "forger" else authority
    pair = signer.issue("peer", "DNS:a.example", f"DNS:{'other' if who == 'impostor' else 'sip'}.carrier.example")
    async with (
        Carrier.at(pair) as carrier,
        sip.Endpoint.at(*sip.SIDECARS[0]) as sidecar,
        sip.running_kamailio(tmp_path, ONLY_BY_TLS) as kamailio,
    ):
        if who == "carrier":
            await until(lambda: carrier.probes > 1, 15, "two probes")  # so the first one's answer has been read
            sidecar.send(sidecar.invite("transfer", **transfer("+4915")))
            assert (await sidecar.receive(486)).status == 486
            [invite] = carrier.invites
            assert invite.uri == f"sip:+4915@{GATEWAY[0]}:{GATEWAY[1]};transport=tls"
            assert invite.get("Via").startswith("SIP/2.0/TLS ")
        else:
            is_for = "is for a.example, other.carrier.example, not for sip.carrier.example"
            told = is_for if who == "impostor" else "certificate verify failed"
            await until(lambda: told in "".join(kamailio.log), 15, "its refusal")
            sidecar.send(sidecar.invite("transfer", **transfer("+4915")))
            assert (await sidecar.receive(503)).status == 503
            assert not carrier.invites


async def test_a_caller_who_gives_up_does_not_wait_for_a_carrier_that_is_gone(tmp_path: Path) -> None:
    """Kamailio's own answer in its place is no impostor's (RFC 3261 9.2)."""
    authority = Authority(tmp_path / "authority")
    put(authority.issue("own", f"IP:{TLS[0]}"), tmp_path)
    async with (
        Carrier.at(authority.issue("peer", "DNS:sip.carrier.example")) as carrier,
        sip.Endpoint.at(*sip.SIDECARS[0]) as sidecar,
        sip.running_kamailio(tmp_path, ONLY_BY_TLS) as kamailio,
    ):
        carrier.rings = True
        await until(lambda: carrier.probes > 1, 15, "two probes")
        invite = sidecar.invite("transfer", **transfer("+4915", 4 * int(PATIENT_S)))
        sidecar.send(invite)
        await sidecar.receive(180)
        carrier.switch_off()
        await kamailio.until("core.tcp_list", shows=lambda connections: GATEWAY[0] not in connections)
        sidecar.send(sip.cancel_of(invite))
        while (heard := await sidecar.receive()).get("CSeq") != "1 INVITE":
            pass
        assert heard.status == 487
        assert " not for sip.carrier.example" not in "".join(kamailio.log)


async def test_no_answer_of_an_impostor_counts(tmp_path: Path) -> None:
    """It has the carrier's address since the last probe. tm itself drops no final reply (RFC 5922 7.3)."""
    authority = Authority(tmp_path / "authority")
    put(authority.issue("own", f"IP:{TLS[0]}"), tmp_path)
    good, bad = (authority.issue(name, f"DNS:{name}.carrier.example") for name in ("sip", "other"))
    async with (
        sip.Endpoint.at(*sip.SIDECARS[0]) as sidecar,
        Carrier.at(good) as carrier,
        sip.running_kamailio(tmp_path, ONLY_BY_TLS) as kamailio,
    ):
        await until(lambda: carrier.probes > 1, 15, "two probes")
        carrier.switch_off()
        await kamailio.until("core.tcp_list", shows=lambda connections: GATEWAY[0] not in connections)
        async with Carrier.at(bad) as impostor:
            sidecar.send(sidecar.invite("transfer", **transfer("+4915")))
            while (heard := await sidecar.receive()).status == 100:
                pass
            assert impostor.invites
            assert heard.status in (408, 503)
