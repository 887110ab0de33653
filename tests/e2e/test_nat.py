"""A real softphone behind a real NAT: it calls, is called, talks, and every call ends at both sides."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, _ivr_yaml
from tests.e2e.transfers import (
    REGISTERED,
    is_called_by_another_extension,
    is_hung_up_by_the_ivr,
    is_rung_and_talks,
)
from tests.support.baresip import Baresip
from tests.support.hosts import can_be_made
from tests.support.leftovers import assert_idle
from tests.support.nat import NatNetwork
from tests.support.stack import Net, RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp
from tests.support.workers import WORKER

pytestmark = pytest.mark.skipif(not can_be_made(), reason="a NAT needs root and iptables")

KEEP_ALIVE_S = 20
"""As in kamailio.cfg."""


@pytest.fixture(scope="module")
def outside() -> str:
    """Public, as far as a Contact is concerned (RFC 2544: for tests)."""
    return f"198.18.{WORKER}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nat(outside: str) -> AsyncIterator[NatNetwork]:
    async with NatNetwork(outside, addresses=6) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def public_stack(
    nat: NatNetwork, outside: str, web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningStack]:
    del nat
    net = Net(outside, BASE_PORT)
    async with RunningStack(net, tmp_path_factory.mktemp("nat"), _ivr_yaml(web)) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session", params=["udp", "tcp"])
async def softphone(
    nat: NatNetwork, public_stack: RunningStack, request: pytest.FixtureRequest
) -> AsyncIterator[Baresip]:
    where = {"host": nat.phone_host, "interface": "eth0", "namespace": nat.phone, "transport": request.param}
    async with Baresip(REGISTERED, "secret", public_stack.net.sip, **where) as phone:
        await phone.registered()
        assert nat.phone_host in phone.trace()
        yield phone
    await assert_idle(public_stack)


async def test_the_ivr_hangs_up(web: FakeWebApp, softphone: Baresip) -> None:
    """Its BYE goes to where the INVITE came from (P11)."""
    await is_hung_up_by_the_ivr(web, softphone)


async def test_it_is_rung_and_talks(
    web: FakeWebApp, public_stack: RunningStack, softphone: Baresip, caller: str
) -> None:
    await is_rung_and_talks(web, public_stack, softphone, caller)


async def test_another_extension_calls_it(public_stack: RunningStack, softphone: Baresip) -> None:
    """Its answer's Contact is private too: the ACK and the BYE of a caller find it all the same (C8)."""
    await is_called_by_another_extension(public_stack, softphone)


async def test_its_nat_stays_open(softphone: Baresip, public_stack: RunningStack) -> None:
    """Most NATs forget a UDP mapping that is idle for 30 s (RFC 4787 4.3 would have two minutes)."""
    if softphone.transport == "tcp":
        sockets = ("ss", "-tnHo", "src", "{}:{}".format(*public_stack.net.sip))
        is_kept = lambda: "timer:(keepalive" in subprocess.check_output(sockets, text=True)  # noqa: E731
        await until(is_kept, PATIENT_S, "TCP's keep-alive")
        return
    await until(lambda: "\nOPTIONS sip:" in softphone.trace().replace("\r", ""), KEEP_ALIVE_S + 10, "an OPTIONS")
