"""Trunks of site.yaml: passwords, addresses, limits, numbers."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from callinteractive.model import Login, Trunk
from callinteractive.secret import Secret, SecretError

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks: [{name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080"}]
"""


def trunk_with(keys: str) -> Trunk:
    return load_site(SITE.replace("name: carrier,", f"name: carrier, {keys},"), "f.yaml").trunks[0]


def test_trunk_with_a_password():
    trunk = trunk_with('username: we, password: "s3cret", realm: carrier.example')
    assert trunk.login == Login("we", Secret("s3cret"), "carrier.example")
    assert "s3cret" not in f"{trunk} {trunk!r} {trunk.login}"
    assert trunk_with("username: we, password: {env: OURS}").login == Login("we", Secret(variable="OURS"))
    assert trunk_with("username: we, password: {file: a/b}").login == Login("we", Secret(file="a/b"))
    site = load_site(SITE.replace("name: carrier,", "name: carrier, username: u, password: {env: X},"), "f.yaml")
    assert site.secret_variables == {"X"}


def test_secret_is_read_from_its_place():
    def read(name: str) -> str:
        return {"good": "from file\n", "empty": "\n"}[name]

    assert Secret("text").read({}, read) == "text"
    assert Secret(file="good").read({}, read) == "from file"
    assert Secret(variable="A").read({"A": "b"}, read) == "b"
    for secret in (Secret(file="empty"), Secret(variable="B"), Secret(variable="E")):
        with pytest.raises(SecretError):
            secret.read({"E": ""}, read)


def test_other_options_of_a_trunk():
    trunk = trunk_with('max_calls_out: 5, number: {strip: 2, prefix: "+"}, options: no')
    assert (trunk.max_calls_out, trunk.is_probed) == (5, False)
    assert trunk.number.apply("0049301234") == "+49301234"
    assert trunk_with("trusted: no").number.apply("1") == "1"
    several = load_site(SITE.replace('to: "sip:127.0.0.2:5080"', 'to: ["sip:a", "sip:b:5080", "sip:a"]'), "f.yaml")
    assert several.trunks[0].to == ("sip:a", "sip:b:5080")


@pytest.mark.parametrize(
    ("keys", "finding"),
    [
        ("username: we", "password: is missing"),
        ("password: x", "username: is missing"),
        ("realm: x", "realm: needs username"),
        ("username: we, password: {}", "password: write the password"),
        ("username: we, password: {file: a, env: B}", "password: write the password"),
        ("username: we, password: {env: a b}", "env: must be the name"),
        ('username: we, password: "a\\nb"', "password: must be one line"),
        ('username: "a\\r\\nb", password: x', "username: must be one line"),
        ("number: {strip: x}", "strip: must be a number"),
        ('number: {prefix: "+49;x"}', "prefix: must be at most"),
        ("max_calls_out: 0", "max_calls_out: must be a number"),
    ],
)
def test_wrong_options_of_a_trunk(keys: str, finding: str):
    with pytest.raises(ConfigError) as error:
        trunk_with(keys)
    assert finding in str(error.value)
