"""The whole stack on IPv6: an answered call is transferred to a phone. The site writes brackets, sockets have none."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.support.stack import Net, RunningStack
from tests.support.timing import PATIENT_S

IVR = """\
ivrs: [{number: "000*332", id: 145, dids: ["+15550199"], entry_context: 1}]
contexts: {1: {options: {start: [simple_transfer: {to: ["000*306"], timeout: 5}]}}}
"""
SITE = """\
node: 1
sip: {{listen: ["udp:[::1]:{port}"]}}
trunks: [{{name: carrier, from: ["::1/128"]}}]
extensions: [{{number: "000*306", id: 134, contact: "sip:306@[::1]:{phone_port}"}}]
sidecars: {{count: 1, host: "[0:0::1]", base_port: {sidecar_port}, metrics_port: {metrics_port}}}
rtpengine: {{ng: "[::1]:{ng_port}", interface: "::1", ports: [{rtp_first}, {rtp_last}]}}
"""
SDP = "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


class Net6(Net):
    """::1, which all parts and all parties share: ports tell them apart."""

    @property
    def stack(self) -> str:
        return "[::1]"

    def site_yaml(self, sidecars: int) -> str:  # noqa: ARG002  # always one
        base = self.base_port
        return SITE.format(
            port=self.sip[1],
            phone_port=self.phone_port,
            sidecar_port=base + 70,
            metrics_port=base + 90,
            ng_port=base + 50,
            rtp_first=base + 200,
            rtp_last=base + 899,
        )


def opened(port: int) -> socket.socket:
    """A phone's socket."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("::1", port))
    return sock


async def received(sock: socket.socket, start: str) -> dict[str, str]:
    """Wait for a message that starts so; its headers, with its first line under the empty name."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENT_S):
        while True:
            first, *lines = (await loop.sock_recv(sock, 65535)).decode().partition("\r\n\r\n")[0].split("\r\n")
            if first.startswith(start):
                return {"": first, **dict(line.split(": ", 1) for line in lines)}


def request(line: str, caller: socket.socket, to: str, cseq: str, more: str = "", body: str = "") -> bytes:
    port = caller.getsockname()[1]
    return (
        f"{line} SIP/2.0\r\nVia: SIP/2.0/UDP [::1]:{port};branch=z9hG4bK{cseq.replace(' ', '')}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:+15550123@[::1]>;tag=1\r\nTo: {to}\r\nCall-ID: ipv6\r\nCSeq: {cseq}\r\n"
        f"Contact: <sip:me@[::1]:{port}>\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def test_a_call_over_ipv6_is_answered_and_transferred(tmp_path: Path, net: Net) -> None:
    ipv6 = Net6(net.prefix, net.base_port)
    called = f"sip:+15550199@[::1]:{ipv6.sip[1]}"
    async with RunningStack(ipv6, tmp_path, IVR, sidecars=1):
        with opened(ipv6.carrier_port) as caller, opened(ipv6.phone_port) as phone:
            offer = request(
                f"INVITE {called}", caller, f"<{called}>", "1 INVITE", "Content-Type: application/sdp\r\n", SDP
            )
            caller.sendto(offer, ("::1", ipv6.sip[1]))
            answer = await received(caller, "SIP/2.0 200")
            target = answer["Contact"].strip("<>")
            route = f"Route: {answer['Record-Route']}\r\n"
            caller.sendto(request(f"ACK {target}", caller, answer["To"], "1 ACK", route), ("::1", ipv6.sip[1]))
            invite = await received(phone, "INVITE")
            assert invite[""] == f"INVITE sip:306@[::1]:{ipv6.phone_port} SIP/2.0"
            assert invite["From"].startswith("<sip:+15550123@[::1]>")
            caller.sendto(request(f"BYE {target}", caller, answer["To"], "2 BYE", route), ("::1", ipv6.sip[1]))
            assert (await received(caller, "SIP/2.0 200"))["CSeq"] == "2 BYE"
