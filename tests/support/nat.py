"""A phone's network behind a real NAT: a router that masquerades, in network namespaces of the kernel. Needs root.

async with NatNetwork("198.18.0", addresses=3) as nat:      # 198.18.0.1 to .3 are here, the router is .9
    async with Baresip(..., host=nat.phone_host, interface="eth0", namespace=nat.phone) as phone:
"""

from __future__ import annotations

from types import TracebackType

from tests.support.hosts import Host, Hosts, Switch

ROUTER = 9
LAN = "192.168.77"


async def phone_behind_nat(hosts: Hosts, outside: Switch, router: str = f".{ROUTER}") -> Host:
    """A new host that reaches `outside` only through a new router, whose address there is `router`."""
    inside = await hosts.switch(LAN)
    gateway, phone = await hosts.host("router"), await hosts.host("phone")
    hosts.join(outside, gateway, router)
    hosts.join(inside, gateway, ".1")
    hosts.join(inside, phone, ".5")
    hosts.route_by(phone, f"{LAN}.1")
    hosts.masquerade(gateway, 0)
    return phone


class NatNetwork:
    """`outside` is a /24 that both this host and the router have an address of; ``.1`` and on are this host's."""

    phone_host = f"{LAN}.5"

    def __init__(self, outside: str, addresses: int) -> None:
        self._outside = outside
        self._addresses = addresses
        self._hosts = Hosts()

    async def __aenter__(self) -> NatNetwork:
        try:
            outside = await self._hosts.switch(self._outside)
            self._hosts.join(outside, None, *(f".{number}" for number in range(1, self._addresses + 1)))
            self.phone = (await phone_behind_nat(self._hosts, outside)).pid
            """The pid of a process in the phone's namespace."""
        except BaseException:
            await self._hosts.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hosts.__aexit__(kind, error, trace)
