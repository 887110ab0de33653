"""Starting and ending: clear refusal of bad files, several stacks at once, nothing left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from callinteractive.config import load_site
from cli import kamcmd
from cli.kamailio import kamailio_spec
from cli.process import Process, ProcessSpec, StackError
from tests.integration import kemi_support as sip
from tests.support.timing import PATIENT_S


def spec_of(tmp_path: Path, ivr: Path) -> ProcessSpec:
    site_path = tmp_path / "site.yaml"
    site_path.write_text(sip.SITE)
    return kamailio_spec(load_site(sip.SITE, "site.yaml"), site_path, ivr, tmp_path)


async def refusal(spec: ProcessSpec) -> list[str]:
    """What a Kamailio logs that does not start."""
    log: list[str] = []
    process = await Process.start(spec, lambda _name, *lines: log.extend(lines))
    with pytest.raises(StackError, match="exit 78"):
        await process.wait_ready(10)
    await process.wait()
    return log


async def test_bad_configuration_is_told_and_nothing_starts(tmp_path: Path) -> None:
    ivr = tmp_path / "ivr.yaml"
    ivr.write_text(sip.IVR.replace("entry_context: 1", "entry_context: 9"))
    assert any(f"cannot start: {ivr}:" in line for line in await refusal(spec_of(tmp_path, ivr)))


async def test_a_folder_of_ivr_files_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "ivr.d"
    folder.mkdir()
    (folder / "1.yaml").write_text(sip.IVR)
    (folder / "2.yaml").write_text("contexts:\n  new: {options: {start: [jump: {context: gone}]}}\n")
    spec = spec_of(tmp_path, folder)
    assert any(f"cannot start: {folder / '2.yaml'}:2:" in line for line in await refusal(spec))
    (folder / "2.yaml").write_text("contexts:\n  new: {options: {start: [hangup]}}\n")
    process = await Process.start(spec, lambda *_: None)
    try:
        await process.wait_ready(10)
    finally:
        await process.stop(5)


async def test_context_of_a_pool_that_is_not_there_is_told(tmp_path: Path) -> None:
    ivr = tmp_path / "ivr.yaml"
    ivr.write_text(sip.IVR.replace("name: main,", "name: main, pool: vip,"))
    log = await refusal(spec_of(tmp_path, ivr))
    assert any("the site has no pool 'vip' of sidecars" in line for line in log)


async def test_several_stacks_run_at_once(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    other = sip.SITE.replace(f"{sip.KAMAILIO[0]}:", f"{sip.NET}.2:")
    async with sip.running_kamailio(first) as one, sip.running_kamailio(second, site=other) as two:
        for running, host in ((one, sip.KAMAILIO[0]), (two, f"{sip.NET}.2")):
            assert host in await running.rpc("corex.list_sockets")


async def test_end_leaves_no_process(tmp_path: Path) -> None:
    async with sip.running_kamailio(tmp_path) as running:
        async with asyncio.timeout(PATIENT_S):  # the first worker answers before the last one has started
            while len(children := children_of(running.process.pid)) < 5:
                await asyncio.sleep(0.02)
    async with asyncio.timeout(PATIENT_S):  # init reaps them a moment later
        while any(is_running(child) for child in children):
            await asyncio.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("name", ["3d0f", "123456", "12e4", "-1"])
async def test_a_text_that_looks_like_a_number_reaches_kamailio_as_a_text(tmp_path: Path, name: str) -> None:
    """As one of a hundred names of configurations does, for which `reload` asks."""
    async with sip.running_kamailio(tmp_path) as kamailio:
        await kamcmd.ask(kamailio.run_dir, "htable.sets", "reloads", kamcmd.text(name), kamcmd.text("1"))
        assert "value: 1" in await kamcmd.ask(kamailio.run_dir, "htable.get", "reloads", kamcmd.text(name))
