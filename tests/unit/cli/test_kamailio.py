"""What kamailio.cfg leaves open is given on the command line, in the environment and in the dispatcher's list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callinteractive.config import load_site
from callinteractive.edge import edge_id
from callinteractive.names import Hop, Names
from cli import known_names
from cli.kamailio import kamailio_spec
from cli.rtpengine import rtpengine_spec
from cli.sidecar import sidecar_spec
from sidecar.log import LOG_FILE

SITE = """
node: 1
sip: {listen: ["tcp:127.0.0.1:5060", "udp:127.0.0.1:5061"]}
trunks:
  - {name: first, to: "sip:127.0.0.2:5080"}
  - {name: incoming, from: ["127.0.0.9/32"]}
sidecars: {count: 2, host: 127.0.0.7, base_port: 5070}
"""


def test_spec(tmp_path: Path) -> None:
    spec = kamailio_spec(load_site(SITE, "site.yaml"), tmp_path / "site.yaml", tmp_path / "ivr.yaml", tmp_path)
    text = " ".join(spec.argv)
    assert "-l tcp:127.0.0.1:5060 -l udp:127.0.0.1:5061" in text
    assert f"-Y {tmp_path}" in text
    assert spec.env["PATH"] == "/usr/bin:/bin"
    assert spec.env["CALLINTERACTIVE_IVR"] == str(tmp_path / "ivr.yaml")
    assert (tmp_path / "dispatcher.list").read_text().splitlines() == [
        "1 sip:127.0.0.7:5070",
        "1 sip:127.0.0.7:5071",
        "2 sip:127.0.0.2:5080",
    ]


def test_a_start_after_a_crash_knows_what_names_lead_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cli.resolve` tells Kamailio of changes only, and looks into the same file for what it knows."""
    site = load_site(SITE.replace("sip:127.0.0.2:5080", "sip:carrier.example"), "site.yaml")
    spec = kamailio_spec(site, tmp_path / "site.yaml", tmp_path / "ivr.yaml", tmp_path)
    file = tmp_path / "dispatcher.list"
    assert "2 sip:" not in file.read_text()
    known_names.write(tmp_path, Names({"sip:carrier.example": (Hop(0, 0, "192.0.2.1", 5060, "udp"),)}))
    told: list[str] = []
    spec.prepared(told.append)
    assert "2 sip:192.0.2.1:5060\n" in file.read_text()
    before = file.read_text()
    known_names.write(tmp_path, Names({"sip:carrier.example": (Hop(0, 0, "192.0.2.2", 5060, "udp"),)}))

    def full(path: Path, *_arguments: object, **_options: object) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    spec.prepared(told.append)
    assert "No space left" in told[-1]
    assert file.read_text() == before


def test_every_pool_of_sidecars_is_a_group_of_its_own(tmp_path: Path) -> None:
    site = SITE.replace("count: 2,", "count: 4, pools: {vip: [1], slow: [0, 3]},")
    kamailio_spec(load_site(site, "site.yaml"), tmp_path / "site.yaml", tmp_path / "ivr.yaml", tmp_path)
    assert (tmp_path / "dispatcher.list").read_text().splitlines() == [
        "1 sip:127.0.0.7:5072",
        "3 sip:127.0.0.7:5070",
        "3 sip:127.0.0.7:5073",
        "4 sip:127.0.0.7:5071",
        "2 sip:127.0.0.2:5080",
    ]


def test_rtpengine_is_told_of_only_where_media_is_anchored(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    anchoring = SITE.replace("name: first,", "name: first, anchor_media: yes,")
    both = 'rtpengine: {ng: "[::1]:22300", interface: [127.0.0.1, "::1"]}'
    told = [
        "CALLINTERACTIVE_ANCHORING" in kamailio_spec(load_site(site, "site.yaml"), path, path, tmp_path).env
        for site in (SITE, anchoring, SITE + both)
    ]
    assert told == [False, True, True]
    line, _ = (tmp_path / "rtpengines.cfg").read_text().splitlines()
    assert re.fullmatch(r'modparam\("rtpengine", "rtpengine_sock", "[0-9]+ == udp6:\[::1\]:22300"\)', line)


def test_hep_leaves_from_this_edge(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    assert "CALLINTERACTIVE_HEP" not in kamailio_spec(load_site(SITE, "site.yaml"), path, path, tmp_path).env
    site = load_site(SITE + "hep: 192.0.2.60:9060\n", "site.yaml")
    told = {name: value for name, value in kamailio_spec(site, path, path, tmp_path).env.items() if "HEP" in name}
    assert told == {
        "CALLINTERACTIVE_HEP": "192.0.2.60:9060",
        "CALLINTERACTIVE_HEP_FROM": str(site.edges[0].udp_address),
        "CALLINTERACTIVE_HEP_ID": str(edge_id(site.edges[0].name)),
    }


def test_its_size_is_the_sites(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    size = "kamailio: {workers: 3, shared_mb: 512, private_mb: 24}\n"
    argv = " ".join(kamailio_spec(load_site(SITE + size, "site.yaml"), path, path, tmp_path).argv)
    assert "-m 512 -M 24 " in argv
    assert "-n 3 -N 3 " in argv
    by_itself = " ".join(kamailio_spec(load_site(SITE, "site.yaml"), path, path, tmp_path).argv)
    assert re.search(r"-m [0-9]+ -M 16 ", by_itself)
    assert f"-b {4 << 20} " in by_itself


ONE = 'sip: {listen: ["udp:127.0.0.1:5061"]}'


@pytest.mark.parametrize(
    ("cores", "site", "workers"),
    [
        (1, ONE, (1, 2)),
        (2, ONE, (1, 2)),
        (4, ONE, (2, 4)),
        (64, ONE, (4, 8)),
        (2, ONE + "\ntrunks: [{name: t, from: [192.0.2.0/24], anchor_media: yes}]", (2, 2)),
        (8, ONE + '\nregistrations: {database: "redis://192.0.2.9:6379/0"}', (8, 8)),
        (4, 'edges: [{name: a, listen: ["udp:127.0.0.1:5061"]}, {name: b, listen: ["udp:127.0.0.2:5061"]}]', (4, 4)),
    ],
)
def test_as_many_workers_as_have_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, site: str, workers: tuple[int, int]
) -> None:
    """Of UDP and of TCP: half the cores, and all of them where one may have to wait or has a host of its own."""
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    path = tmp_path / "x.yaml"
    argv = " ".join(kamailio_spec(load_site(f"node: 1\n{site}\n", "site.yaml"), path, path, tmp_path).argv)
    assert "-n {} -N {} ".format(*workers) in argv


@pytest.mark.parametrize(
    ("machine_mb", "container", "size_mb"),
    [(512, "max", 256), (2_000, "max", 500), (64_000, "max", 1024), (64_000, str(2 << 30), 512), (2_000, "\n", 500)],
)
def test_memory_for_calls_is_by_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine_mb: int, container: str, size_mb: int
) -> None:
    (tmp_path / "memory.max").write_text(container)
    monkeypatch.setattr("cli.kamailio.CGROUP_MEMORY", tmp_path / "memory.max")
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": machine_mb << 8, "SC_PAGE_SIZE": 4096}.__getitem__)
    path = tmp_path / "x.yaml"
    assert f"-m {size_mb} " in " ".join(kamailio_spec(load_site(SITE, "site.yaml"), path, path, tmp_path).argv)


@pytest.mark.parametrize(
    ("size_mb", "listen", "most"),
    [
        (1024, "udp:127.0.0.1:5061", 8192),
        (256, "udp:127.0.0.1:5061", 6898),
        (1024, "ws:127.0.0.1:8080", 6241),
        (256, "ws:127.0.0.1:8080", 1560),
        (32, "ws:127.0.0.1:8080", 195),
    ],
)
def test_connections_leave_half_of_the_memory_to_calls(tmp_path: Path, size_mb: int, listen: str, most: int) -> None:
    path = tmp_path / "x.yaml"
    text = f'node: 1\nsip: {{listen: ["udp:127.0.0.1:5060", "{listen}"]}}\nkamailio: {{shared_mb: {size_mb}}}\n'
    environment = kamailio_spec(load_site(text, "site.yaml"), path, path, tmp_path).env
    assert environment["CALLINTERACTIVE_CONNECTIONS"] == str(most)
    assert environment["CALLINTERACTIVE_TLS_CONNECTIONS"] == str(most // 4)


@pytest.mark.parametrize(
    ("site", "told"), [("", "--table=-1"), ("rtpengine: {threads: 5, kernel_table: 0}", "--table=0 --num-threads=5")]
)
def test_rtpengines_threads_and_kernel_table(site: str, told: str, tmp_path: Path) -> None:
    argv = rtpengine_spec(load_site(SITE + site, "site.yaml"), tmp_path).argv
    assert set(told.split()) < set(argv)


def test_all_parts_of_a_stack_have_one_key(tmp_path: Path) -> None:
    site, path = load_site(SITE, "site.yaml"), tmp_path / "x.yaml"
    specs = [
        kamailio_spec(site, path, path, tmp_path),
        *(sidecar_spec(site, path, path, index, "json", Path("/run")) for index in range(2)),
    ]
    [key] = {spec.env["CALLINTERACTIVE_KEY"] for spec in specs}
    assert len(bytes.fromhex(key)) == 16


def test_a_sidecar_is_handed_the_file_that_it_may_log_to(tmp_path: Path) -> None:
    site, path = load_site(SITE, "site.yaml"), tmp_path / "x.yaml"
    spec = sidecar_spec(site, path, path, 1, "json", Path("/run"), 7)
    assert (spec.env[LOG_FILE], spec.pass_fds) == ("sidecar-1:7", (7,))
    spec = sidecar_spec(site, path, path, 1, "json", Path("/run"))
    assert (LOG_FILE in spec.env, spec.pass_fds) == (False, ())


FLEET = """
node: 1
edges:
  - {name: edge-a, listen: ["udp:127.0.0.11:5060!198.51.100.11", "tcp:127.0.0.11:5060"]}
  - {name: edge-b, listen: ["udp:127.0.0.12:5060"]}
sidecars:
  - {host: 127.0.1.1, count: 3, pools: {vip: [2]}}
  - {host: 127.0.1.2, count: 1}
  - {host: 127.0.1.3, count: 2, pools: {vip: [0]}}
rtpengines:
  - {name: media-a, ng: "127.0.2.1:22222", interface: ["127.0.2.1!198.51.100.21", "::1"], weight: 2}
  - {name: media-b, ng: "[::1]:22222", interface: "127.0.2.2"}
trunks: [{name: out, to: "sip:127.0.0.2:5080", anchor_media: yes}]
"""


def test_each_edge_is_started_as_itself_and_knows_all_sidecars(tmp_path: Path) -> None:
    site, path = load_site(FLEET, "site.yaml"), tmp_path / "x.yaml"
    a, b = (kamailio_spec(site, path, path, tmp_path, edge=edge) for edge in site.edges)
    assert (a.name, a.env["CALLINTERACTIVE_EDGE"]) == ("kamailio-edge-a", "edge-a")
    assert (b.name, b.env["CALLINTERACTIVE_EDGE"]) == ("kamailio-edge-b", "edge-b")
    assert a.argv[a.argv.index("-l") :] == (
        *("-l", "udp:127.0.0.11:5060/198.51.100.11:5060", "-l", "tcp:127.0.0.11:5060/127.0.0.11:5060"),
    )
    assert b.argv[b.argv.index("-l") :] == ("-l", "udp:127.0.0.12:5060")
    assert a.env["CALLINTERACTIVE_ANCHORING"] == "1"
    assert "== udp:127.0.2.1:22222" in (tmp_path / "rtpengines.cfg").read_text()
    assert (tmp_path / "dispatcher.list").read_text().splitlines() == [
        "1 sip:127.0.1.1:5070",
        "1 sip:127.0.1.1:5071",
        "1 sip:127.0.1.2:5070",
        "1 sip:127.0.1.3:5071",
        "3 sip:127.0.1.1:5072",
        "3 sip:127.0.1.3:5070",
        "2 sip:127.0.0.2:5080",
        "1000000 sip:127.0.0.11:5060",
    ]


def test_edges_with_a_common_database_tell_each_other_nothing(tmp_path: Path) -> None:
    """Its password is given only when Kamailio is started, and in no argument."""
    phones = 'extensions: [{number: "0*1", id: 1, password: secret}]\n'
    shared = FLEET.replace('"udp:127.0.0.12:5060"]}', '"udp:127.0.0.12:5060"], peer: "127.0.0.12:5066"}')
    more = f'{phones}registrations: {{database: "redis://:hush@127.0.0.20:6379/0"}}\n'
    site, path = load_site(shared + more, "site.yaml"), tmp_path / "x.yaml"
    spec = kamailio_spec(site, path, path, tmp_path, edge=site.edges[1])
    assert spec.prepare is not None
    assert "hush" not in repr(spec)
    assert spec.env["CALLINTERACTIVE_SHARED"] == "1"
    assert "CALLINTERACTIVE_PEERS" not in spec.env
    assert "127.0.0.12:5066" not in " ".join(spec.argv)
    alone = kamailio_spec(load_site(SITE, "site.yaml"), path, path, tmp_path)
    assert "CALLINTERACTIVE_SHARED" not in alone.env


def test_each_rtpengine_is_started_as_itself(tmp_path: Path) -> None:
    site = load_site(FLEET, "site.yaml")
    a, b = (rtpengine_spec(site, tmp_path, engine) for engine in site.rtpengines)
    assert (a.name, b.name) == ("rtpengine-media-a", "rtpengine-media-b")
    interfaces = [word for word in a.argv if "interface" in word]
    assert interfaces == ["--interface=127.0.2.1!198.51.100.21", "--interface=::1"]
    assert "--listen-ng=[::1]:22222" in b.argv


def test_each_address_says_what_it_advertises(tmp_path: Path) -> None:
    """Kamailio 5.6 gives it to those behind it too."""
    listen = '"udp:127.0.0.1:5061!198.51.100.7:5060", "udp:[::1]:5061!2001:db8::7"'
    told = kamailio_arguments(
        SITE.replace('"udp:127.0.0.1:5061"', listen.replace("2001:db8::7", "[2001:db8::7]")), tmp_path
    )
    assert "-l tcp:127.0.0.1:5060/127.0.0.1:5060 -l udp:127.0.0.1:5061/198.51.100.7:5060" in told
    assert "-l udp:[::1]:5061/[2001:db8::7]:5061" in told
    assert "/" not in kamailio_arguments(SITE, tmp_path).partition("-l ")[2]


def kamailio_arguments(site: str, folder: Path) -> str:
    return " ".join(kamailio_spec(load_site(site, "site.yaml"), folder / "x.yaml", folder / "x.yaml", folder).argv)


def test_probes_leave_by_the_way_to_their_target(tmp_path: Path) -> None:
    """Only where there are several; and only by UDP to an address."""
    more = '"udp:127.0.0.1:5061", "udp:192.0.2.1:5061", "udp:[::1]:5061"'
    trunks = 'to: ["sip:a@127.0.0.2:5080", "sip:[::1]:5080", "sip:127.0.0.2;transport=tcp"]'
    site = SITE.replace('"udp:127.0.0.1:5061"', more).replace('to: "sip:127.0.0.2:5080"', trunks)
    kamailio_arguments(site.replace("127.0.0.7", "127.0.0.1"), tmp_path)
    by = " 0 0 socket=udp:127.0.0.1:5061"
    assert (tmp_path / "dispatcher.list").read_text().splitlines() == [
        f"1 sip:127.0.0.1:5070{by}",
        f"1 sip:127.0.0.1:5071{by}",
        f"2 sip:a@127.0.0.2:5080{by}",
        "2 sip:[::1]:5080",
        "2 sip:127.0.0.2;transport=tcp",
    ]
