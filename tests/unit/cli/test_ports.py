"""Ports that are taken are named before anything starts."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from callinteractive.model import Address, Edge, Interface, Listen, RtpEngine, Site, sidecars_of_host
from cli import ports
from cli.parts import Parts
from cli.ports import Port
from tests.support.workers import own_host

HOST = own_host(21)


def site(**changes: object) -> Site:
    values: dict[str, object] = {
        "node": 1,
        "edges": (Edge("edge", (Listen("udp", HOST, 23901), Listen("tcp", HOST, 23901))),),
        "sidecars": sidecars_of_host(HOST, 2, 23910, 23920),
        "rtpengines": (RtpEngine(Address(HOST, 23930), (Interface(HOST),), http_port=23932),),
    }
    return Site(**(values | changes))  # type: ignore[arg-type]


def test_every_port_of_a_site_is_asked_for() -> None:
    wanted = {str(port) for port in ports.ports_of(Parts.of(site()))}
    numbers = {"udp": (23901, 23910, 23911, 23930), "tcp": (23901, 23920, 23921, 23930, 23932)}
    assert wanted == {HOST} | {f"{kind} {HOST}:{number}" for kind, found in numbers.items() for number in found}
    assert ports.problems(Parts.of(site())) == []


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_taken_port_is_named_with_its_key_and_a_remedy(kind: str) -> None:
    types = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    with socket.socket(socket.AF_INET, types[kind]) as other:
        other.bind((HOST, 23901))
        if kind == "tcp":
            other.listen()
        (problem,) = ports.problems(Parts.of(site()))
    assert problem.startswith(f"{kind} {HOST}:23901 is in use by another program.")
    assert problem.endswith("names it: stop it, or change sip.listen in site.yaml.")


def test_an_address_that_is_not_here_is_told_once_for_udp_and_tcp() -> None:
    edge = Edge("edge", (Listen("udp", "203.0.113.1", 23901), Listen("tcp", "203.0.113.1", 23901)))
    (problem,) = ports.problems(Parts.of(site(edges=(edge,))))
    assert problem == "this machine has no address 203.0.113.1: change sip.listen in site.yaml."


def test_a_port_shared_by_reuseport_counts_as_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 23910))
        (problem,) = ports.problems(Parts.of(site()))
    assert "sidecars.base_port" in problem


def test_many_taken_ports_are_another_run() -> None:
    with ExitStack() as others:
        for number in (23901, 23910, 23930):
            others.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((HOST, number))
        *each, last = ports.problems(Parts.of(site()))
    assert len(each) == 3
    assert "another `callinteractive run`" in last


def test_an_address_of_another_machine() -> None:
    assert Port("udp", "203.0.113.1", 5060, "sip.listen").problem() == (
        "this machine has no address 203.0.113.1: change sip.listen."
    )
