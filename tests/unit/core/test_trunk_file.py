"""Trunks of site.yaml: passwords, addresses, limits, numbers."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from callinteractive.model import Login, Registration, Trunk
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

    def unreadable(name: str) -> str:
        raise OSError(2, "No such file or directory")

    with pytest.raises(SecretError, match="gone: No such file"):
        Secret(file="gone").read({}, unreadable)
    assert str(Secret("text")) == "***"
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
    assert trunk_with("codecs: [pcma, opus, pcma]").codecs == ("pcma", "opus")
    many = ", ".join(f'"sip:h{number}"' for number in range(17))
    with pytest.raises(ConfigError, match="more than 16 URIs"):
        load_site(SITE.replace('to: "sip:127.0.0.2:5080"', f"to: [{many}]"), "f.yaml")


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


def test_registration_and_inbound_password():
    trunk = trunk_with("username: alice@carrier.example, password: x, register: yes, inbound: yes")
    assert trunk.registration == Registration("alice")
    assert trunk.inbound == Login("alice@carrier.example", Secret("x"))
    keys = 'username: u, password: x, register: {expires: 120, contact_user: line7, number: "+78123210001"}'
    assert trunk_with(keys).registration == Registration("line7", 120, "+78123210001")
    own = trunk_with("inbound: {username: pbx, password: {env: PBX}}, inbound_number: {strip: 1}")
    assert (own.inbound, own.inbound_number.apply("012")) == (Login("pbx", Secret(variable="PBX")), "12")
    assert trunk_with("username: u, password: x, register: no, inbound: no").registration is None


@pytest.mark.parametrize(
    ("keys", "finding"),
    [
        ("register: yes", "register: needs username"),
        ("inbound: yes", "inbound: needs username"),
        ("inbound: {username: x}", "password: is missing"),
        ('username: u, password: x, register: {contact_user: "a b"}', "contact_user: must be"),
        ("username: u, password: x, register: {number: x}", "number: must be a number"),
        ("username: u, password: x, register: {expires: 1}", "expires: must be a number"),
        ("username: u, password: x, register: sometimes", "register: must be yes or no"),
    ],
)
def test_wrong_registration(keys: str, finding: str):
    with pytest.raises(ConfigError) as error:
        trunk_with(keys)
    assert finding in str(error.value)


def test_two_registrations_need_two_contacts():
    other = "{name: b, to: 'sip:h', username: u, password: x, register: yes}"
    with pytest.raises(ConfigError, match="contact_user of register 'u' is configured twice"):
        trunk_with(f"username: u@x, password: x, register: yes}}, {other}, {{name: c, from: ['10.0.0.1']")
