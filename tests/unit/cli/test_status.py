"""What `callinteractive status` says of each part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from callinteractive import prepared
from callinteractive.config import load_site
from cli import options, status
from cli.configuration import of_part
from cli.main import main
from cli.status import PartStatus, ask_all, report
from sidecar.media import bencode
from tests.support.workers import own_host

HOST = own_host(23)
SITE = f"""
node: 1
edges: [{{name: a, listen: ["udp:{HOST}:23960"]}}, {{name: b, listen: ["udp:{HOST}:23961"]}}]
sidecars: [{{host: {HOST}, count: 2, base_port: 23970, metrics_port: 23980}}]
rtpengines: [{{name: m, ng: "{HOST}:23950", interface: {HOST}}}, {{name: n, ng: "{HOST}:23951", ports: [40000, 40100]}}]
"""


class Answers(asyncio.DatagramProtocol):
    """Answers everything with the same text; of the NG protocol, behind the cookie that it was asked with."""

    def __init__(self, text: str, *, is_ng: bool) -> None:
        self.text, self.is_ng = text, is_ng

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        cookie = data.partition(b" ")[0] + b" " if self.is_ng else b""
        self.transport.sendto(cookie + self.text.encode(), addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def answering(port: int, text: str, *, is_ng: bool = False) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Answers(text, is_ng=is_ng), local_addr=(HOST, port))
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def metrics(port: int, text: str) -> AsyncIterator[None]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_each_part_is_asked() -> None:
    pong = bencode.encode({"result": "pong", "statistics": {"currentstatistics": {"sessionstotal": 3}}}).decode()
    async with (
        answering(23960, "SIP/2.0 200 OK\r\n\r\n"),
        answering(23961, "SIP/2.0 404 Not Here\r\n\r\n"),
        answering(23970, "SIP/2.0 200 OK\r\n\r\n"),
        answering(23971, "SIP/2.0 503 Service Unavailable\r\n\r\n"),
        answering(23950, pong, is_ng=True),
        metrics(23980, "callinteractive_live_calls 7.0\n"),
        metrics(23981, "nonsense{\n"),
    ):
        a, b, first, second, m, n = await ask_all(load_site(SITE, "site.yaml"))
    assert (a.name, a.up, a.problem) == ("a", True, "")
    assert a.ms is not None
    assert (b.up, b.problem) == (False, "answers OPTIONS with 404")
    assert (first.name, first.up, first.calls, first.draining) == ("0", True, 7, False)
    assert (second.up, second.calls, second.draining) == (True, None, True)
    assert second.problem == f"no metrics at {HOST}:23981"
    assert (m.name, m.up, m.sessions) == ("m", True, 3)
    assert (n.name, n.up, n.problem) == ("n", False, "does not answer")


async def test_a_sidecar_whose_calls_are_not_kept() -> None:
    async with (
        answering(23970, "SIP/2.0 200 OK\r\n\r\n"),
        metrics(23980, "callinteractive_live_calls 7.0\ncallinteractive_state_up 0.0\n"),
        answering(23971, "SIP/2.0 200 OK\r\n\r\n"),
        metrics(23981, "callinteractive_live_calls 7.0\ncallinteractive_state_up 1.0\n"),
    ):
        parts = await ask_all(load_site(SITE, "site.yaml"))
    assert "calls are not kept" in parts[2].problem
    assert (parts[2].up, parts[3].problem) == (True, "")


async def test_metrics_that_come_in_pieces() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"# HELP a_total b\n", b"callinteractive_live", b"_calls 12", b"5.0\n"):
            await response.write(piece)
            await asyncio.sleep(0.02)  # so that each comes by itself
        return response

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 23980).start()
    try:
        async with answering(23970, "SIP/2.0 200 OK\r\n\r\n"):
            parts = await ask_all(load_site(SITE, "site.yaml"))
    finally:
        await runner.cleanup()
    assert parts[2].calls == 125


async def test_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "ANSWER_S", 0.2)
    assert [part.up for part in await ask_all(load_site(SITE, "site.yaml"))] == [False] * 6


PARTS = [
    PartStatus("edge", "edge-a", "10.0.0.11:5060", True, 1.234),
    PartStatus("sidecar", "0", "10.0.1.1:5070", True, 0.5, 1, False),
    PartStatus("sidecar", "1", "10.0.1.1:5071", True, 0.5, 12, True),
    PartStatus("sidecar", "2", "10.0.1.1:5072", False, problem="does not answer"),
    PartStatus("rtpengine", "media", "[fd00::1]:22222", False, problem="does not answer"),
]


def test_where_nothing_answers_nothing_may_run() -> None:
    said = list(report([part for part in PARTS if not part.up]))
    assert said[3:5] == [
        "0 of 2 parts answer.",
        "Does `callinteractive run` run? Where the parts are services of their own, see:",
    ]


def test_a_report_for_a_person() -> None:
    assert list(report(PARTS)) == [
        "edge      edge-a  10.0.0.11:5060   up       1.2 ms",
        "sidecar   0       10.0.1.1:5070    up       0.5 ms  1 call",
        "sidecar   1       10.0.1.1:5071    up       0.5 ms  12 calls, drains: it takes no new calls",
        "sidecar   2       10.0.1.1:5072    DOWN  does not answer",
        "rtpengine media   [fd00::1]:22222  DOWN  does not answer",
        "",
        "3 of 5 parts answer.",
        "sidecar 2 is down: see `systemctl status callinteractive-sidecar@2` on the host of 10.0.1.1, and its log.",
        "rtpengine media is down: see `systemctl status callinteractive-rtpengine` on the host of [fd00::1], and its"
        " log.",
    ]


@pytest.mark.parametrize(("shown", "code"), [(PARTS, 1), (PARTS[:3], 0)])
def test_the_exit_status_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[PartStatus], code: int
) -> None:
    async def asked(_site: object) -> list[PartStatus]:
        return shown

    monkeypatch.setattr(status, "ask_all", asked)
    (tmp_path / "site.yaml").write_text(SITE)
    arguments = ["status", "--site", str(tmp_path / "site.yaml")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert f"3 of {len(shown)} parts answer." in result.output
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert told["up"] is (code == 0)
    assert told["parts"][1] == {
        "kind": "sidecar", "name": "0", "address": "10.0.1.1:5070", "up": True, "ms": 0.5, "calls": 1,
        "draining": False,
    }  # fmt: skip


def test_the_site_of_this_folder_then_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all commands that ask running parts do: whoever tries an IVR has no /etc/callinteractive."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "SITES", (Path("site.yaml"), Path("host.yaml")))
    for name in ("host.yaml", "site.yaml"):
        Path(name).write_text("tpyo: 1\n")
        result = CliRunner().invoke(main, ["status"])
        assert f"{name}:1: tpyo" in result.output
    Path("site.yaml").unlink()
    Path("host.yaml").unlink()
    for command in ("status", "reload", "drain"):
        result = CliRunner().invoke(main, [command])
        assert "there is no site.yaml in this folder: go to the folder of your IVR" in result.output


def test_a_bad_site(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("tpyo: 1\n")
    result = CliRunner().invoke(main, ["status", "--site", str(tmp_path / "site.yaml")])
    assert result.exit_code == 78
    assert "unknown key 'tpyo'" in result.output


def test_while_the_file_has_mistakes_those_that_run_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(_site: object) -> list[PartStatus]:
        return PARTS[:3]

    monkeypatch.setattr(status, "ask_all", asked)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "5" * 32)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    of_part(prepared.SIDECARS, tmp_path / "site.yaml", tmp_path / "ivr.yaml", None, print)
    (tmp_path / "site.yaml").write_text("tpyo: 1\n")
    result = CliRunner().invoke(main, ["status", "--site", str(tmp_path / "site.yaml")])
    assert "unknown key 'tpyo'" in result.output
    assert "3 of 3 parts answer." in result.output
    assert result.exit_code == 0
