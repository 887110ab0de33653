"""Where SIP URIs with host names lead, asked of a real name server (RFC 3263)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import dns.resolver
import pytest
import pytest_asyncio

from callinteractive.names import Hop, target_of
from cli.lookup import Lookup, LookupFailed
from tests.support.name_server import NameServer
from tests.support.workers import WORKER

pytestmark = pytest.mark.asyncio

PLACE = (f"127.13.{WORKER}.53", 20053)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer.at(*PLACE) as running:
        running.set("a.example", "A", "192.0.2.1", "192.0.2.2", ttl_s=30)
        running.set("a.example", "AAAA", "2001:db8::1", ttl_s=20)
        running.set("b.example", "A", "192.0.2.9", ttl_s=300)
        yield running


async def hops(uri: str, *transports: str) -> tuple[tuple[Hop, ...], int]:
    return await Lookup(transports or ("udp", "tcp"), [PLACE]).hops(target_of(uri))


async def test_port_means_addresses_only(server: NameServer) -> None:
    found, ttl_s = await hops("sip:gw@a.example:5080;transport=tcp")
    assert {(hop.host, hop.port, hop.transport) for hop in found} == {
        (host, 5080, "tcp") for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    }
    assert ttl_s == 20
    assert {kind for _, kind in server.asked} == {"A", "AAAA"}


async def test_srv_with_priority_and_weight(server: NameServer) -> None:
    server.set("_sip._udp.carrier.example", "SRV", "10 60 5060 a.example.", "20 0 5070 b.example.", ttl_s=100)
    found, ttl_s = await hops("sip:carrier.example")
    first = [hop for hop in found if hop.priority == 10]
    assert {(hop.weight, hop.host, hop.port) for hop in first} == {
        (60, host, 5060) for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    }
    assert [hop for hop in found if hop not in first] == [Hop(20, 0, "192.0.2.9", 5070, "udp")]
    assert ttl_s == 20


async def test_transport_chooses_the_srv(server: NameServer) -> None:
    server.set("_sip._udp.carrier.example", "SRV", "0 0 5060 a.example.")
    server.set("_sip._tcp.carrier.example", "SRV", "0 0 5065 b.example.")
    found, _ = await hops("sip:carrier.example;transport=tcp")
    assert found == (Hop(0, 0, "192.0.2.9", 5065, "tcp"),)


async def test_naptr_orders_the_transports_that_we_have(server: NameServer) -> None:
    server.set(
        "carrier.example",
        "NAPTR",
        '10 10 "s" "SIPS+D2T" "" _sips._tcp.carrier.example.',
        '20 10 "s" "SIP+D2T" "" _sip._tcp.carrier.example.',
        '30 10 "s" "SIP+D2U" "" _sip._udp.carrier.example.',
    )
    server.set("_sip._udp.carrier.example", "SRV", "0 0 5060 a.example.")
    server.set("_sip._tcp.carrier.example", "SRV", "0 0 5065 b.example.")
    found, _ = await hops("sip:carrier.example")
    assert min(found) == Hop(0, 0, "192.0.2.9", 5065, "tcp")
    assert {hop.transport for hop in found} == {"tcp", "udp"}
    only_udp, _ = await hops("sip:carrier.example", "udp")
    assert {hop.transport for hop in only_udp} == {"udp"}


async def test_no_srv_means_the_host_itself(server: NameServer) -> None:
    assert (await hops("sip:b.example"))[0] == (Hop(0, 0, "192.0.2.9", 5060, "udp"),)
    assert (await hops("sip:b.example;transport=tls"))[0] == (Hop(0, 0, "192.0.2.9", 5061, "tls"),)


async def test_srv_target_that_is_gone_leaves_the_others(server: NameServer) -> None:
    server.set("_sip._udp.carrier.example", "SRV", "0 0 5060 gone.example.", "1 0 5060 b.example.")
    assert (await hops("sip:carrier.example"))[0] == (Hop(1, 0, "192.0.2.9", 5060, "udp"),)


async def test_sources_are_all_that_a_name_leads_to(server: NameServer) -> None:
    server.set("carrier.example", "A", "192.0.2.7")
    server.set("_sip._udp.carrier.example", "SRV", "0 0 5060 b.example.")
    found, _ = await Lookup(("udp",), [PLACE]).addresses("carrier.example")
    assert {hop.host for hop in found} == {"192.0.2.7", "192.0.2.9"}


async def test_unknown_name_and_silent_server_fail_in_time(server: NameServer) -> None:
    with pytest.raises(LookupFailed):
        await hops("sip:unknown.example")
    server.is_silent = True
    with pytest.raises(LookupFailed):
        await hops("sip:a.example:5060")


async def test_the_hosts_file_counts_without_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without DNS can use names too, and the process that looks them up does not die of it."""
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", _no_configuration)
    for uri in ("sip:localhost", "sip:localhost:5060"):
        found, _ = await Lookup(("udp",)).hops(target_of(uri))
        assert Hop(0, 0, "127.0.0.1", 5060, "udp") in found
    with pytest.raises(LookupFailed):
        await Lookup(("udp",)).hops(target_of("sip:nowhere.invalid"))


async def test_the_hosts_file_counts_while_the_name_server_fails(server: NameServer) -> None:
    server.is_silent = True
    found, _ = await hops("sip:localhost:5060")
    assert "127.0.0.1" in {hop.host for hop in found}


def _no_configuration(*_arguments: object) -> None:
    raise dns.resolver.NoResolverConfiguration
