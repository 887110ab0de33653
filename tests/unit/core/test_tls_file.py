"""What site.yaml says of TLS."""

from __future__ import annotations

import pytest

from callinteractive.certificate import is_for
from callinteractive.config import load_ivr_file, load_site
from callinteractive.errors import ConfigError
from callinteractive.fleet import Tls
from callinteractive.numbers import Directory

SITE = """\
node: 1
sip: {{listen: ["udp:127.0.0.1:5060", "{listen}"]}}
trunks: [{{name: carrier, {trunk}}}]
"""
FILES = "tls: {certificate: a.pem, private_key: a.key}\n"
IVR = 'ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'


def site(trunk: str = 'from: ["192.0.2.1"]', listen: str = "tls:127.0.0.1:5061", more: str = FILES) -> str:
    return SITE.format(trunk=trunk, listen=listen) + more


def findings(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_site(text, "site.yaml")
    return "\n".join(map(str, error.value.findings))


def test_files() -> None:
    [edge] = load_site(site(), "site.yaml").edges
    assert edge.tls == Tls("a.pem", "a.key")
    [edge] = load_site(site(more=FILES.replace("}", ", ca: b.pem}")), "site.yaml").edges
    assert edge.tls == Tls("a.pem", "a.key", "b.pem")
    assert not load_site(site(listen="tcp:127.0.0.1:5060", more=""), "site.yaml").speaks_tls


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("", "tls: is missing, but an edge listens for TLS"),
        ("tls: {certificate: a.pem}\n", "tls.private_key: is missing"),
        ("tls: {certificate: 'a\"b', private_key: a.key}\n", "tls.certificate: must be the name of a file"),
        ('tls: {certificate: "", private_key: a.key}\n', "tls.certificate: must be the name of a file"),
        ("tls: {certificate: a, private_key: b, x: c}\n", "tls.x: unknown key"),
    ],
)
def test_wrong_files(more: str, reason: str) -> None:
    assert reason in findings(site(more=more))


@pytest.mark.parametrize(
    "uri", ["sips:sip.example:5061", "sip:sip.example:5061;transport=tls", "sips:sip.example:5061;transport=tls"]
)
def test_sips_is_tls_to_the_carrier(uri: str) -> None:
    [trunk] = load_site(site(f'to: "{uri}"'), "site.yaml").trunks
    assert trunk.to == ("sip:sip.example:5061;transport=tls",)


@pytest.mark.parametrize(
    ("trunk", "listen", "reason"),
    [
        ('to: "sips:sip.example"', "tcp:127.0.0.1:5060", "trunks[0]: uses TLS, so sip.listen needs"),
        ("tls: {name: sip.example}", "tcp:127.0.0.1:5060", "trunks[0]: uses TLS, so sip.listen needs"),
        ('to: "sips:192.0.2.1"', "tls:127.0.0.1:5061", "trunks[0]: is reached by TLS at an address"),
        ('to: "sips:a@[2001:db8::1]:5061"', "tls:127.0.0.1:5061", "trunks[0]: is reached by TLS at an address"),
        ('to: "sips:sip.example", options: no', "tls:127.0.0.1:5061", "trunks[0]: is reached by TLS: its certificate"),
        ('to: "sips:sip.example;transport=udp"', "tls:127.0.0.1:5061", "trunks[0].to: must be a SIP URI"),
        ("tls: {name: 192.0.2.1}", "tls:127.0.0.1:5061", "trunks[0].tls.name: must be a host name"),
        ("tls: {name: example}", "tls:127.0.0.1:5061", "trunks[0].tls.name: must be a host name"),
        ("tls: {}", "tls:127.0.0.1:5061", "trunks[0].tls.name: is missing"),
        ("tls: {name: a.example}}, {name: b, tls: {name: A.example}", "tls:127.0.0.1:5061", "is configured twice"),
    ],
)
def test_wrong_trunks(trunk: str, listen: str, reason: str) -> None:
    assert reason in findings(site(trunk, listen, FILES))


def test_a_trunk_is_found_by_its_certificate() -> None:
    loaded = load_site(site("tls: {name: SIP.carrier.example}"), "site.yaml")
    assert loaded.asks_for_certificates
    directory = Directory(loaded, load_ivr_file(IVR, "ivr.yaml"))
    assert directory.find_trunk(frozenset(("x.example", "sip.carrier.example"))) == loaded.trunks[0]
    assert directory.find_trunk(frozenset(("carrier.example",))) is None
    assert directory.find_trunk(frozenset()) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("a.b.example", True), ("*.b.example", True), ("*.example", False), ("b.example", False)]
)
def test_whom_a_certificate_is_for(name: str, expected: bool) -> None:
    assert is_for("a.b.example", frozenset((name,))) is expected


def test_each_edge_may_have_its_own() -> None:
    edges = """edges:
  - {name: a, listen: ["udp:10.0.0.1:5060", "tls:10.0.0.1:5061"], tls: {certificate: own.pem, private_key: own.key}}
  - {name: b, listen: ["udp:10.0.0.2:5060", "wss:10.0.0.2:443"]}
  - {name: c, listen: ["udp:10.0.0.3:5060"]}
"""
    found = load_site("node: 1\n" + edges + FILES, "site.yaml").edges
    assert [edge.tls for edge in found] == [Tls("own.pem", "own.key"), Tls("a.pem", "a.key"), None]
    assert "tls: is missing" in findings("node: 1\n" + edges)
