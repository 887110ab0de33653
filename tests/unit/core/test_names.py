"""What host names lead to: as it is written down, in which order it is tried, and what the directory learns of it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from callinteractive.config import load_site
from callinteractive.model import IvrFile
from callinteractive.names import (
    Hop,
    Names,
    has_names,
    in_order,
    is_address,
    named_sources,
    named_uris,
    target_of,
)
from callinteractive.numbers import Directory

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks:
  - {name: a, to: ["sip:carrier.example", "sip:192.0.2.1"], from: ["in.Carrier.example", "192.0.2.0/24"]}
  - {name: b, to: "sip:gw@b.example:5080;transport=tcp", username: u, password: x, register: yes}
  - {name: c, to: "sip:[2001:db8::5]:5080", username: v, password: x, register: yes}
extensions: [{number: "000*1", id: 1, contact: "sip:p@phone.example"}]
"""
FIRST, SECOND = Hop(0, 10, "198.51.100.1", 5060, "udp"), Hop(1, 0, "2001:db8::1", 5061, "tls")
NAMES = Names(
    {
        "sip:carrier.example": (FIRST,),
        "sip:gw@b.example:5080;transport=tcp": (SECOND,),
        "sip:p@phone.example": (Hop(0, 0, "198.51.100.7", 5060, "udp"),),
    },
    {"in.carrier.example": ("198.51.100.2",)},
)


def test_names_are_read_as_they_were_written() -> None:
    assert Names.parse(str(NAMES)) == NAMES
    assert Names.parse(str(Names())) == Names()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"hops": {}, "addresses": {"a": ["b"]}}',
        '{"hops": {"sip:a": [[0, 0, "192.0.2.1", 5060]]}, "addresses": {}}',
        '{"hops": {"sip:a": [[0, 0, "a.example", 5060, "udp"]]}, "addresses": {}}',
        '{"hops": {"sip:a": [[0, 0, "192.0.2.1", 0, "udp"]]}, "addresses": {}}',
        '{"hops": {"sip:a": [[0, 0, "192.0.2.1", 5060, "sctp"]]}, "addresses": {}}',
        '{"hops": {"sip:a": [[-1, 0, "192.0.2.1", 5060, "udp"]]}, "addresses": {}}',
    ],
)
def test_what_was_not_written_so_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Names.parse(text)


def test_uri_of_a_hop() -> None:
    assert FIRST.uri == "sip:198.51.100.1:5060"
    assert SECOND.uri == "sip:[2001:db8::1]:5061;transport=tls"


def test_target_of_a_uri() -> None:
    assert target_of("sip:gw@B.example:5080;transport=TCP") == ("b.example", 5080, "tcp")
    assert target_of("sip:[2001:db8::1]") == ("2001:db8::1", None, None)
    with pytest.raises(ValueError, match="tel:"):
        target_of("tel:1")
    assert (is_address("a.example"), is_address("192.0.2.1")) == (False, True)


def test_names_of_a_site() -> None:
    site = load_site(SITE, "site.yaml")
    assert named_uris(site) == ("sip:carrier.example", "sip:gw@b.example:5080;transport=tcp", "sip:p@phone.example")
    assert named_sources(site) == ("in.carrier.example",)
    assert has_names(site)
    assert not has_names(load_site(SITE.partition("trunks:")[0], "site.yaml"))


def test_lower_priorities_first_and_equals_by_weight() -> None:
    heavy, light = Hop(5, 90, "192.0.2.1", 1, "udp"), Hop(5, 10, "192.0.2.2", 1, "udp")
    random = Random(1)
    firsts = Counter(in_order([SECOND, light, heavy], random.randrange)[1] for _ in range(400))
    assert 300 < firsts[heavy] < 400
    assert firsts[light]
    assert all(in_order([light, SECOND, heavy], random.randrange)[0] == SECOND for _ in range(20))
    assert in_order([], random.randrange) == []


def test_directory_learns_who_calls_from_where() -> None:
    site = load_site(SITE, "site.yaml")
    directory = Directory(site, IvrFile((), {}))
    by_name = {trunk.name: trunk for trunk in site.trunks}
    assert directory.find_caller("2001:db8::5", "") == by_name["c"]  # the registrar calls us
    assert directory.find_caller("198.51.100.2", "") is None
    directory.learn(NAMES)
    assert directory.find_caller("198.51.100.2", "") == by_name["a"]
    assert directory.find_caller("198.51.100.1", "") is None  # only `from` says who calls
    assert directory.find_caller("2001:db8::1", "") == by_name["b"]
    assert directory.find_caller("198.51.100.7", "") == site.extensions[0]
    assert directory.is_configured("198.51.100.1")
    directory.learn(Names())
    assert directory.find_caller("198.51.100.2", "") is None
    assert not directory.is_configured("198.51.100.1")
