"""Which changes of a site a running part takes up."""

from __future__ import annotations

from dataclasses import fields

import pytest

from callinteractive.changes import needs_companion, registers, restart_needed
from callinteractive.config import load_site
from callinteractive.model import Site

SITE = """\
node: 1
sip: {listen: ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061"]}
tls: {certificate: a.pem, private_key: b.pem}
trunks:
  - {name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080", identity: [from]}
extensions:
  - {number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}
sidecars: {count: 2}
rtpengine: {interface: 127.0.0.1}
sounds: ./sounds
refer: yes
"""
TO = 'to: "sip:127.0.0.2:5080"'


def site(old: str = "", new: str = "", more: str = "") -> Site:
    assert old in SITE
    return load_site(SITE.replace(old, new) + more, "site.yaml")


@pytest.mark.parametrize(
    ("old", "new", "more"),
    [
        ("", "", ""),
        ("identity: [from]", "identity: [pai], max_calls: 5", ""),
        ("identity: [from]", "username: a, password: b", ""),
        ("contact:", "password: new, contact:", ""),
        ('  - {number: "000*306"', '  - {number: "000*307", id: 1, password: x}\n  - {number: "000*306"', ""),
        ("./sounds", "./others", ""),
        (
            "",
            "",
            "defaults: {transfer_timeout_s: 5}\ninternal_calls: no\ndrain_s: 4\nweb_origins: ['https://a.example']",
        ),
    ],
)
def test_what_is_taken_up(old: str, new: str, more: str) -> None:
    assert list(restart_needed(site(), site(old, new, more))) == []


@pytest.mark.parametrize(
    ("old", "new", "more", "key", "reason"),
    [
        ("node: 1", "node: 2", "", "node", "can't change while it runs"),
        ("0.1:5060", "0.1:5062", "", "sip, edges and tls", "can't change"),
        ("a.pem", "c.pem", "", "sip, edges and tls", "can't change"),
        ("count: 2", "count: 3", "", "sidecars", "can't change"),
        ("", "", "hep: 192.0.2.60:9060", "hep", "can't change"),
        ("count: 2", "max_calls: 9", "", "sidecars", "can't change"),
        ("rtpengine: {", "rtpengine: {timeout_s: 20, ", "", "rtpengines", "can't change"),
        ("refer: yes", "refer: no", "", "refer", "can't change"),
        ("", "", "kamailio: {workers: 3}", "kamailio", "can't change"),
        ("", "", "registrations: {database: none}", "registrations", "can't change"),
        ("", "", "registrations: {database: 'redis://127.0.0.1:6379/1'}", "registrations", "can't change"),
        ("", "", "state: none", "state", "can't change"),
        ("contact:", "anchor_media: yes, contact:", "", "trunks, extensions", "anchor_media"),
        ("identity: [from]", "tls: {name: a.example}", "", "trunks", "tls.name"),
        ("identity: [from]", "username: a, password: {env: SECRET}", "", "trunks", "SECRET"),
        ("identity: [from]", "username: a, password: b, register: yes", "", "trunks", "register with"),
        ("sip:306@127.0.0.3:5090", "sip:306@phone.example", "", "trunks, extensions", "host name"),
    ],
)
def test_what_needs_a_restart(old: str, new: str, more: str, key: str, reason: str) -> None:
    [(told, why)] = restart_needed(site(), site(old, new, more))
    assert told == key
    assert reason in why


def test_what_goes_away_needs_none() -> None:
    """Modules and processes that are there stay, and find nothing to do."""
    for old, new in (
        ("contact:", "anchor_media: yes, contact:"),
        ("identity: [from]", "username: a, password: {env: SECRET}"),
        ("identity: [from]", "username: a, password: b, register: yes"),
        ("sip:306@127.0.0.3:5090", "sip:306@phone.example"),
    ):
        assert list(restart_needed(site(old, new), site())) == []


def test_a_companion_that_is_there_looks_up_the_first_name() -> None:
    metrics = "kamailio: {metrics: '127.0.0.1:9169'}"
    assert list(restart_needed(site(more=metrics), site("127.0.0.3:5090", "phone.example", metrics))) == []


def test_what_is_done_beside_kamailio() -> None:
    plain, registering = site(), site("identity: [from]", "username: a, password: b, register: yes")
    assert not needs_companion(plain, plain.edges[0])
    assert needs_companion(registering, registering.edges[0])
    assert [registers(one, one.edges[0]) for one in (plain, registering)] == [False, True]


def test_a_new_field_needs_a_restart_until_somebody_says_otherwise() -> None:
    known = {field.name for field in fields(Site)}
    assert known >= {"trunks", "extensions", "sounds", "defaults", "internal_calls", "web_origins", "drain_s"}
