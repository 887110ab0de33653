"""What `callinteractive reload` leaves behind where it can't go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callinteractive import prepared
from callinteractive.prepared import Sources, pack
from cli import kamcmd
from cli.active import Active, ActiveError
from cli.files import read_both
from cli.reload import Reload
from tests.unit.cli.test_active import IVR, KEY, SITE


@pytest.fixture
def active(tmp_path: Path) -> Active:
    """Of a host whose edge runs, and whose ivr.yaml has another number now than the one that counts."""
    site, ivr = tmp_path / "site.yaml", tmp_path / "ivr.yaml"
    site.write_text(SITE)
    ivr.write_text(IVR.replace("000*1", "000*2"))
    sources = Sources(str(site), SITE, str(ivr), {str(ivr): IVR})
    found = Active(tmp_path / "active", KEY)
    found.write_all(pack(sources, sources.load(), KEY))
    found.note_edge(sources.load()[0].edges[0].name, tmp_path)
    return found


def counting(active: Active) -> list[str]:
    found = [active.read(of) for of in (prepared.SIDECARS, prepared.KAMAILIO)]
    return [each.ivr_file.ivrs[0].number for each in found if each]


async def failing_with(error: BaseException, active: Active, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Reload, while Kamailio's file can't be written because of that. Returns what Kamailio was asked."""
    asked: list[tuple[str, ...]] = []

    async def ask(_run_dir: Path, *command: str) -> str:
        asked.append(command)
        return "uptime: 1\nOk."

    write = Active.write

    def fails(self: Active, of: str, packed: bytes, **more: Any) -> None:
        numbers = prepared.unpack(packed, KEY)
        if of == prepared.KAMAILIO and numbers and numbers.ivr_file.ivrs[0].number == "000*2":
            raise error
        write(self, of, packed, **more)

    monkeypatch.setattr(kamcmd, "ask", ask)
    monkeypatch.setattr(Active, "write", fails)
    monkeypatch.setattr("cli.kamcmd.CHANGE_PAUSE_S", 0.01)
    monkeypatch.setattr("cli.reload.WORKERS_S", 0.01)
    monkeypatch.setattr("cli.reload.ELSEWHERE_S", 0.01)
    with pytest.raises(type(error)):
        await Reload(active, active.folder.parent / "site.yaml", print).run(None)
    return asked


def test_the_ivr_that_counts_is_found_from_every_folder(
    active: Active, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`run` was called beside the files, `reload` is not."""
    (tmp_path / "linked.yaml").symlink_to("ivr.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    before, _ = read_both(Path("site.yaml"), Path("linked.yaml"))
    assert before is not None
    assert before.sources.ivr == str(tmp_path / "linked.yaml")
    for folder, told in ((tmp_path, "linked.yaml"), (tmp_path / "elsewhere", str(tmp_path / "linked.yaml"))):
        monkeypatch.chdir(folder)
        found = Reload(active, tmp_path / "site.yaml", print)._checked(None, before)
        assert list(found.sources.ivrs) == [told]


@pytest.mark.parametrize("error", [ActiveError("No space left on device"), asyncio.CancelledError()])
async def test_nothing_stays_half_activated(
    error: BaseException, active: Active, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be full, or the operator presses Ctrl-C."""
    await failing_with(error, active, monkeypatch)
    assert counting(active) == ["000*1", "000*1"]


async def test_why_an_attempt_before_was_refused_is_forgotten(active: Active, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next attempt, with the mistake mended, would be refused for it."""
    asked = await failing_with(ActiveError("x"), active, monkeypatch)
    assert ("htable.delete", "reloads", "refused") in asked
