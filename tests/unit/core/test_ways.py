"""Where a sidecar sends what is for an edge's advertised address."""

from __future__ import annotations

from callinteractive.fleet import Address, Edge, Listen, ways

PRIVATE, SIX = Address("10.0.0.11", 5070), Address("fd00::11", 5060)
PUBLIC, PUBLIC_SIX = Address("198.51.100.11", 5060), Address("2001:db8::11", 5060)


def edge(*listens: Listen) -> Edge:
    return Edge("edge", listens)


def test_to_the_edge_itself() -> None:
    listens = (Listen("udp", *PRIVATE, PUBLIC), Listen("tcp", *PRIVATE, Address("192.0.2.1", 5060)))
    assert ways((edge(*listens),), "10.0.1.1") == {PUBLIC: PRIVATE, Address(PRIVATE.host, 5060): PRIVATE}


def test_of_another_family_to_an_address_of_its_own() -> None:
    both = edge(Listen("udp", *PRIVATE), Listen("udp", *SIX, PUBLIC_SIX))
    assert ways((both,), "10.0.1.1")[PUBLIC_SIX] == PRIVATE
    assert ways((both,), "fd00::1")[PUBLIC_SIX] == SIX


def test_what_is_an_edge_s_own_address_stays() -> None:
    other = Address(PRIVATE.host, 5060)
    found = ways((edge(Listen("udp", *PRIVATE, PUBLIC), Listen("udp", *other)),), "10.0.1.1")
    assert found == {PUBLIC: PRIVATE}
    assert ways((edge(Listen("udp", *PRIVATE)),), "10.0.1.1") == {}
