"""Two edges without peers: they share their registrations in Redis."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from cli.process import StackError
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message
from tests.integration.test_kemi_edges import PHONE, PRIVATE, A, B, Fleet, hang_up, via_of
from tests.integration.test_kemi_edges import SITE as PEERS_SITE
from tests.integration.test_kemi_registrar import NUMBER, register
from tests.support.redis import RunningRedis, running_redis

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "Very.secret~1"
REDIS = (f"{sip.NET}.7", 22079)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRedis]:
    async with running_redis(tmp_path_factory.mktemp("redis"), REDIS, SECRET) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    site = re.sub(r', peer: "[^"]+"', "", PEERS_SITE) + f"registrations: {{database: '{redis.url}'}}\n"
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Endpoint.at(*address)) for address in sip.SIDECARS]
        made = Fleet(tmp_path_factory.mktemp("fleet"), sidecars, site)
        stack.push_async_callback(made.close)
        await made.start("a", "b")
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def phone(fleet: Fleet) -> AsyncIterator[Endpoint]:
    """After the test the database has forgotten it."""
    del fleet
    async with Endpoint.at(PHONE, 22095) as endpoint:
        yield endpoint
    async with Endpoint.at(PHONE, 22096) as endpoint:
        assert (await register(endpoint, expires="0", Contact="*", at=A)).status == 200


async def refuse(fleet: Fleet, phone: Endpoint, invite: Message, got: Message, at: tuple[str, int]) -> None:
    phone.send(sip.reply(got, "486 Busy Here", tag="p"), (via_of(got), A[1]))
    assert (await fleet.refused(invite, at)).status == 486


@pytest.mark.parametrize("contact", [None, PRIVATE], ids=["plain", "behind NAT"])
async def test_a_phone_of_one_edge_is_called_through_the_other(
    fleet: Fleet, phone: Endpoint, contact: str | None
) -> None:
    more = {"Contact": contact} if contact else {}
    assert (await register(phone, at=A, **more)).status == 200
    for at in (B, A):  # at once
        invite = fleet.call(at)
        got = await phone.receive("INVITE")
        assert got.uri == ("sip:me@192.168.7.7:5060" if contact else f"sip:me@{PHONE}:22095")
        assert via_of(got) == A[0]
        await hang_up(fleet, phone, invite, got, A[0])
    assert (await register(phone, at=B, expires="0", Contact="*")).status == 200
    assert (await fleet.refused(fleet.call(A), A)).status == 404


async def test_both_edges_are_killed_and_so_is_the_database(fleet: Fleet, phone: Endpoint, redis: RunningRedis) -> None:
    assert (await register(phone, at=A)).status == 200
    await fleet.kill("a", "b")
    await redis.kill()
    await redis.start()
    await fleet.start("b")
    invite = fleet.call(B)
    await refuse(fleet, phone, invite, await phone.receive("INVITE"), B)  # its own edge is down
    await fleet.start("a")
    invite = fleet.call(A)
    await refuse(fleet, phone, invite, await phone.receive("INVITE"), A)


async def test_the_database_dies_while_the_edges_run(fleet: Fleet, phone: Endpoint, redis: RunningRedis) -> None:
    """A phone is told to try again; calls of others go on. Then it is as it was."""
    assert (await register(phone, at=A)).status == 200
    await redis.kill()
    try:
        assert (await register(phone, at=A)).status >= 500
    finally:
        await redis.start()
    assert (await register(phone, at=A)).status == 200
    invite = fleet.call(B)
    await refuse(fleet, phone, invite, await phone.receive("INVITE"), B)


def files_with_secret(*paths: Path) -> list[Path]:
    return [path for path in paths if SECRET in path.read_text()]


async def test_the_password_is_in_no_argument_and_no_log(fleet: Fleet, redis: RunningRedis) -> None:
    for name in ("a", "b"):
        running = fleet[name]
        assert SECRET not in repr(running.process.spec)
        assert not [line for line in running.log if SECRET in line]
        assert not files_with_secret(Path(f"/proc/{running.process.pid}/cmdline"), *running.run_dir.rglob("*.cfg"))
    assert redis.ask("HGET version:entry::location table_version") == b"$1"


async def test_a_start_without_the_database_says_so(fleet: Fleet, redis: RunningRedis) -> None:
    await fleet.kill("a")
    await redis.kill()
    with pytest.raises(StackError, match=r"registrations\.database: redis://[\d.]+:22079/3 can't be used: ") as found:
        await fleet.start("a")
    assert SECRET not in str(found.value)
    assert NUMBER not in str(found.value)
    await redis.start()
    await fleet.start("a")
