"""Which parts of a fleet a machine runs. 127.0.0.0/8 is here, 192.0.2.0/24 (RFC 5737) is elsewhere."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from callinteractive.config import load_site
from callinteractive.model import Site
from cli.main import main
from cli.parts import (
    Parts,
    WhichError,
    elsewhere,
    find_edge,
    find_rtpengine,
    has_address,
    here,
    not_here,
    of_this_machine,
)

FLEET = """
node: 1
edges:
  - {name: edge-a, listen: ["tcp:192.0.2.9:5060", "udp:127.0.0.11:5060"]}
  - {name: edge-b, listen: ["udp:192.0.2.12:5060"]}
sidecars:
  - {host: 192.0.2.21, count: 3}
  - {host: 127.0.0.22, count: 2}
  - {host: 192.0.2.23, count: 1}
rtpengines:
  - {name: media-a, ng: "127.0.0.31:22222", interface: 127.0.0.31}
  - {name: media-b, ng: "192.0.2.32:22222", interface: 192.0.2.32}
"""
KINDS = ("kamailio", "sidecars", "rtpengine")


@pytest.fixture
def site() -> Site:
    return load_site(FLEET, "site.yaml")


@pytest.fixture
def remote() -> Site:
    return load_site(re.sub(r"127\.0\.0\.", "192.0.2.1", FLEET), "site.yaml")


def names(parts: Parts) -> tuple[list[str], list[int], list[str]]:
    return (
        [edge.name for edge in parts.edges],
        [sidecar.index for sidecar in parts.sidecars],
        [engine.name for engine in parts.rtpengines],
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_addresses_of_this_machine(host: str) -> None:
    assert has_address(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
def test_addresses_of_others(host: str) -> None:
    assert not has_address(host)


def test_what_is_here_runs_here(site: Site) -> None:
    ours = of_this_machine(site, KINDS)
    assert names(ours) == (["edge-a"], [3, 4], ["media-a"])
    assert ours.kinds == ("rtpengine", "sidecars", "kamailio")
    assert elsewhere(site, ours) == [
        "edge edge-b is elsewhere (192.0.2.12)",
        "sidecars 0 to 2 are elsewhere (192.0.2.21)",
        "sidecar 5 is elsewhere (192.0.2.23)",
        "rtpengine media-b is elsewhere (192.0.2.32)",
    ]


def test_check_tells_what_is_here(site: Site, remote: Site) -> None:
    assert here(site) == ["edge edge-a", "sidecars 3 to 4", "rtpengine media-a"]
    assert (here(remote), list(not_here(remote))) == ([], [])
    one = load_site("node: 1\nsip: {listen: ['udp:127.0.0.1:5060', 'tcp:192.0.2.1:5060']}", "site.yaml")
    assert list(not_here(one)) == [
        "sip.listen: this machine has no address 192.0.2.1; if the site runs on another one, all is well"
    ]


def test_only_some_kinds(site: Site) -> None:
    ours = of_this_machine(site, ["sidecars"])
    assert names(ours) == ([], [3, 4], [])
    assert len(elsewhere(site, ours, ["sidecars"])) == 2


def test_what_is_named_runs_here(site: Site) -> None:
    assert names(of_this_machine(site, KINDS, "edge-b", "media-b")) == (["edge-b"], [3, 4], ["media-b"])
    assert names(of_this_machine(site, ["sidecars"], "edge-b")) == ([], [3, 4], [])
    with pytest.raises(WhichError, match="no edge 'edge-c'; it has edge-a, edge-b"):
        of_this_machine(site, KINDS, "edge-c")


def test_nothing_is_here(remote: Site) -> None:
    with pytest.raises(WhichError, match=r"none of the addresses in the site file \(192\.0\.2\.111, 192\.0\.2\.12, 19"):
        of_this_machine(remote, KINDS)


def test_one_machine_runs_all_and_is_told_what_it_lacks() -> None:
    site = load_site("node: 1\nsip: {listen: ['udp:192.0.2.1:5060']}", "site.yaml")
    ours = of_this_machine(site, KINDS)
    assert names(ours) == (["edge"], [0, 1], ["rtpengine"])
    assert elsewhere(site, ours) == []


def test_the_daemon_that_is_here(site: Site) -> None:
    assert (find_edge(site).name, find_rtpengine(site).name) == ("edge-a", "media-a")
    assert (find_edge(site, "edge-b").name, find_rtpengine(site, "media-b").name) == ("edge-b", "media-b")


def test_the_only_one_needs_no_address() -> None:
    site = load_site("node: 1\nsip: {listen: ['udp:192.0.2.1:5060']}", "site.yaml")
    assert (find_edge(site).name, find_rtpengine(site).name) == ("edge", "rtpengine")


def test_a_daemon_that_can_not_be_told(site: Site, remote: Site) -> None:
    with pytest.raises(WhichError, match="no RTPengine 'x'; it has media-a, media-b"):
        find_rtpengine(site, "x")
    how = "give --edge NAME, or CALLINTERACTIVE_EDGE in the environment"
    with pytest.raises(WhichError, match=re.escape(f"has the address of no edge (edge-a, edge-b): {how}")):
        find_edge(remote)
    both = load_site(FLEET.replace("192.0.2.", "127.0.0."), "site.yaml")
    with pytest.raises(WhichError, match=re.escape(f"has the addresses of several edges (edge-a, edge-b): {how}")):
        find_edge(both)
    with pytest.raises(WhichError, match="give --name NAME, or CALLINTERACTIVE_RTPENGINE_NAME in the environment"):
        find_rtpengine(both)


def test_a_fleet_needs_the_key_that_its_hosts_share(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLINTERACTIVE_KEY", raising=False)
    (tmp_path / "site.yaml").write_text(FLEET)
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "0*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    files = ("--site", str(tmp_path / "site.yaml"), "--ivr", str(tmp_path / "ivr.yaml"))
    result = CliRunner().invoke(main, ["run", *files])
    assert result.exit_code == 78
    assert result.output.startswith("CALLINTERACTIVE_KEY must be set, the same for every part of the site")
    assert "edge edge-b is elsewhere (192.0.2.12)" in result.output
    result = CliRunner().invoke(main, ["run", *files, "--edge", "edge-c"])
    assert (result.exit_code, result.output) == (78, "the site file has no edge 'edge-c'; it has edge-a, edge-b\n")
    for part, option in (("kamailio", "--edge"), ("rtpengine", "--name")):
        monkeypatch.setenv("CALLINTERACTIVE_KEY", "0" * 32)
        result = CliRunner().invoke(main, ["exec", part, "--run-dir", str(tmp_path), *files, option, "nowhere"])
        assert result.exit_code == 78
        assert "'nowhere'; it has" in result.output


def test_a_sidecar_of_another_host(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "0" * 32)
    (tmp_path / "ivr.yaml").write_text(
        'ivrs: [{number: "0*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'
    )
    for text, said in (
        (FLEET, "those of this machine are 3 to 4"),
        (FLEET.replace("127.0.0.22", "192.0.2.22"), "this machine has none of the addresses in sidecars[].host"),
    ):
        (tmp_path / "site.yaml").write_text(text)
        files = ("--site", str(tmp_path / "site.yaml"), "--ivr", str(tmp_path / "ivr.yaml"))
        result = CliRunner().invoke(main, ["serve", "--index", "5", *files])
        assert (result.exit_code, result.output) == (78, f"sidecar 5 is of another host (192.0.2.23); {said}\n")
