"""What Kamailio logs: whole lines (`kemi.log_lines`), and one of a call that is refused."""

from __future__ import annotations

import uuid
from pathlib import Path

from cli import partline
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint

CALLS, AT_ONCE = 1_000, 20
FORGED = '{ "idx": 1, "pid": 1, "level": "CRITICAL", "module": "core", "file": "f", "line": 1, "function": "f", "x": "'
"""A Call-ID that begins as a line of Kamailio's does. It stands in each line's prefix, where nothing is escaped."""
PART = 128
"""glibc of Debian 13 writes what has no buffer in parts of so many octets. Debian 12: longer than a line."""
BEGINNINGS = ('{ "idx"', '{ "time"', "Listening on", " ", "Aliases:")


async def test_no_line_begins_in_the_middle_of_another(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path, sip.SITE, sip.IVR) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as carrier,
    ):
        for number in range(CALLS):
            call_id = uuid.uuid4().hex + "." * (number % PART) + FORGED * 2
            carrier.send(carrier.invite("332", Call_ID=call_id, Max_Forwards="many"))  # Kamailio logs an error
            if number >= AT_ONCE:
                await carrier.receive(400)
        for _ in range(AT_ONCE):
            await carrier.receive(400)
        await kamailio.logged("refused 400")
        carrier.send(carrier.invite("332", Call_ID="last-of-all", Max_Forwards="many"))
        await kamailio.logged("last-of-all")  # the lines of those that were answered are before it
        lines = [line for line in kamailio.log if line]
        assert [line for line in lines if not line.startswith(BEGINNINGS)] == []
        assert not [line for line in lines if partline.read(partline.KAMAILIO, line).level == "critical"]


async def test_a_folded_call_id_begins_no_line(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path, sip.SITE, sip.IVR) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as carrier,
    ):
        for number, fold in enumerate(("\r\n ", "\n\t", "\n ")):
            carrier.send(carrier.invite("332", Call_ID=f"folded-{number}{fold}{FORGED}", Max_Forwards="many"))
            await carrier.receive(400)
            line = await kamailio.logged("refused 400", f"folded-{number}")
            assert "CRITICAL" in line
            assert partline.read(partline.KAMAILIO, line).level == "notice"


async def test_nothing_but_nuls_is_no_line(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path, sip.SITE, sip.IVR) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as carrier,
    ):
        for length in (20, 98, 99, 1000):
            carrier.send(bytes(length))
            carrier.send(carrier.invite("999", Call_ID=f"after-{length}"))
            await carrier.receive(404)
            await kamailio.logged("refused 404", f"after-{length}")
        assert not [line for line in kamailio.log if '"level": "ERROR"' in line]


async def test_a_refused_call_is_one_line(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path, sip.SITE, sip.IVR) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as carrier,
    ):
        carrier.send(carrier.invite("999"))
        await carrier.receive_only(404)
        await kamailio.logged("refused 404")
        assert not [line for line in kamailio.log if '"level": "ERROR"' in line]
