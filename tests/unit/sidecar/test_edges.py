"""By which edge a sidecar's calls go out, and whom it takes SIP from."""

from __future__ import annotations

import pytest

from callinteractive.model import Address, Edge, Listen
from sidecar.edges import MOST_WAYS, SILENT_S, Edges

A, B, C, D = (Address(f"10.0.0.{number}", 5060) for number in range(1, 5))
SECOND = Address("10.0.0.1", 5070)
"""Another address of A."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def edges(clock: Clock) -> Edges:
    """Nothing has been heard of any of them."""
    found = [Edge(f"edge-{at.host}", (Listen("tcp", at.host, 5060), Listen("udp", *at))) for at in (B, C, D)]
    first = Edge("edge-a", (Listen("udp", *A), Listen("udp", *SECOND), Listen("udp", "fd00::1", 5060)))
    return Edges([first, *found], "10.0.1.1", clock)


def heard(edges: Edges, *sources: Address) -> None:
    for source in sources:
        assert edges.knows(source)


@pytest.mark.parametrize("source", [A, SECOND, D, Address("fd00::1", 5060)])
def test_its_udp_addresses_are_an_edge_s(edges: Edges, source: Address) -> None:
    assert edges.knows(source)


@pytest.mark.parametrize("source", [Address("10.0.0.1", 5061), Address("10.0.0.9", 5060), Address("::1", 5060)])
def test_others_are_strangers(edges: Edges, source: Address) -> None:
    assert not edges.knows(source)


def test_routes_lead_to_edges_only_also_by_the_addresses_that_they_advertise() -> None:
    public, near = Address("198.51.100.1", 5080), Address("10.0.0.1", 5080)
    edges = Edges([Edge("edge", (Listen("udp", *A, public),))], "10.0.1.1")
    assert all(map(edges.is_way, (A, public, near)))
    assert not any(map(edges.is_way, (B, Address("198.51.100.1", 5060), Address("10.0.1.1", 5060))))


def test_a_name_stands_for_its_addresses() -> None:
    edges = Edges([Edge("edge", (Listen("udp", "localhost", 5060),))], "127.0.0.1")
    assert edges.knows(Address("127.0.0.1", 5060))


def test_a_call_goes_out_by_the_edge_it_came_from(edges: Edges) -> None:
    heard(edges, SECOND, B)
    assert edges.ways(SECOND) == (SECOND, B)
    assert edges.ways(B) == (B, A)


def test_an_edge_of_which_nothing_was_ever_heard_is_no_way(edges: Edges) -> None:
    heard(edges, A)
    assert edges.ways(A) == (A,)


def test_a_silent_edge_comes_last(edges: Edges, clock: Clock) -> None:
    heard(edges, A)
    clock.now += SILENT_S / 2
    heard(edges, B)
    assert edges.ways(A) == (A, B)
    clock.now += SILENT_S / 2
    assert edges.ways(A) == (B, A)
    heard(edges, A)
    assert edges.ways(A) == (A, B)


def test_where_all_are_silent_the_edge_itself_is_tried(edges: Edges, clock: Clock) -> None:
    heard(edges, A, B)
    clock.now += SILENT_S
    assert edges.ways(A) == (A,)


def test_the_calls_of_a_dead_edge_are_shared_out(edges: Edges, clock: Clock) -> None:
    heard(edges, A)
    clock.now += SILENT_S
    heard(edges, B, C, D)
    ways = [edges.ways(A) for _ in range(200)]
    assert {way[0] for way in ways} == {B, C, D}
    assert all(len(way) == MOST_WAYS and way[-1] == A for way in ways)


def test_an_origin_that_is_no_edge_is_used_all_the_same(edges: Edges) -> None:
    heard(edges, B)
    stranger = Address("192.0.2.1", 5060)
    assert edges.ways(stranger) == (stranger, B)


def test_a_call_that_we_begin_goes_by_any_edge_that_lives(edges: Edges) -> None:
    assert {way for _ in range(200) for way in edges.living()} == {A, B, C, D}, "none is known to live yet"
    heard(edges, B, C)
    assert {edges.living() for _ in range(200)} == {(B, C), (C, B)}
    heard(edges, A, D)
    assert {len(edges.living()) for _ in range(20)} == {MOST_WAYS}
