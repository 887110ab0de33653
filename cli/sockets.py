"""The sockets of an edge's Kamailio: where it listens, and where its dispatcher's probes leave from."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

from callinteractive.fleet import Edge
from callinteractive.spelling import is_ip

_BY_UDP = re.compile(r"sip:(?:[^@]*@)?(\[[^\]]*\]|[^:;]*)(?::[0-9]+)?(?:;transport=udp)?")


def listen_arguments(edge: Edge) -> list[str]:
    """Kamailio 5.6 lets an address without an advertised one inherit that of an address before it. So each has one."""
    if any(listen.advertised for listen in edge.listen):
        shown = [replace(listen, advertised=listen.advertised or listen.address) for listen in edge.listen]
    else:
        shown = list(edge.listen)
    return [argument for listen in shown for argument in ("-l", listen.socket)]


def probed_from(edge: Edge, uri: str) -> str:
    """Attributes of a destination of the dispatcher: which socket its probes leave from. `kemi.sockets` does it so too.

    Empty where the edge has nothing to choose, or the destination is no IP address or not reached by UDP.
    """
    found = _BY_UDP.fullmatch(uri)
    host = found[1].strip("[]") if found else ""
    addresses = [address for address in edge.udp_addresses if (":" in address.host) is (":" in host)]
    own = _source_towards(host) if is_ip(host) and len(addresses) > 1 else ""
    return next((f" 0 0 socket=udp:{address}" for address in addresses if address.host == own), "")


def _source_towards(host: str) -> str:
    """The address of this machine from which the kernel sends there. No packet is sent. Empty if there is no way."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
