"""TLS at a real Kamailio: versions, silent strangers, and new certificates without a restart."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.config import load_site
from cli import tls
from cli.kamailio import tls_files
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Message, RunningKamailio
from tests.support.certificates import Authority, Pair
from tests.support.stack import until
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

TLS = (sip.KAMAILIO[0], 22061)
SITE = (
    sip.SITE.replace("listen: [", f'listen: ["tls:{TLS[0]}:{TLS[1]}", ')
    + "tls: {certificate: own.pem, private_key: own.key, ca: authority/ca.pem}\n"
).replace("trunks:", "trunks:\n  - {name: secure, tls: {name: sip.carrier.example}}")


@dataclass
class World:
    """`folder` holds site.yaml and the certificate in use, own.pem."""

    authority: Authority
    folder: Path
    kamailio: RunningKamailio

    def put(self, pair: Pair) -> None:
        """Store another certificate in place of the one in use, as certbot does."""
        put(pair, self.folder)


def put(pair: Pair, folder: Path) -> None:
    for source, name in ((pair.certificate, "own.pem"), (pair.private_key, "own.key")):
        shutil.copy(source, folder / f"{name}.new")
        (folder / f"{name}.new").rename(folder / name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "authority")
    put(authority.issue("first", f"IP:{TLS[0]}"), folder)
    async with sip.running_kamailio(folder, SITE) as running:
        yield World(authority, folder, running)


class Connection:
    """A SIP client over TLS that checks the certificate."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def open(
        cls, authority: Authority, host: str, own: Pair | None = None, **versions: ssl.TLSVersion
    ) -> AsyncIterator[Connection]:
        context = ssl.create_default_context(cafile=str(authority.pair.certificate))
        if own:
            context.load_cert_chain(own.certificate, own.private_key)
        for name, version in versions.items():
            setattr(context, name, version)
        reader, writer = await asyncio.open_connection(*TLS, ssl=context, local_addr=(host, 0))
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    @property
    def serial(self) -> str:
        """Of Kamailio's certificate."""
        return str(self.writer.get_extra_info("peercert")["serialNumber"])

    async def invite(self) -> Message:
        """What it gets first for a new call."""
        host, port = self.writer.get_extra_info("sockname")[:2]
        self.writer.write(
            f"INVITE sip:332@{TLS[0]};transport=tls SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS {host}:{port};branch=z9hG4bK{id(self)}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:a@{host}>;tag=1\r\nTo: <sip:332@{TLS[0]}>\r\nCall-ID: {id(self)}\r\n"
            f"CSeq: 1 INVITE\r\nContact: <sip:{host}:{port};transport=tls>\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(sip.SDP)}\r\n\r\n{sip.SDP}".encode()
        )
        async with asyncio.timeout(PATIENT_S):
            return Message.parse(await self.reader.readuntil(b"\r\n\r\n"))

    async def options(self) -> Message:
        host, port = self.writer.get_extra_info("sockname")[:2]
        self.writer.write(
            f"OPTIONS sip:{TLS[0]}:{TLS[1]};transport=tls SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS {host}:{port};branch=z9hG4bK{id(self)}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:a@{host}>;tag=1\r\nTo: <sip:{TLS[0]}>\r\nCall-ID: {id(self)}\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
        )
        async with asyncio.timeout(PATIENT_S):
            return Message.parse(await self.reader.readuntil(b"\r\n\r\n"))


async def test_it_answers(world: World) -> None:
    async with Connection.open(world.authority, sip.TRUNK) as connection:
        assert (await connection.options()).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
async def test_old_versions_are_refused(world: World, version: ssl.TLSVersion) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        async with Connection.open(world.authority, sip.TRUNK, minimum_version=version, maximum_version=version):
            pass


async def test_a_silent_stranger_is_closed(world: World) -> None:
    """Before and after its handshake."""
    raw, writer = await asyncio.open_connection(*TLS, local_addr=(sip.STRANGER, 0))
    async with Connection.open(world.authority, sip.STRANGER) as silent, asyncio.timeout(20):
        assert await silent.reader.read() == b""
        assert await raw.read() == b""
        writer.close()


async def test_a_trunk_shows_its_certificate(world: World) -> None:
    """One of its names, the chain up to an authority of ours: else it is a stranger, or a phone with its vendor's."""
    names = ("DNS:other.example", "DNS:sip.carrier.example")
    own, another = world.authority.issue("carrier", *names), world.authority.issue("another", "DNS:sip.example")
    forged = Authority(world.folder / "forger").issue("forged", *names)
    async with sip.Endpoint.at(*sip.SIDECARS[0]) as first, sip.Endpoint.at(*sip.SIDECARS[1]) as second:
        await world.kamailio.until_flagged("AP", *sip.SIDECARS)
        second.inbox = first.inbox
        for pair, status in ((own, 100), (another, 403), (forged, 403), (None, 403)):
            async with Connection.open(world.authority, sip.STRANGER, pair) as connection:
                assert (await connection.invite()).status == status
            if status == 100:
                sidecar = await first.receive("INVITE")
                first.send(sip.reply(sidecar, "486 Busy Here", tag="s"))
                await first.receive("ACK")
            assert first.inbox.empty()


async def test_a_new_certificate_needs_no_restart(world: World) -> None:
    """Connections go on with the old one. One that is of no use is refused, and the one before stays."""
    files = tls_files(load_site(SITE, "site.yaml").edges[0], world.folder / "site.yaml")
    assert files
    async with Connection.open(world.authority, sip.TRUNK) as old:
        before = old.serial
        world.put(world.authority.issue("second", f"IP:{TLS[0]}"))
        assert tls.reload(files, world.folder, asks=True) == []
        async with Connection.open(world.authority, sip.TRUNK) as new:
            after = new.serial
            assert after != before
            assert (await new.options()).status == 200
        assert (await old.options()).status == 200

        (world.folder / "own.key").write_text("nonsense")
        assert "own.key holds no usable private key" in tls.reload(files, world.folder, asks=True)[0]
        async with Connection.open(world.authority, sip.TRUNK) as new:
            assert new.serial == after
        assert (await old.options()).status == 200


async def test_kamailio_itself_keeps_the_old_one_too(world: World) -> None:
    """Where somebody reloads by kamcmd what we have not looked at."""
    async with Connection.open(world.authority, sip.TRUNK) as old:
        before = old.serial
    (world.folder / "own.key").write_text("nonsense")
    assert "rror" in await world.kamailio.rpc("tls.reload")
    async with Connection.open(world.authority, sip.TRUNK) as new:
        assert new.serial == before
        assert (await new.options()).status == 200


async def test_changed_files_are_noticed(world: World) -> None:
    files = tls_files(load_site(SITE, "site.yaml").edges[0], world.folder / "site.yaml")
    assert files
    told: list[str] = []
    watching = asyncio.create_task(tls.keep_current(files, world.folder, told.append, asks=True, every_s=0.1))
    try:
        await asyncio.sleep(0)  # it has looked at the files
        pair = world.authority.issue("third", f"IP:{TLS[0]}")
        world.put(pair)
        # OpenSSL in Kamailio now and then refuses a good key first.
        await until(lambda: "new connections get the new certificate" in "".join(told), 20, "the new certificate")
        told.clear()
        (world.folder / "own.pem").write_text("nonsense")
        await until(lambda: bool(told), 20, "another line")
        assert "refused, the old one stays" in told[-1]
        async with Connection.open(world.authority, sip.TRUNK) as new:
            assert (await new.options()).status == 200
    finally:
        watching.cancel()
