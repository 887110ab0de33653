"""Phones over TLS: a real softphone registers, calls, is rung, and either side ends the call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, _ivr_yaml, own_net
from tests.e2e.ivr import MENU, MENU_HZ
from tests.e2e.transfers import (
    REGISTERED,
    is_called_by_another_extension,
    is_hung_up_by_the_ivr,
    is_rung_and_talks,
)
from tests.support.baresip import Baresip
from tests.support.certificates import Authority
from tests.support.leftovers import assert_idle
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp

TLS_PORT = BASE_PORT + 63


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secure_stack(
    authority: Authority, web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningStack]:
    net = own_net()
    folder = tmp_path_factory.mktemp("tls")
    own = authority.issue("edge", f"IP:{net.stack}", "DNS:sip.example")
    tcp = f'"tcp:{net.stack}:{net.sip[1]}"'
    tls = f'tls: {{certificate: "{own.certificate}", private_key: "{own.private_key}"}}\ntrunks:'
    changes = {tcp: f'{tcp}, "tls:{net.stack}:{TLS_PORT}"', "trunks:": tls}
    async with RunningStack(net, folder, _ivr_yaml(web), replace=changes) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def softphone(secure_stack: RunningStack, authority: Authority) -> AsyncIterator[Baresip]:
    """The registered phone of extension 000*308. It checks the certificate."""
    here = {"host": "127.0.0.1", "transport": "tls", "config": f"sip_cafile {authority.pair.certificate}\n"}
    async with Baresip(REGISTERED, "secret", (secure_stack.net.stack, TLS_PORT), **here) as phone:
        await phone.registered()
        yield phone
    await assert_idle(secure_stack)


async def test_the_ivr_hangs_up(web: FakeWebApp, softphone: Baresip) -> None:
    await is_hung_up_by_the_ivr(web, softphone)


async def test_it_hangs_up(softphone: Baresip) -> None:
    await softphone.dials(MENU)
    await softphone.connected()
    await softphone.hears_tone(MENU_HZ)
    await softphone.hangs_up()
    await until(lambda: softphone.answers("BYE") == [200], PATIENT_S, "the answer to its BYE")


async def test_it_is_rung_and_talks(
    web: FakeWebApp, secure_stack: RunningStack, softphone: Baresip, caller: str
) -> None:
    await is_rung_and_talks(web, secure_stack, softphone, caller)


async def test_another_extension_calls_it(secure_stack: RunningStack, softphone: Baresip) -> None:
    await is_called_by_another_extension(secure_stack, softphone)
