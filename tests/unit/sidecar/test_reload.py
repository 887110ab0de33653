"""A sidecar that takes up a new configuration, or refuses it and says why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from callinteractive import prepared
from callinteractive.config import load_ivr_file
from callinteractive.model import Site
from callinteractive.prepared import Prepared, Sources, pack
from cli.active import Active
from sidecar import reload
from sidecar.call.services import Services
from sidecar.generations import MOST, Generations
from sidecar.media.sounds import SoundLibrary
from sidecar.presence import Presence, is_alive
from sidecar.reload import Reload, Source

KEY = bytes(16)
SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'
IVR = 'ivrs: [{number: "000*1", id: 1, entry_context: a}]\ncontexts: {a: {options: {start: [hangup]}}}\n'


def sources(site: str = SITE, ivr: str = IVR) -> Sources:
    return Sources("site.yaml", site, "ivr.yaml", {"ivr.yaml": ivr})


class World:
    """A sidecar's watch of the folder, with a fast clock."""

    def __init__(self, folder: Path, problem: str = "") -> None:
        self.active = Active(folder, KEY)
        self.learnt: list[Prepared] = []
        self.sounds: list[Site] = []
        self.hangs = False
        source = Source(folder, KEY, sources().name, problem)
        self.reload = Reload(source, 0, sources().load()[0], self._load_sounds, lambda new, _: self.learnt.append(new))

    def _load_sounds(self, site: Site) -> SoundLibrary:
        self.sounds.append(site)
        library: SoundLibrary = create_autospec(SoundLibrary, instance=True, is_unseen=self.hangs)
        return library

    async def activate(self, new: Sources, packed: bytes | None = None) -> dict[str, object]:
        """Write it; returns what the sidecar says of it."""
        self.active.write(prepared.SIDECARS, pack(new, new.load(), KEY) if packed is None else packed, anew=True)
        written = (self.active.folder / prepared.SIDECARS).stat().st_mtime_ns
        async with asyncio.timeout(10):
            while (told := self.active.sidecars().get(0, {})).get("seen") != written:
                await asyncio.sleep(0.002)
        return {name: value for name, value in told.items() if name not in ("pid", "pid_namespace", "seen")}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(reload, "LOOK_EVERY_S", 0.002)
    made = World(tmp_path / "active", problem="ivr.yaml:1: not YAML")
    task = asyncio.create_task(made.reload.run())
    yield made
    task.cancel()
    made.reload.close()
    assert made.active.sidecars() == {}, "it lives no more"


async def test_it_learns_what_is_new(world: World) -> None:
    new = sources(ivr=IVR.replace("000*1", "000*2"))
    assert await world.activate(new) == {"configuration": new.name}
    assert [found.ivr_file.ivrs[0].number for found in world.learnt] == ["000*2"]
    assert (world.reload.name, world.reload.problem) == (new.name, "")


async def test_what_it_has_started_with_is_told_at_once_and_is_nothing_new(world: World) -> None:
    assert world.active.sidecars()[0]["configuration"] == sources().name
    assert await world.activate(sources()) == {"configuration": sources().name}
    assert (world.learnt, world.reload.problem) == ([], "ivr.yaml:1: not YAML")


async def test_the_same_once_more_brings_other_sounds(world: World) -> None:
    await world.activate(sources())
    await world.activate(sources())
    assert (len(world.sounds), len(world.learnt), world.reload.problem) == (1, 1, "")


@pytest.mark.parametrize(
    ("site", "packed", "reason"),
    [
        (SITE.replace("node: 1", "node: 2"), None, "node: can't change while it runs: restart this sidecar"),
        (SITE, b"rubbish", "is damaged, or made with another key"),
    ],
)
async def test_what_it_can_t_take_up_changes_nothing(
    world: World, site: str, packed: bytes | None, reason: str
) -> None:
    told = await world.activate(sources(site=site), packed)
    assert told["configuration"] == sources().name
    assert str(told["refused"]).endswith(reason)
    assert world.learnt == []
    new = sources(ivr=IVR.replace("000*1", "000*2"))
    assert await world.activate(new) == {"configuration": new.name}


async def test_sounds_that_fail_refuse_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_site: Site) -> SoundLibrary:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.reload, "_load_sounds", fail)
    told = await world.activate(sources(ivr=IVR.replace("000*1", "000*2")))
    assert "No space left" in str(told["refused"])


async def test_a_folder_of_sounds_that_hangs_refuses_it(world: World) -> None:
    world.hangs = True
    told = await world.activate(sources(ivr=IVR.replace("000*1", "000*2")))
    assert str(told["refused"]).endswith("does not answer")
    assert world.learnt == []


def services(name: str) -> Services:
    ivr_file = load_ivr_file(IVR.replace("000*1", f"000*{name}"), "ivr.yaml")
    made: Services = create_autospec(Services, instance=True, ivr_file=ivr_file)
    return made


def test_calls_find_the_generation_that_they_began_with() -> None:
    first, second = services("1"), services("2")
    known = Generations(first)
    known.learn(second)
    assert known.of(first.ivr_file.generation).services is first
    assert list(known.of(second.ivr_file.generation).ivrs) == ["000*2"]
    assert known.of("unheard of") is known.of("") is known.present
    again = services("1")
    known.learn(again)  # back to what was before, with other sounds
    assert known.of(first.ivr_file.generation).services is again


def test_only_so_many_are_kept() -> None:
    made = [services(str(number)) for number in range(1, MOST + 3)]
    known = Generations(made[0])
    for each in made[1:]:
        known.learn(each)
    kept = [known.of(each.ivr_file.generation).services is each for each in made]
    assert kept == [False, False] + [True] * MOST


def test_a_presence_goes_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "active" / "sidecar-3.json"
    one = Presence(file)
    one.tell(configuration="long name " * 9)
    one.tell(configuration="b")
    assert json.loads(file.read_text())["configuration"] == "b"
    assert is_alive(file)
    one.close()
    assert not is_alive(file)
    assert Active(tmp_path / "active", KEY).sidecars() == {}
    Presence(None).tell(configuration="nobody is told")
    Presence(tmp_path).tell(configuration="it is a folder")  # costs a log line
