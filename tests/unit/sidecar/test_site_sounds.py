"""What sidecars say of the sounds that they load."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from callinteractive.model import Edge, Listen, Site, sidecars_of_host
from sidecar import site_sounds


def test_the_first_sidecar_of_each_host_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a host read the same folder: with eight of them nobody wants to read it eight times."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "bad.wav").write_bytes(b"no sound")
    hosts = sidecars_of_host("127.0.0.1", 2, 5070, 9170), sidecars_of_host("127.0.0.2", 2, 5070, 9170)
    site = Site(node=1, edges=(Edge("edge", (Listen("udp", "127.0.0.1", 5060),)),), sidecars=hosts[0] + hosts[1])
    told = []
    for index in range(4):
        with capture_logs() as logs:
            site_sounds.load(site, tmp_path, index)
        told.append([entry["file"] for entry in logs if entry["event"] == "sound"])
    assert told == [["bad.wav"], [], ["bad.wav"], []]
