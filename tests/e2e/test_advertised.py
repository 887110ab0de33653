"""An edge on private addresses with a public one before it, and two networks: everybody hears of the address he can
reach, and each message leaves by the right network.

    carrier, phone (this process) -- public -- router, NAT one to one -- private -- edge, sidecars, RTPengine
                                                                             |
                                                                 a carrier on a network of its own (this process)
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, _ivr_yaml
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.transfers import transfer
from tests.support.callee import Callee
from tests.support.hosts import Host, Hosts, can_be_made, run
from tests.support.phone import Phone
from tests.support.stack import Net, RunningStack
from tests.support.webapp import FakeWebApp
from tests.support.workers import WORKER

pytestmark = pytest.mark.skipif(not can_be_made(), reason="network namespaces need root and iptables")

PUBLIC_PORT, PORT = 5060, BASE_PORT + 60
SITE = """\
node: 1
sip: {{listen: ["udp:{inner}.11:{port}!{public}.99:5060", "udp:{other}.11:{port}"]}}
trunks:
  - {{name: public, from: ["{public}.2/32"]}}
  - {{name: private, from: ["{other}.6/32"], to: "sip:{other}.6:{carrier_port}", options: no}}
extensions: [{{number: "000*306", id: 134, contact: "sip:306@{public}.3:{phone_port}"}}]
sidecars: {{count: {sidecars}, host: {inner}.11, base_port: {sidecar_port}, metrics_port: {metrics_port}}}
rtpengine: {{ng: "{inner}.11:{ng_port}", interface: "{inner}.11!{public}.99", ports: [{rtp_first}, {rtp_last}]}}
"""


class Networks(Net):
    """`prefix` is the public one. The edge is .11 in both others; its public address is .99."""

    @property
    def inner(self) -> str:
        return f"10.77.{WORKER}"

    @property
    def other(self) -> str:
        return f"10.88.{WORKER}"

    @property
    def sip(self) -> tuple[str, int]:
        return f"{self.inner}.11", PORT

    def site_yaml(self, sidecars: int) -> str:
        base = self.base_port
        return SITE.format(
            inner=self.inner,
            other=self.other,
            public=self.prefix,
            port=PORT,
            carrier_port=self.carrier_port,
            phone_port=self.phone_port,
            sidecar_port=base + 70,
            metrics_port=base + 90,
            ng_port=base + 50,
            rtp_first=base + 200,
            rtp_last=base + 899,
            sidecars=sidecars,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    net = Networks(f"198.18.{40 + WORKER}", BASE_PORT)
    async with Hosts() as hosts:
        public, inner = await hosts.switch(net.prefix), await hosts.switch(net.inner)
        other = await hosts.switch(net.other)
        router, machine = await hosts.host("router"), await hosts.host("edge")
        hosts.join(public, None, ".2", ".3", ".9")
        hosts.join(public, router, ".1", ".99")
        hosts.join(inner, router, ".1")
        hosts.join(inner, machine, ".11")
        hosts.join(other, machine, ".11")
        hosts.join(inner, None, ".9")  # the web application
        hosts.join(other, None, ".6")
        hosts.route_by(machine, f"{net.inner}.1")
        _translate(router, net)
        async with FakeWebApp(f"{net.inner}.9", net.web_port) as web:
            command = (*machine.inside, sys.executable, "-m", "callinteractive")
            folder = tmp_path_factory.mktemp("advertised")
            async with RunningStack(net, folder, _ivr_yaml(web), command=command, sidecars=1) as stack:
                stack.web = web  # type: ignore[attr-defined]
                yield stack


def _translate(router: Host, net: Networks) -> None:
    """The NAT: the edge's public address and SIP port stand for its own."""
    edge, public = f"{net.inner}.11", f"{net.prefix}.99"
    outwards = ("POSTROUTING", "-o", router.interfaces[0], "-s", edge)
    rules = (
        ("PREROUTING", "-d", public, "-p", "udp", "--dport", str(PUBLIC_PORT), "-j", "DNAT", "--to", f"{edge}:{PORT}"),
        ("PREROUTING", "-d", public, "-p", "udp", "-j", "DNAT", "--to", edge),
        (*outwards, "-p", "udp", "--sport", str(PORT), "-j", "SNAT", "--to", f"{public}:{PUBLIC_PORT}"),
        (*outwards, "-j", "SNAT", "--to", public),
    )
    run(*router.inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    for rule in rules:
        run(*router.inside, "iptables", "-t", "nat", "-A", *rule)


def call(stack: RunningStack, number: str) -> Phone:
    """A call from the public network, through the NAT."""
    net = stack.net
    return Phone((f"{net.prefix}.99", PUBLIC_PORT), number, host=net.carrier, caller="+15550123")


async def test_a_caller_outside_hears_of_the_public_address_only(edge: RunningStack) -> None:
    async with call(edge, MENU) as phone:
        answer = await phone.answered()
        assert answer.header("Record-Route").startswith(f"<sip:{edge.net.prefix}.99;")
        await phone.sound.hear_tone(MENU_HZ)
        await phone.hang_up()


async def test_the_ivr_hangs_up(edge: RunningStack) -> None:
    """Its BYE goes to the edge, not to the public address, which leads nowhere from inside."""
    async with call(edge, MENU) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits("1")
        await phone.hung_up()


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_a_transfer_leaves_by_the_network_of_its_target(edge: RunningStack, who: str) -> None:
    net, web = edge.net, edge.web  # type: ignore[attr-defined]
    web.on("+15550123", transfer("+4915"))
    own = f"{net.other}.11"
    async with Callee((own, PORT), (f"{net.other}.6", net.carrier_port)) as callee, call(edge, TRANSFER) as phone:
        await phone.answered()
        invite = await callee.rings()
        assert invite.header("Via").startswith(f"SIP/2.0/UDP {own}:{PORT};")
        assert invite.header("Record-Route").startswith(f"<sip:{own}:{PORT};r2=on")
        await callee.picks_up()
        if who == "caller":
            await phone.hang_up()
            await callee.hung_up()
        else:
            await callee.hangs_up()
            await phone.hung_up()


async def test_a_call_that_came_by_the_other_network_leaves_by_the_nat(edge: RunningStack) -> None:
    net, web = edge.net, edge.web  # type: ignore[attr-defined]
    web.on("+15550124", transfer("000*306"))
    public = (f"{net.prefix}.99", PUBLIC_PORT)
    async with (
        Callee(public, (net.phone, net.phone_port)) as callee,
        Phone((f"{net.other}.11", PORT), TRANSFER, host=f"{net.other}.6", caller="+15550124") as phone,
    ):
        await phone.answered()
        invite = await callee.rings()
        assert invite.header("Via").startswith(f"SIP/2.0/UDP {public[0]}:{PUBLIC_PORT};")
        await callee.picks_up()
        await callee.sound.send_tone(520, 1.0)
        await phone.sound.hear_tone(520)
        await callee.hangs_up()
        await phone.hung_up()
