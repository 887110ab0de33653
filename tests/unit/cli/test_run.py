"""What `callinteractive run` checks before it starts anything."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from callinteractive import prepared
from cli.configuration import of_part
from cli.files import read_both
from cli.key import shared_key
from cli.run import allow_many_files, hand_on, run


def test_the_parts_may_open_as_many_files_as_the_user() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("part", ["kamailio", "sidecars"])
def test_a_part_on_its_own_needs_the_key_that_all_share(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts with different keys refuse each other's calls."""
    monkeypatch.delenv("CALLINTERACTIVE_KEY", raising=False)
    monkeypatch.delenv("CALLINTERACTIVE_ROUTE_KEY", raising=False)
    site, ivr = tmp_path / "site.yaml", tmp_path / "ivr.yaml"
    site.write_text('node: 1\nsip: {listen: ["udp:127.9.9.9:23960"]}\n')
    ivr.write_text('ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n')
    assert run(site, ivr, "json", tmp_path, (part,)) == os.EX_CONFIG
    assert "CALLINTERACTIVE_KEY must be set" in capsys.readouterr().err


def test_what_it_has_read_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prepared.VARIABLE, "")
    monkeypatch.setenv("CALLINTERACTIVE_KEY", shared_key())
    site, ivr = tmp_path / "site.yaml", tmp_path / "ivr.yaml"
    site.write_text('node: 1\nsip: {listen: ["udp:127.9.9.9:23960"]}\n')
    ivr.write_text('ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n')
    read, findings = read_both(site, ivr)
    assert read, findings
    hand_on(read, tmp_path, lambda _: None)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "active").iterdir())
    ivr.write_text("broken: [")
    for kind in (prepared.SIDECARS, prepared.KAMAILIO):
        start, findings = of_part(kind, site, ivr, tmp_path, lambda _: None)
        assert start, findings
        assert (start.prepared.site, start.prepared.ivr_file, start.problem) == (read.site, read.ivr_file, "")
