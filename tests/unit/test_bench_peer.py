"""`make bench PEER=asterisk`: which Asterisk, its settings, whose turn it is, how it is judged and told.

No Asterisk runs here: it is not among what the tests install.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.held import PAUSE, Held
from bench.loads import DIP, PROMPT
from bench.measure import Load, Run
from bench.peer import __main__ as peer
from bench.peer import asterisk
from bench.peer.report import write_report
from bench.peer.results import ROWS, HeldRound, PeerResults, Round, verdicts
from bench.results import folder
from bench.world import Server
from sidecar.media import quicktime


@pytest.fixture(autouse=True)
def nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the daemons' versions nor the machine's speed."""
    for module in ("report", "results"):
        monkeypatch.setattr(f"bench.peer.{module}.versions", dict)
    monkeypatch.setattr("bench.peer.__main__.loop_ms", lambda: 1.0)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `asterisk -V` prints, by the folder of its chroot; a folder that is not among them has none."""
    found: dict[str, str] = {}

    def run(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        root = command[1] if command[0].endswith("chroot") else "/"
        if root not in found:
            raise FileNotFoundError(root)
        return subprocess.CompletedProcess(command, 0, f"Asterisk {found[root]}\n", "")

    monkeypatch.setattr("bench.peer.asterisk.subprocess.run", run)
    monkeypatch.setattr("bench.peer.asterisk.os.geteuid", lambda: 0)
    return found


def chroot(folder: Path) -> Path:
    (folder / "usr/sbin").mkdir(parents=True)
    (folder / "usr/sbin/asterisk").touch()
    return folder


def test_the_named_chroot_is_preferred(versions: dict[str, str], tmp_path: Path) -> None:
    root = chroot(tmp_path / "named")
    versions |= {"/": "20.1.0", str(root): "22.10.1+dfsg"}
    assert asterisk.find({"ASTERISK_ROOT": str(root)}) == asterisk.Installed(root, "22.10.1+dfsg")
    assert asterisk.find({}, tmp_path / "none") == asterisk.Installed(Path("/"), "20.1.0")


def test_the_chroot_of_the_tool_is_found_beside_an_old_one(versions: dict[str, str], tmp_path: Path) -> None:
    root = chroot(tmp_path / "made")
    versions |= {"/": "16.28.0", str(root): "certified/20.7-cert1"}
    assert asterisk.find({}, root).root == root


@pytest.mark.parametrize("version", ["", "16.28.0", "GIT-master"])
def test_without_a_new_one_a_line_says_how_to_get_it(version: str, versions: dict[str, str], tmp_path: Path) -> None:
    if version:
        versions["/"] = version
    with pytest.raises(asterisk.NoAsteriskError, match="tools/asterisk") as caught:
        asterisk.find({}, tmp_path / "none")
    assert "\n" not in str(caught.value)
    assert version in str(caught.value)


def test_only_root_starts_one_in_a_chroot(
    versions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = chroot(tmp_path / "named")
    versions[str(root)] = "22.1.0"
    monkeypatch.setattr("bench.peer.asterisk.os.geteuid", lambda: 1000)
    with pytest.raises(asterisk.NoAsteriskError, match="only root"):
        asterisk.find({"ASTERISK_ROOT": str(root)})


def test_the_chroot_of_the_tool_is_where_it_is_looked_for() -> None:
    tool = (Path(__file__).parents[2] / "tools/asterisk").read_text()
    assert f"root=${{{asterisk.ROOT_VARIABLE}:-{asterisk.MADE_BY_TOOL}}}" in tool


@pytest.mark.parametrize(("name", "said"), [("freeswitch", "PEER=asterisk"), ("asterisk", "how to get it")])
def test_the_command_says_in_a_line_what_to_do(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> asterisk.Installed:
        raise asterisk.NoAsteriskError("how to get it")

    monkeypatch.setattr("bench.peer.__main__.find", find)
    monkeypatch.setattr("sys.argv", ["bench.peer", name, "--check"])
    with pytest.raises(SystemExit, match=said):
        peer.main()


def test_all_settings_are_filled_in(tmp_path: Path) -> None:
    asterisk.write_settings(tmp_path, "/tmp/as-it-sees-it")
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {path.name for path in asterisk.CONF.iterdir()}
    left = [
        name
        for name, text in written.items()
        for line in text.splitlines()
        if re.search("@[A-Z_]+@", line.split(";")[0])
    ]
    assert left == []
    assert "astetcdir => /tmp/as-it-sees-it\n" in written["asterisk.conf"]
    assert "http://127.15.0.9:25080/hangup?" in written["extensions.conf"]
    assert "sip:306@127.15.0.3:25062," in written["extensions.conf"]


def test_asterisk_takes_every_call_that_is_compared(tmp_path: Path) -> None:
    asterisk.write_settings(tmp_path, "/tmp")
    taken = set(re.findall(r"^exten => ([^,]+),1,", (tmp_path / "extensions.conf").read_text(), re.MULTILINE))
    assert taken == {PAUSE, *(row.load.service for row in ROWS)}


def test_asterisk_asks_what_our_stack_asks() -> None:
    """The web application answers by the path: the same call must do the same work on both sides."""
    ours = (Path(peer.__file__).parents[1] / "ivr.yaml").read_text()
    entries = dict(re.findall(r'number: "([^"]+)".*entry_context: (\w+)', ours))
    asked = dict(
        re.findall(r"^  (\w+):\n(?:(?!  \w).*\n)*?.*25080/(\w+)", ours.partition("\ncontexts:")[2], re.MULTILINE)
    )
    theirs = re.findall(
        r"^exten => ([^,]+)(?:(?!exten).*\n)*?.*@WEB@/(\w+)\?",
        (asterisk.CONF / "extensions.conf").read_text(),
        re.MULTILINE,
    )
    assert theirs == [(row, asked[entries[row]]) for row, _ in theirs]
    assert len(theirs) == 4


def run(load: Load, rate: int, ms: float, *, failed: int = 0, foreign: float = 0.0) -> Run:
    return Run(
        load.name, rate, 100, failed, 0, rate, {"kamailio": ms / 4, "sidecars": ms * 3 / 4}, {}, foreign_cores=foreign
    )


class Machine:
    """Stands for both servers: which runs were asked for, and up to which rate each is clean."""

    def __init__(self) -> None:
        self.ours, self.peer, self.native = (Server(name, "phone", dict) for name in ("ours", "peer", "native"))
        self.stack, self.baseline = self.ours, self.native
        self.asked: list[tuple[str, str, int]] = []
        self.clean_up_to = {"ours": 1000, "peer": 800, "native": 3000}

    def measure(self, _: object, load: Load, rate: int, *rest: Any) -> Run:
        server = rest[2]
        self.asked.append((server.host, load.name, rate))
        return run(load, rate, 1.0, failed=int(rate > self.clean_up_to[server.host]))

    def hold(self, _: object, calls: int, *rest: Any) -> Held:
        server = rest[2]
        self.asked.append((server.host, "held", calls))
        return Held(calls, calls, 0, {"part": 10.0}, {})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr("bench.peer.__main__.measure", found.measure)
    monkeypatch.setattr("bench.peer.__main__.hold", found.hold)
    monkeypatch.setattr("bench.peer.__main__.write_captures", lambda _: None)
    monkeypatch.setattr("bench.peer.__main__.time.sleep", lambda _: None)
    monkeypatch.setattr("bench.peer.__main__.os.geteuid", lambda: 0)
    return found


def compare(machine: Machine, *only: str, is_quick: bool = False) -> PeerResults:
    results = PeerResults("Asterisk 22", is_quick, is_compiled=True, loop_ms=[1.0])
    world: Any = machine
    peer.Comparison(world, machine.peer, Path("/"), results, list(only) or None).run()
    return results


def test_both_are_measured_in_turn(machine: Machine) -> None:
    results = compare(machine, "prompt")
    measured = [(host, load) for host, load, rate in machine.asked if rate == 100][3:]
    forth = [("ours", "prompt"), ("peer", "prompt"), ("native", "baseline")]
    assert measured == [*forth, *forth[::-1], *forth]
    assert len(results.rounds) == 3


def test_the_whole_plan_fills_every_line(machine: Machine) -> None:
    assert {verdict.word for verdict in verdicts(compare(machine))} == {"**missed**", "reached"}
    assert [v.what for v in verdicts(compare(machine, is_quick=True)) if v.ratio is None] == ["highest clean rate"]


def test_the_highest_clean_rate_of_each_is_found_and_confirmed(machine: Machine) -> None:
    results = compare(machine, "clean")
    assert results.clean is not None
    assert all(most * 0.9 <= rate <= most for rate, most in zip(results.clean, (1000, 800), strict=True))
    assert [run.is_clean for run in results.confirming] == [True] * 6


def test_a_clean_rate_that_is_not_confirmed_is_lowered(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peer.__main__.find_clean_rate", lambda *_: 900)
    results = compare(machine, "clean")
    assert results.clean == (900, 771)  # 900, 855 and 812 were not clean


def test_the_search_begins_at_a_rate_known_to_be_clean(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr("bench.peer.__main__.find_clean_rate", lambda _, clean, __: begun.append(clean) or clean)
    machine.clean_up_to["peer"] = 100
    compare(machine)
    assert begun == [400, 50]
    compare(machine, "clean")
    assert begun[2:] == [200, 200]


def test_a_machine_too_busy_for_any_rate_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.clean_up_to["ours"] = 0
    results = compare(machine, "clean")
    assert results.clean is not None
    assert results.clean[0] <= 50
    write_report(results, tmp_path)
    assert "**missed**, but calls failed" in (tmp_path / "report-peer.md").read_text()


def test_a_call_that_one_of_them_cannot_take_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.clean_up_to["peer"] = 0
    results = compare(machine, "dip")
    write_report(results, tmp_path)
    assert results.rounds == []
    assert "dip was not measured: one call to the peer on its own fails" in (tmp_path / "report-peer.md").read_text()


@pytest.fixture
def results() -> PeerResults:
    found = PeerResults("Asterisk 22.10.1 with 26 modules", is_quick=False, is_compiled=True, loop_ms=[30.0])
    for ours in (0.6, 0.8, 1.4):
        found.rounds.append(Round(run(DIP, 200, ours), run(DIP, 200, 1.0), run(DIP, 200, 0.2)))
    found.rounds.append(Round(run(PROMPT, 100, 5.0), run(PROMPT, 100, 4.0), run(PROMPT, 100, 0.2)))
    ours = Held(2000, 2000, 0, {"kamailio": 4.0, "sidecars": 8.0, "rtpengine": 30.0, "run": 0.0}, {})
    found.held.append(HeldRound(ours, Held(2000, 2000, 0, {"asterisk": 100.0}, {})))
    found.clean = (1200, 800)
    return found


def judged(results: PeerResults) -> dict[str, str]:
    return {verdict.what: verdict.word for verdict in verdicts(results)}


def test_the_ratio_is_of_runs_beside_each_other_and_is_judged(results: PeerResults) -> None:
    ratios = {verdict.what: verdict.ratio for verdict in verdicts(results)}
    dip = ratios["answer, HTTP dip, hang up, 200/s"]
    assert dip is not None
    assert (dip.low, dip.median, dip.high) == pytest.approx((0.6, 0.8, 1.4))
    words = judged(results)
    assert words["answer, HTTP dip, hang up, 200/s"] == "reached"
    assert words["the same with a 2 s prompt, 100/s"] == "**missed**"
    assert words["answer, HTTP dip, hang up, 50/s"] == "not measured"
    assert words["highest clean rate"] == "reached"
    assert words["memory of a held call"] == "goal reached"


def test_more_clean_calls_are_better(results: PeerResults) -> None:
    results.clean = (800, 1200)
    assert judged(results)["highest clean rate"] == "**missed**"
    results.clean = (2000, 1000)
    assert judged(results)["highest clean rate"] == "goal reached"


def test_the_report_tells_it(results: PeerResults, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    text = (tmp_path / "report-peer.md").read_text()
    assert "| answer, HTTP dip, hang up, 200/s | 0.80 (0.60–1.40) | <= 1 | <= 0.7 | reached |" in text
    assert "Nothing else ran" in text
    assert "| 0.20 (0.15–0.35) | 0.60 (0.45–1.05) |" in text, "our parts"
    assert "| 4.00 (3.00–7.00) |" in text, "against the native proxy"
    assert "Ours 1200/s, the peer 800/s" in text
    assert "| 42.0 (42.0–42.0) | 100.0 (100.0–100.0) | 0, 0 |" in text
    assert json.loads((tmp_path / "report-peer.json").read_text())["rounds"][0]["peer"]["rate"] == 200


def test_the_report_says_when_the_machine_was_busy_or_calls_failed(results: PeerResults, tmp_path: Path) -> None:
    found = results.rounds[0]
    results.rounds[0] = replace(found, peer=run(DIP, 200, 1.0, failed=1, foreign=0.5))
    write_report(replace(results, is_compiled=False), tmp_path)
    text = (tmp_path / "report-peer.md").read_text()
    assert "The machine was busy: other processes disturbed 1 of 12 runs" in text
    assert "| reached, but calls failed or were sent again |" in text
    assert "**not compiled**" in text


def test_a_report_of_nothing_can_be_written(tmp_path: Path) -> None:
    write_report(PeerResults("Asterisk 22", is_quick=True, is_compiled=True), tmp_path)
    assert "not measured" in (tmp_path / "report-peer.md").read_text()


def test_asterisk_is_asked_until_it_has_booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: it is started with the settings as the chroot sees them, and stopped at the end."""
    root = chroot(tmp_path / "root")
    (root / "tmp").mkdir()
    world: Any = SimpleNamespace(started=[], ended=[], prompt=tmp_path / "two-seconds.wav")
    process = SimpleNamespace(pid=1, poll=lambda: None)
    world.start = lambda *command, **_: world.started.append(command) or process
    world.end = world.ended.append
    answers = iter(["", "Asterisk has fully booted.", "26 modules loaded"])
    sound = quicktime.header(1) + b"\x12" + quicktime.padding(1)
    monkeypatch.setattr("bench.peer.asterisk.convert", lambda _, target: target.write_bytes(sound))
    monkeypatch.setattr("bench.peer.asterisk.time.sleep", lambda _: None)
    monkeypatch.setattr(
        "bench.peer.asterisk.subprocess.run", lambda *_, **__: subprocess.CompletedProcess((), 0, next(answers), "")
    )
    with asterisk.Asterisk(world, asterisk.Installed(root, "22.1")) as running:
        settings = world.started[0][-1]
        assert (root / settings[1:]).exists()
        samples = (root / settings[1:]).with_name("two-seconds.ulaw").read_bytes()
        assert samples == b"\x12"
        assert settings.startswith("/tmp/bench-asterisk-")
        assert running.modules == 26
    assert world.ended == [process]
    assert list((root / "tmp").iterdir()) == []


def test_where_the_report_goes_is_made_before_anything_is_measured(tmp_path: Path):
    assert folder(str(tmp_path / "a/b")).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=r"no folder: .*file"):
        folder(str(tmp_path / "file"))
