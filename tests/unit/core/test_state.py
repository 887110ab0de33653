"""`state` of site.yaml: where calls are written down, and that nothing shows a password."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from callinteractive.fleet import Address
from callinteractive.secret import Secret
from callinteractive.state import State, parse

SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\nsidecars: {count: 1}\nstate: '
ONE = Address("10.0.0.20", 6379)


def state_of(text: str) -> State:
    return load_site(SITE + text, "site.yaml").state


def test_calls_are_kept_in_a_file_unless_the_site_says_otherwise():
    assert load_site(SITE.rpartition("state")[0], "site.yaml").state == State("embedded")
    assert state_of("none") == State("none")


@pytest.mark.parametrize(
    ("text", "state", "shown"),
    [
        ("embedded", State("embedded"), "embedded"),
        ("valkey://10.0.0.20:6379/1", State("valkey", servers=(ONE,), number=1), "valkey://10.0.0.20:6379/1"),
        ("redis://10.0.0.20", State("valkey", servers=(ONE,)), "redis://10.0.0.20:6379/0"),
        (
            "rediss://ivr:a.B~9_+=-@store.example.com:6380/15",
            State(
                "valkey",
                servers=(Address("store.example.com", 6380),),
                number=15,
                user="ivr",
                password=Secret("a.B~9_+=-"),
                is_tls=True,
            ),
            "rediss://store.example.com:6380/15",
        ),
        (
            "valkey+sentinel://:hush@10.0.0.1,10.0.0.2:26380,[fd00::3]/calls",
            State(
                "valkey",
                "sentinel",
                (Address("10.0.0.1", 26379), Address("10.0.0.2", 26380), Address("fd00::3", 26379)),
                master="calls",
                password=Secret("hush"),
            ),
            "valkey+sentinel://10.0.0.1:26379,10.0.0.2:26380,[fd00::3]:26379/calls/0",
        ),
        (
            "valkeys+sentinel://10.0.0.1/calls/3",
            State("valkey", "sentinel", (Address("10.0.0.1", 26379),), 3, "calls", is_tls=True),
            "valkeys+sentinel://10.0.0.1:26379/calls/3",
        ),
        (
            "redis+cluster://10.0.0.20,10.0.0.21:7000",
            State("valkey", "cluster", (ONE, Address("10.0.0.21", 7000))),
            "redis+cluster://10.0.0.20:6379,10.0.0.21:7000",
        ),
    ],
)
def test_how_a_store_is_named(text: str, state: State, shown: str):
    assert parse(text) == state
    assert str(parse(text)) == shown


def test_passwords_and_authorities_in_files():
    state = state_of("{url: 'valkeys+sentinel://a/m', password: {file: p}, sentinel_password: {env: S}, ca: ca.pem}")
    assert (state.password, state.sentinel_password) == (Secret(file="p"), Secret(variable="S"))
    assert state.ca == "ca.pem"
    assert state_of("{url: 'valkey://a', password: 'any ! thing'}").password == Secret("any ! thing")
    assert "hush" not in repr(state_of("valkey://:hush@10.0.0.20"))


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("''", "must be embedded, none, or like"),
        ("sqlite", "must be embedded, none, or like"),
        ("http://:hush@10.0.0.20", "must be embedded, none, or like"),
        ("valkey://hush@10.0.0.20", "must be embedded, none, or like"),
        ("valkey://:hush!@10.0.0.20", "any other one goes into a file"),
        ("valkey://:hush@store..example", "must be embedded, none, or like"),
        ("valkey://:hush@10.0.0.20:0", "a port is a number from 1 to 65535"),
        ("valkey://:hush@10.0.0.20:65536", "a port is a number from 1 to 65535"),
        ("valkey://:hush@10.0.0.20/first", "the number of the database"),
        ("valkey://:hush@a,b", "several servers need valkey+sentinel:// or valkey+cluster://"),
        ("valkey+sentinel://:hush@a,b", "the name that the Sentinels know"),
        ("valkey+sentinel://:hush@a/m/n", "the name that the Sentinels know"),
        ("valkey+cluster://:hush@a,b/1", "no numbered databases"),
        ("{password: hush}", "state.url: is missing"),
        ("{url: embedded, password: hush}", "is for a server"),
        ("{url: 'valkey://:hush@a', password: hush}", "state.password: is in the url too"),
        ("{url: 'valkey://a', sentinel_password: hush}", "state.sentinel_password: needs"),
        ("{url: 'valkey://a', ca: hush.pem}", "state.ca: needs a url with TLS"),
        ("{url: 'valkey://a', password: {file: a, env: b}}", "write the password, or {file: NAME}"),
    ],
)
def test_what_is_wrong_and_the_finding_shows_no_password(text: str, finding: str):
    with pytest.raises(ConfigError) as raised:
        state_of(text)
    assert "site.yaml:4: state" in str(raised.value)
    assert finding in str(raised.value)
    assert "hush" not in str(raised.value)
