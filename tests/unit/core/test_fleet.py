"""Several edges, hosts of sidecars and RTPengines in site.yaml."""

from __future__ import annotations

import re

import pytest

from callinteractive.config import load_site, without_pool
from callinteractive.edge import VARIABLE, own_edge
from callinteractive.errors import ConfigError
from callinteractive.ivr_file import load_ivr_file
from callinteractive.model import Address, Interface, Listen, pools_of

FLEET = """\
node: 1
edges:
  - name: edge-a
    listen: ["udp:10.0.0.11:5060!198.51.100.11", "tls:[2001:db8::11]:5061!sip.example.org:5071"]
    peer: "10.0.0.11:5066"
  - {name: edge-b, listen: ["tcp:10.0.0.12:5060", "udp:10.0.0.12:5060"], peer: "10.0.0.12:5066"}
sidecars:
  - {host: 10.0.1.1, count: 3, pools: {vip: [2], slow: [1]}, max_calls: 7}
  - {host: 10.0.1.2, base_port: 6070, metrics_port: 9270, pools: {vip: [0]}}
rtpengines:
  - {name: media-a, ng: "10.0.2.1:22222", interface: ["10.0.2.1!198.51.100.21", "v6/2001:db8::21"], weight: 2}
  - {name: media-b, ng: "10.0.2.2:22222", interface: "[2001:db8::22]"}
extensions: [{number: "000*307", id: 1, password: secret}]
tls: {certificate: a.pem, private_key: b.pem}
"""


def findings(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_site(text, "site.yaml")
    return str(caught.value)


def test_edges():
    a, b = load_site(FLEET, "site.yaml").edges
    assert (a.name, b.name) == ("edge-a", "edge-b")
    assert a.listen == (
        Listen("udp", "10.0.0.11", 5060, Address("198.51.100.11", 5060)),
        Listen("tls", "2001:db8::11", 5061, Address("sip.example.org", 5071)),
    )
    assert (a.peer, b.peer) == (("10.0.0.11", 5066), ("10.0.0.12", 5066))
    assert b.udp_address == ("10.0.0.12", 5060)


def test_sidecars_are_numbered_through_all_hosts():
    site = load_site(FLEET, "site.yaml")
    assert [sidecar.index for sidecar in site.sidecars] == [0, 1, 2, 3, 4]
    assert [str(each.address) for each in site.sidecars[2:]] == ["10.0.1.1:5072", "10.0.1.2:6070", "10.0.1.2:6071"]
    assert [str(sidecar.metrics) for sidecar in site.sidecars[2:4]] == ["10.0.1.1:9172", "10.0.1.2:9270"]
    assert [sidecar.max_calls for sidecar in site.sidecars] == [7, 7, 7, 5000, 5000]
    pools = {name: [sidecar.index for sidecar in pool] for name, pool in pools_of(site.sidecars).items()}
    assert pools == {None: [0, 4], "slow": [1], "vip": [2, 3]}
    assert site.is_fleet


def test_rtpengines():
    a, b = load_site(FLEET, "site.yaml").rtpengines
    assert (a.name, a.weight, b.weight) == ("media-a", 2, 1)
    assert a.interfaces == (Interface("10.0.2.1", "198.51.100.21"), Interface("2001:db8::21", None, "v6"))
    assert [*map(str, a.interfaces)] == ["10.0.2.1!198.51.100.21", "v6/2001:db8::21"]
    assert b.interfaces == (Interface("2001:db8::22"),)


def test_a_hundred_hosts():
    hosts = "".join(f"  - {{host: 10.1.{i // 256}.{i % 256}, count: 12}}\n" for i in range(300))
    site = load_site(f"node: 1\nsip: {{listen: ['udp:10.0.0.1:5060']}}\nsidecars:\n{hosts}", "site.yaml")
    assert len(site.sidecars) == 3600


def test_the_udp_address_is_of_the_senders_family():
    text = "node: 1\nsip: {listen: ['udp:10.0.0.1:5060', 'udp:[fd00::1]:5062']}\nsidecars: {host: 'fd00::2'}"
    (edge,) = load_site(text, "site.yaml").edges
    assert edge.udp_address_for("fd00::2") == ("fd00::1", 5062)
    assert edge.udp_address_for("10.0.0.9") == ("10.0.0.1", 5060)


def test_lists_of_one_need_no_names():
    text = "node: 1\nedges: [{listen: ['udp:10.0.0.1:5060']}]\nsidecars: [{}]\nrtpengines: [{}]"
    site = load_site(text, "site.yaml")
    assert (site.edges[0].name, site.rtpengines[0].name, site.is_fleet) == ("edge", "rtpengine", False)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("name: edge-b, ", "", "site.yaml:6: edges[1].name: is missing"),
        ("name: edge-b", "name: edge-a", "edge 'edge-a' is configured twice, first in line 3"),
        ("name: edge-b", 'name: "b!"', "edges[1].name: must be at most 64 letters"),
        ("name: media-b, ", "", "rtpengines[1].name: is missing"),
        ("name: media-b", "name: media-a", "RTPengine 'media-a' is configured twice, first in line 11"),
        ("node: 1", "node: 1\nsip: {listen: ['udp:10.0.0.9:5060']}", "sip: is the short form of one edge"),
        ("node: 1", "node: 1\nrtpengine: {}\nsidecars: []", "rtpengine: is the short form of one RTPengine"),
        (FLEET, "node: 1\nedges: []", "edges: needs at least one"),
        (FLEET, "node: 1\nedges: x", "edges: must be a list"),
        (FLEET, "node: 1\nrtpengines: []", "rtpengines: needs at least one"),
        (FLEET, "node: 1\nsidecars: []", "sidecars: needs at least one host"),
        (FLEET, "node: 1\nsidecars: [x]", "sidecars[0]: must be a mapping"),
        ("weight: 2", "weight: 0", "rtpengines[0].weight: must be a number from 1 to 100"),
        (', peer: "10.0.0.12:5066"', "", "edges: edge 'edge-b' needs a peer"),
        ("10.0.0.12:5066", "10.0.0.12", 'edges[1].peer: must be like "10.0.0.11:5066"'),
        ("host: 10.0.1.2", "host: 'fd00::7'", "edge 'edge-a' has no IPv6 UDP address in listen, so it can't reach"),
        ("count: 3, pools: {vip: [2], slow: [1]}", "count: 1, pools: {vip: [0]}", None),
        ("base_port: 6070", "base_port: 65535", "sidecars[1].base_port: must be a number from 1 to 65534"),
        ('"10.0.2.1!198.51.100.21"', '"media.example.org"', "rtpengines[0].interface[0]: must be an address of the"),
        ("!198.51.100.21", "!media.example.org", "rtpengines[0].interface[0]: must be an address of the machine"),
        ("!198.51.100.11", "!198.51.100.11:0", "edges[0].listen[0]: must be like"),
        ("!198.51.100.11", "!", "edges[0].listen[0]: must be like"),
        ("udp:10.0.0.11", "sctp:10.0.0.11", "edges[0].listen[0]: must be like"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_fleet(old: str, new: str, reason: str | None):
    assert old in FLEET
    text = FLEET.replace(old, new, 1)
    if reason is None:
        load_site(text, "site.yaml")
    else:
        assert reason in findings(text)


def test_no_peer_is_needed_where_no_phone_registers():
    load_site(FLEET.replace(', peer: "10.0.0.12:5066"', "").replace("password: secret", "contact: 'sip:10.0.0.9'"), "f")


@pytest.mark.parametrize(
    ("old", "new", "first", "port"),
    [
        ("udp:10.0.0.12:5060", "udp:10.0.0.11:5060", "edges[0].listen[0] (line 4)", "udp 10.0.0.11:5060"),
        ("10.0.0.12:5066", "10.0.0.12:5060", "edges[1].listen[1] (line 6)", "udp 10.0.0.12:5060"),
        ("10.0.1.2, base_port: 6070", "10.0.1.1, base_port: 5072", "sidecars[0].base_port (line 8)",
         "udp 10.0.1.1:5072"),
        ("10.0.1.2, base_port: 6070, metrics_port: 9270", "10.0.1.1, base_port: 6070, metrics_port: 9169",
         "sidecars[0].metrics_port (line 8)", "tcp 10.0.1.1:9170"),
        ("10.0.2.2:22222", "10.0.2.1:22222", "rtpengines[0].ng (line 11)", "udp 10.0.2.1:22222"),
        ('"10.0.2.2:22222"', '"10.0.1.1:5071"', "sidecars[0].base_port (line 8)", "udp 10.0.1.1:5071"),
        ("[2001:db8::22]", "2001:db8:0::21", "rtpengines[0].ports (line 11)", "udp [2001:db8::21]:30000"),
        ("name: media-b", "http_port: 22222, name: media-b", "rtpengines[1].ng (line 12)", "tcp 10.0.2.2:22222"),
    ],
)  # fmt: skip
def test_a_port_of_a_host_belongs_to_one(old: str, new: str, first: str, port: str):
    assert old in FLEET
    assert f"{port} is taken already by {first}: give another port" in findings(FLEET.replace(old, new, 1))


def test_the_port_for_the_state_of_trunks_is_its_own():
    text = FLEET + 'kamailio: {metrics: "10.0.1.1:9171"}\n'
    assert "tcp 10.0.1.1:9171 is taken already by sidecars[0].metrics_port (line 8)" in findings(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[0::0]", "0", "0.0", "000.0.0.0", "0x0", "[::ffff:0.0.0.0]"])
@pytest.mark.parametrize(
    "text",
    [
        "sip: {listen: ['udp:HOST:5060']}",
        "sip: {listen: ['udp:10.0.0.1:5060', 'tcp:HOST:5060']}",
        "sip: {listen: ['udp:10.0.0.1:5060!HOST']}",
        "edges: [{listen: ['udp:10.0.0.1:5060'], peer: 'HOST:5066'}]",
        "sip: {listen: ['udp:10.0.0.1:5060']}\nrtpengine: {ng: 'HOST:22222'}",
    ],
)
def test_all_addresses_are_no_address(text: str, host: str):
    told = findings(f"node: 1\n{text.replace('HOST', host)}")
    assert "means every address, but the others must be told one that they can send to: write that one" in told


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]"])
@pytest.mark.parametrize("text", ["sidecars: {host: 'HOST'}", "rtpengine: {interface: 'HOST'}",
                                  "rtpengine: {interface: '10.0.0.1!HOST'}"])  # fmt: skip
def test_all_addresses_are_no_address_of_a_host(text: str, host: str):
    told = findings(f"node: 1\nsip: {{listen: ['udp:10.0.0.1:5060']}}\n{text.replace('HOST', host)}")
    assert "means every address" in told


def test_an_address_that_begins_with_zeros_is_one():
    load_site("node: 1\nsip: {listen: ['udp:0.0.0.1:5060', 'tcp:[::1]:5060']}", "site.yaml")


def test_a_pool_may_be_on_the_second_host_only():
    ivr = load_ivr_file(
        "ivrs: [{number: '0*1', id: 1, entry_context: a}]\n"
        "contexts: {a: {pool: late, options: {start: [hangup]}}, b: {pool: none, options: {start: [hangup]}}}",
        "ivr.yaml",
    )
    site = load_site(FLEET.replace("{vip: [0]}", "{late: [0]}"), "site.yaml")
    assert list(without_pool(site, ivr)) == ["b"]


def test_which_edge_this_is():
    site = load_site(FLEET, "site.yaml")
    assert own_edge(site, {VARIABLE: "edge-b"}) is site.edges[1]
    for environment in ({}, {VARIABLE: ""}, {VARIABLE: "edge-c"}):
        with pytest.raises(ValueError, match=re.escape("it has edge-a, edge-b")):
            own_edge(site, environment)
    one = load_site("node: 1\nsip: {listen: ['udp:10.0.0.1:5060']}", "site.yaml")
    assert own_edge(one, {}) is one.edges[0]
