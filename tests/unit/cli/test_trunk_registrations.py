"""The table of registrations with carriers, and what Kamailio tells of it."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from callinteractive.config import load_site
from callinteractive.model import Address
from callinteractive.names import Hop, Names
from cli import trunk_registrations, trunk_states
from cli.kamailio_figures import KamailioFigures
from cli.trunk_states import TrunkStates, gateways_in, registered_in

SITE = """
node: 1
sip: {listen: ["udp:10.0.0.1:5060!198.51.100.1:5070", "tcp:10.0.0.1:5060"]}
trunks:
  - {name: a, to: "sip:carrier.example", username: alice, password: "p:w", register: {contact_user: line}}
  - name: b
    to: "sip:192.0.2.9:5062;transport=tcp"
    username: "bob@b.example"
    password: {env: B}
    realm: r
    register: yes
"""


def written(folder: Path, names: Names, **environment: str) -> list[list[str]]:
    site = load_site(SITE, "site.yaml")
    trunk_registrations.write(site, folder, site.edges[0], names, folder, environment)
    assert not trunk_registrations.write(site, folder, site.edges[0], names, folder, environment)  # unchanged
    path = folder / trunk_registrations.FOLDER / "uacreg"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [line.replace("\\:", "|").split(":") for line in path.read_text().splitlines()[1:]]


def test_rows_of_registrations(tmp_path: Path) -> None:
    names = Names({"sip:carrier.example": (Hop(1, 0, "192.0.2.2", 5060, "udp"), Hop(0, 0, "192.0.2.1", 5080, "udp"))})
    first, second = written(tmp_path, names, B="secret")
    assert first[1:] == [
        *("line", "alice", "carrier.example", "alice", "carrier.example", "", "alice", "p|w", ""),
        *("sip|192.0.2.1|5080", "600", "0", "0", "198.51.100.1|5070", "udp|10.0.0.1|5060"),
    ]
    assert second[4:11] == ["bob", "b.example", "r", "bob@b.example", "", second[9], "sip|192.0.2.9|5062;transport=tcp"]
    assert len(second[9]) == 32
    assert "secret" not in str(second)
    assert second[-2] == "10.0.0.1|5060;transport=tcp"


def test_trunk_whose_password_is_not_there_is_left_out(tmp_path: Path) -> None:
    assert [row[1] for row in written(tmp_path, Names())] == ["line"]


def test_what_kamailio_tells() -> None:
    dump = "{\n\tl_uuid: line\n\tr_username: x\n\tflags: 20\n}\n{\n\tl_uuid: bob\n\tflags: 16\n}\n"
    assert registered_in(dump) == {"line": True, "bob": False}
    assert registered_in("error: 500 - x") == {}
    listing = (
        "RECORDS: {\n SET: {\n ID: 2\n TARGETS: {\n DEST: {\n URI: sip:a\n FLAGS: AP\n }\n DEST: {\n URI: sip:b\n"
        " FLAGS: IP\n}}}\n SET: {\n ID: 1\n TARGETS: {\n DEST: {\n URI: sip:c\n FLAGS: AP\n"
    )
    assert gateways_in(listing) == {"sip:a": True, "sip:b": False}


async def test_a_taken_port_for_metrics_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process looks up names and registers. It tells of the port, and has it when it is free."""
    monkeypatch.setattr(trunk_states, "PAUSE_S", 0.02)

    async def ask(*command: str) -> str:
        return "core:rcv_requests = 7\n" if command == ("stats.get_statistics", "all") else ""

    told: list[str] = []
    states = TrunkStates(load_site(SITE, "site.yaml"), Names, ask, told.append)
    states.registered["a"] = True
    with socket.create_server(("127.13.208.1", 23990)):
        figures, address = KamailioFigures(ask), Address("127.13.208.1", 23990)
        serving = asyncio.create_task(trunk_states.serve(states, figures, address, told.append))
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # several tries: one line
    assert len(told) == 1
    assert "no metrics at 127.13.208.1:23990" in told[0]
    try:
        async with asyncio.timeout(5), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get("http://127.13.208.1:23990/metrics") as response:
                        text = await response.text()
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert 'callinteractive_trunk_registered{trunk="a"} 1.0' in text
    assert "kamailio_core_rcv_requests 7.0" in text
