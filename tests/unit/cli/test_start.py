"""What holds for each command, whatever it does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-P", "-m", "callinteractive")


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONUNBUFFERED")}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


@pytest.mark.parametrize("argv", [["--help"], ["schema", "ivr"], ["check", "nowhere.yaml"]], ids=" ".join)
def test_a_full_disk_is_told_in_a_line(argv: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *argv],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=tmp_path,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, b"callinteractive: No space left on device\n")


def test_a_defect_has_its_traceback(tmp_path: Path) -> None:
    broken = (
        "import cli.start as start\ndef fail(**_): raise ConnectionError(5000, 'odd')\nstart.main = fail\nstart.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken], check=False, capture_output=True, env=environment(), timeout=60
    )
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize(("value", "coloured"), [(None, True), ("", True), ("1", False)])
def test_no_color_is_heeded(value: str | None, coloured: bool, tmp_path: Path) -> None:
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "000*332", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    terminal, end = pty.openpty()
    more = {} if value is None else {"NO_COLOR": value}
    try:
        subprocess.run(
            [*COMMAND, "simulate"], stdout=end, env=environment(**more), cwd=tmp_path, timeout=60, check=True
        )
        assert (b"\x1b[" in os.read(terminal, 4096)) is coloured
    finally:
        os.close(terminal)
        os.close(end)


def test_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    plain = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    subprocess.run([*COMMAND, "new", "pizza"], env=plain, cwd=tmp_path, timeout=60, check=True, capture_output=True)
    assert "\u2014" in (tmp_path / "pizza" / "schema" / "ivr.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_stream_leads_nowhere(number: int) -> None:
    """Started programs would else write into whatever got its number."""
    shows = "import os, subprocess\ndef show(**_): os.write(9, subprocess.run(['readlink', '/proc/self/fd/N'], "
    shows += "stdout=subprocess.PIPE, check=True).stdout if N != 1 else os.readlink('/proc/self/fd/1').encode())\n"
    shows += "import cli.start as start\nstart.main = show\nstart.run()\n"
    shows = shows.replace("N", str(number))
    closing = f'exec "$0" -c "$1" 9>&1 {number}>&-'
    done = subprocess.run(
        ["sh", "-c", closing, sys.executable, shows], check=True, capture_output=True, env=environment(), timeout=60
    )
    assert done.stdout.strip() == b"/dev/null", done.stderr


def test_a_sidecar_says_where_sounds_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n')
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "000*332", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    more = environment(CALLINTERACTIVE_KEY="00" * 16, XDG_CACHE_HOME="/dev/null/cache", XDG_STATE_HOME=str(tmp_path))
    done = subprocess.run(
        [*COMMAND, "serve", "--index", "0"], check=False, capture_output=True, env=more, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 1
    assert b"/dev/null/cache/callinteractive/sounds: Not a directory. Converted sounds" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_disk_without_room_for_the_ringback_tone_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n')
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "000*332", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    more = environment(CALLINTERACTIVE_KEY="00" * 16, XDG_CACHE_HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "serve", "--index", "0"],
        check=False,
        capture_output=True,
        text=True,
        env=more,
        cwd=tmp_path,
        timeout=60,
    )
    place = tmp_path / "callinteractive" / "sounds"
    told = f"the ringback tone: it can't be kept in {place}: File too large. XDG_CACHE_HOME chooses another folder"
    assert done.returncode == 1
    assert told in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
