"""Registrations outlive Kamailio, and nothing that is wrong with their file keeps it from starting."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from cli.registrations import FILE
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, RunningKamailio
from tests.integration.kemi_world import SITE, refuse, world_around
from tests.integration.test_kemi_registrar import NUMBER, register
from tests.support.timing import PATIENT_S

PHONE = (f"{sip.NET}.81", 22095)


@asynccontextmanager
async def kamailio_in(folder: Path) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(folder, SITE) as running:
        yield running


async def rings(kamailio: RunningKamailio, phone: Endpoint) -> None:
    """A call to the extension must reach the phone."""
    async with world_around(kamailio) as world:
        invite = world.invite("399")
        got = await phone.receive("INVITE")
        assert got.uri == f"sip:me@{phone.host}:{phone.port}"
        await refuse(phone, got)
        await world.refused(invite)


async def written(file: Path, count: int, within_s: float = PATIENT_S) -> None:
    """Wait until the file holds that many registrations."""
    async with asyncio.timeout(within_s):
        while True:
            with closing(sqlite3.connect(file)) as database:
                if database.execute("SELECT count(*) FROM location").fetchone() == (count,):
                    return
            await asyncio.sleep(0.1)


async def test_a_phone_is_still_registered_after_sigkill_and_after_a_restart(tmp_path: Path) -> None:
    async with Endpoint.at(*PHONE) as phone:
        async with kamailio_in(tmp_path) as kamailio:
            assert (await register(phone)).status == 200
            await written(tmp_path / "state" / FILE, 1)
            kamailio.process.kill()
        async with kamailio_in(tmp_path) as kamailio:
            await rings(kamailio, phone)
        async with kamailio_in(tmp_path) as kamailio:  # it was stopped by SIGTERM
            await rings(kamailio, phone)
            assert (await register(phone, expires="0")).status == 200
            async with world_around(kamailio) as world:
                assert (await world.refused(world.invite("399"))).status == 404
        async with kamailio_in(tmp_path) as kamailio:
            assert NUMBER not in await kamailio.rpc("ul.dump")


async def test_what_was_registered_last_is_written_at_the_end(tmp_path: Path) -> None:
    async with Endpoint.at(*PHONE) as phone:
        async with kamailio_in(tmp_path):
            assert (await register(phone)).status == 200
        async with kamailio_in(tmp_path) as kamailio:
            await rings(kamailio, phone)


@pytest.mark.parametrize("content", [b"no database at all " * 500, b"SQLite format 3\0" + os.urandom(9000)])
async def test_a_damaged_file_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_bytes(content)
    async with Endpoint.at(*PHONE) as phone, kamailio_in(tmp_path) as kamailio:
        told = [line for line in kamailio.log if FILE in line]
        assert len(told) == 1
        assert "phones must register again" in told[0]
        assert (tmp_path / "state" / f"{FILE}.bad").read_bytes() == content
        assert (await register(phone)).status == 200
        await written(tmp_path / "state" / FILE, 1)
        await rings(kamailio, phone)


async def test_a_file_of_another_program_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / FILE)) as database:
        database.execute("CREATE TABLE location (id INTEGER)")
    async with kamailio_in(tmp_path) as kamailio:
        assert "no such table: version" in next(line for line in kamailio.log if FILE in line)
    await written(tmp_path / "state" / FILE, 0)


async def test_a_folder_in_which_nothing_can_be_written(tmp_path: Path) -> None:
    """root may write anywhere, but not make a folder where a file is."""
    (tmp_path / "state").write_text("")
    async with Endpoint.at(*PHONE) as phone, kamailio_in(tmp_path) as kamailio:
        told = [line for line in kamailio.log if FILE in line]
        assert len(told) == 1
        assert "can't be kept" in told[0]
        assert (await register(phone)).status == 200
        await rings(kamailio, phone)
