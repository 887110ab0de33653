"""Numbers and where they lead, and who calls from where (C1, A14)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.dialled import is_dialled_number
from callinteractive.model import Edge, Extension, Ivr, IvrFile, Listen, Site, Trunk
from callinteractive.numbers import Directory, FoundIvr

MAIN = Ivr("000*332", 145, "1", dids=("+78123210001", "5550199"))
OTHER = Ivr("001*332", 146, "1")
ONLY = Ivr("001*500", 147, "1")
ALICE = Extension("000*306", 134, "sip:306@127.0.0.3:5090", contact_host="127.0.0.3")
BOB = Extension("001*306", 135, "sip:bob@[::1]:5090", contact_host="::1")
CAROL = Extension("000*307", 136, "sip:307@127.0.0.5", contact_host="127.0.0.5")
DAVE = Extension("001*308", 137, "sip:308@127.0.0.5", contact_host="127.0.0.5")
ROAMING = Extension("000*309", 138, password="secret")
NAMED = Extension("000*310", 139, "sip:310@phone.example.org", contact_host="phone.example.org")
CARRIER = Trunk("carrier", (ip_network("127.0.0.2/32"), ip_network("127.0.0.5/32")), ("sip:127.0.0.2:5080",))
WIDE = Trunk("wide", (ip_network("127.0.0.0/24"), ip_network("fd00::/8")))
SITE = Site(node=1, edges=(), trunks=(CARRIER, WIDE), extensions=(ALICE, BOB, CAROL, DAVE, ROAMING, NAMED))
DIRECTORY = Directory(SITE, IvrFile((MAIN, OTHER, ONLY), {}))


@pytest.mark.parametrize(
    ("dialled", "found"),
    [
        ("000*332", FoundIvr(MAIN)),
        ("+78123210001", FoundIvr(MAIN, "+78123210001")),
        ("78123210001", FoundIvr(MAIN, "+78123210001")),
        ("+5550199", FoundIvr(MAIN, "5550199")),
        ("500", FoundIvr(ONLY)),
        ("332", None),  # two IVRs have this short number
        ("306", None),
        ("", None),
        ("*332", None),
        ("+", None),
        ("nobody", None),
    ],
)
def test_C1_an_ivr_is_found_by_did_extended_and_short_number(dialled: str, found: FoundIvr | None):
    assert DIRECTORY.find_ivr(dialled) == found


def test_C1_a_short_number_is_looked_for_in_the_callers_own_prefix_first():
    assert DIRECTORY.find_ivr("332", ALICE) == FoundIvr(MAIN)
    assert DIRECTORY.find_ivr("332", BOB) == FoundIvr(OTHER)
    assert DIRECTORY.find_ivr("500", ALICE) == FoundIvr(ONLY)


def test_A14_an_extension_is_found_by_extended_and_short_number():
    assert DIRECTORY.find_extension("000*306") == ALICE
    assert DIRECTORY.find_extension("306", BOB) == BOB
    assert DIRECTORY.find_extension("306") is None
    assert DIRECTORY.find_extension("309") == ROAMING
    assert DIRECTORY.find_extension("332") is None


@pytest.mark.parametrize(
    ("source", "user", "caller"),
    [
        ("127.0.0.3", "anybody", ALICE),  # alone at its address, whatever its From says
        ("::1", "bob", BOB),
        ("0:0:0:0:0:0:0:1", "bob", BOB),
        ("127.0.0.5", "307", CAROL),
        ("127.0.0.5", "000*307", CAROL),
        ("127.0.0.5", "308", DAVE),
        ("127.0.0.5", "stranger", CARRIER),
        ("127.0.0.2", "+7999", CARRIER),
        ("127.0.0.9", "306", WIDE),
        ("fd00::7", "306", WIDE),
        ("10.0.0.1", "306", None),
        ("", "306", None),
        ("phone.example.org", "310", None),
        ("127.0.0.3:5060", "306", None),
        ("127.0.0.3\r\n", "306", None),
    ],
)
def test_a_caller_is_known_by_its_address(source: str, user: str, caller: Trunk | Extension | None):
    assert DIRECTORY.find_caller(source, user) == caller


def test_which_hosts_are_configured():
    gateway = Trunk("gateway", to=("sip:user@[2001:db8::1]:5080;transport=tcp",))
    site = replace(SITE, trunks=(*SITE.trunks, gateway), edges=(Edge("edge", (Listen("udp", "192.0.2.1", 5060),)),))
    directory = Directory(site, IvrFile((), {}))
    known = ("127.0.0.2", "127.0.0.3", "::1", "phone.example.org", "2001:db8::1", "192.0.2.1", "127.0.0.1")
    assert [host for host in known if not directory.is_configured(host)] == []
    assert [host for host in ("127.0.0.0", "127.0.0.9", "", "user") if directory.is_configured(host)] == []
    assert directory.has_passwords
    assert not Directory(replace(site, extensions=(ALICE,)), IvrFile((), {})).has_passwords


@given(st.text(st.characters(exclude_categories=()), max_size=20), st.text(max_size=20))
def test_no_source_and_no_number_breaks_the_directory(source: str, user: str):
    assert DIRECTORY.find_caller(source, user) in (None, WIDE)
    DIRECTORY.find_ivr(user, ALICE)
    DIRECTORY.find_extension(user, replace(ALICE, number="*"))


@pytest.mark.parametrize("number", ["1", "000*332", "+78123210001", "NUM1", "#", "a.b_c-d", "9" * 64])
def test_what_can_be_dialled(number: str):
    assert is_dialled_number(number)


@pytest.mark.parametrize("number", ["", "+", "++1", "1 2", "1,2", "1;a", "a@b", "1\n", "٣", "9" * 65])
def test_what_cannot_be_dialled(number: str):
    assert not is_dialled_number(number)
