"""Addresses of a fleet that look wrong."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from cli.network import doubts

FLEET = """
node: 1
edges:
  - {name: a, listen: ["udp:10.0.0.11:5060!8.8.8.11"]}
  - {name: b, listen: ["udp:10.0.0.12:5060!8.8.8.12"]}
sidecars: [{host: 10.0.1.1}, {host: 10.0.1.2}]
rtpengines:
  - {name: m, ng: "10.0.2.1:22222", interface: "10.0.2.1!8.8.8.21"}
  - {name: n, ng: "10.0.2.2:22222", interface: ["10.0.2.2", "2a00::1"]}
state: valkey://10.0.3.1:6379/1
registrations: {database: "redis://10.0.3.1:6379/0"}
"""


def told(text: str) -> list[str]:
    return list(doubts(load_site(text, "site.yaml")))


def test_a_sound_fleet() -> None:
    assert told(FLEET) == []


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("host: 10.0.1.2", "host: 127.0.0.1", "sidecars, host 127.0.0.1", "other hosts can't reach 127.0.0.1"),
        ("10.0.2.2:22222", "127.0.0.1:22222", "rtpengines, n: ng", "other hosts can't reach 127.0.0.1"),
        ("10.0.2.2:22222", "localhost:22222", "rtpengines, n: ng", "other hosts can't reach localhost"),
        ("udp:10.0.0.12:5060!8.8.8.12", "udp:127.0.0.1:5060!8.8.8.12", "edges, b", "other hosts can't reach"),
        ("!8.8.8.12", "", "edges, b", "it has private addresses only"),
        ("!8.8.8.21", "", "rtpengines, m.interface", 'to 10.0.2.1, which they can\'t reach; add what they see: "10'),
        ("!8.8.8.21", "!192.168.1.1", "rtpengines, m.interface", "to 192.168.1.1, which they can't reach"),
        ("valkey://10.0.3.1:6379/1", "embedded", "state", "can't save the calls of a host that is lost"),
        ("valkey://10.0.3.1", "valkey://127.0.0.1", "state", "on each host 127.0.0.1 is another server"),
        ("valkey://10.0.3.1", "valkey://8.8.8.1", "state", "who reaches 8.8.8.1:6379 can end all calls"),
        ("6379/1", "6379/0", "state", "valkey://10.0.3.1:6379/0 has the registrations too"),
        ("10.0.2.1:22222", "10.0.2.1:30000", "rtpengines, m.ports", "udp port 30000 of 10.0.2.1 is among them"),
    ],
)  # fmt: skip
def test_what_looks_wrong(old: str, new: str, key: str, reason: str) -> None:
    assert old in FLEET
    (line,) = told(FLEET.replace(old, new))
    assert line.startswith(f"{key}: ")
    assert reason in line


PHONE = """
node: 1
sip: {listen: ["udp:10.0.0.11:5060!8.8.8.11"]}
rtpengine: {interface: "10.0.0.11!8.8.8.11"}
extensions: [{number: "000*101", id: 101, password: PASSWORD}]
"""


@pytest.mark.parametrize("password", ["short12", "change-me-too", "1234567890", "x000*101x"])
def test_a_password_that_strangers_guess(password: str) -> None:
    (line,) = told(PHONE.replace("PASSWORD", f'"{password}"'))
    assert line.startswith("extensions: the password of 000*101 is soon guessed: ")
    assert not told(PHONE.replace("PASSWORD", f'"{password}"').replace("!8.8.8.11", "")), "nobody from outside comes"


def test_a_password_by_chance() -> None:
    assert not told(PHONE.replace("PASSWORD", "9ef4au6uujb9"))


def test_many_passwords_that_strangers_guess_are_one_line() -> None:
    phones = ", ".join(f'{{number: "000*{number}", id: {number}, password: a}}' for number in range(101, 109))
    (line,) = told(PHONE[: PHONE.index("extensions")] + f"extensions: [{phones}]")
    assert "000*101, 000*102, 000*103, 000*104, 000*105 and 3 more is soon guessed" in line


def test_localhost_is_not_public() -> None:
    assert told('node: 1\nsip: {listen: ["udp:localhost:5060"]}\n') == []


def test_one_machine() -> None:
    assert told("node: 1\nsip: {listen: ['udp:8.8.8.8:5060']}\nrtpengine: {interface: 8.8.8.8}") == []
    (line,) = told("node: 1\nsip: {listen: ['udp:8.8.8.8:5060']}")
    assert line.startswith("rtpengine.interface: callers of a public address are told")
    assert told("node: 1\nsip: {listen: ['udp:10.0.0.1:5060']}") == []


def test_a_family_without_sound() -> None:
    six = FLEET.replace("udp:10.0.0.12:5060!8.8.8.12", 'udp:10.0.0.12:5060!8.8.8.12", "udp:[2a00::12]:5060')
    assert told(six) == []
    (line,) = told(six.replace('["10.0.2.2", "2a00::1"]', '"10.0.2.2!8.8.8.22"'))
    assert line.startswith("rtpengines, m.interface: callers reach udp:[2a00::12]:5060 by IPv6, but RTPengine has no")


def test_an_interface_that_nobody_is_told() -> None:
    (line,) = told(FLEET.replace('"2a00::1"]', '"10.0.2.3", "2a00::1"]'))
    assert line.startswith("rtpengines, n.interface: of 10.0.2.2, 10.0.2.3, 2a00::1 parties are told only the first")


def test_a_fleet_on_one_machine_s_loopback() -> None:
    text = FLEET.replace("10.0.", "127.0.").replace("!8.8.8.", "!127.1.1.").replace(', "2a00::1"', "")
    assert told(text) == []
