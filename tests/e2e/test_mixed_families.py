"""A caller on IPv6 hears a prompt of the IVR, is transferred to a phone on IPv4, and they hear each other: also at an
RTPengine that was started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

from tests.support.rtp import RtpEndpoint
from tests.support.stack import Net, RunningStack
from tests.support.timing import PATIENT_S

IVR = """\
ivrs: [{number: "000*332", id: 145, dids: ["+15550199"], entry_context: 1}]
contexts: {1: {options: {start: [play_sound: {file: tone-660-400.wav}, simple_transfer: {to: ["000*306"]}]}}}
"""
SITE = """\
node: 1
sip: {{listen: ["udp:[::1]:{port}", "udp:{four}.1:{port}"]}}
trunks: [{{name: carrier, from: ["::1/128"]}}]
extensions: [{{number: "000*306", id: 134, contact: "sip:306@{four}.3:{phone_port}"}}]
sidecars: {{count: 1, host: {four}.1, base_port: {sidecar_port}, metrics_port: {metrics_port}}}
rtpengine: {{ng: "[::1]:{ng_port}", interface: ["{four}.1", "::1"], ports: [{rtp_first}, {rtp_last}]}}
"""


class BothFamilies(Net):
    """Kamailio and RTPengine have an address of each family. The caller is at ::1, all else at the net's own."""

    @property
    def stack(self) -> str:
        return "[::1]"

    def site_yaml(self, sidecars: int) -> str:  # noqa: ARG002  # always one
        base = self.base_port
        return SITE.format(
            four=self.prefix,
            port=self.sip[1],
            phone_port=self.phone_port,
            sidecar_port=base + 70,
            metrics_port=base + 90,
            ng_port=base + 50,
            rtp_first=base + 200,
            rtp_last=base + 899,
        )


class Party:
    """A SIP socket that speaks in whole messages."""

    def __init__(self, host: str, port: int, kamailio: tuple[str, int]) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, port))
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._kamailio = kamailio

    def send(self, first: str, headers: list[str], body: str = "") -> None:
        kind = ["Content-Type: application/sdp"] if body else []
        text = "\r\n".join([first, *headers, *kind, f"Content-Length: {len(body)}", "", body])
        self.socket.sendto(text.encode(), self._kamailio)

    async def receive(self, start: str) -> tuple[list[str], str]:
        """The next message that starts so: its header lines and its body."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENT_S):
            while True:
                head, _, body = (await loop.sock_recv(self.socket, 65535)).decode().partition("\r\n\r\n")
                first, *headers = head.split("\r\n")
                if first.startswith(start):
                    return headers, body


def named(headers: list[str], *names: str) -> list[str]:
    return [line for line in headers if line.partition(":")[0].lower() in names]


async def moved(party: Party, sound: RtpEndpoint) -> str:
    """Take the re-INVITE, and send to where it says. Returns its SDP."""
    invite, offer = await party.receive("INVITE")
    before = sound.destination
    sound.send_to(offer)
    assert sound.destination != before
    sound.forget()
    copied = named(invite, "via", "from", "to", "call-id", "cseq", "record-route")
    party.send("SIP/2.0 200 OK", [*copied, f"Contact: <sip:me@{party.where}>"], sound.sdp())
    await party.receive("ACK")
    return offer


async def test_ipv6_caller_prompt_and_ipv4_callee(tmp_path: Path, net: Net) -> None:
    both = BothFamilies(net.prefix, net.base_port + 2000)  # another test has ::1 at the net's own ports
    called = f"sip:+15550199@[::1]:{both.sip[1]}"
    caller = Party("::1", both.carrier_port, ("::1", both.sip[1]))
    phone = Party(net.phone, both.phone_port, (f"{net.prefix}.1", both.sip[1]))

    def from_caller(method: str, to: str, cseq: int, more: list[str] | None = None) -> list[str]:
        return [
            f"Via: SIP/2.0/UDP {caller.where};branch=z9hG4bK{method}{cseq}",
            *("Max-Forwards: 70", "Call-ID: mixed", f"CSeq: {cseq} {method}", to),
            *("From: <sip:+15550123@[::1]>;tag=1", f"Contact: <sip:me@{caller.where}>", *(more or [])),
        ]

    with caller.socket, phone.socket:
        async with (
            RunningStack(both, tmp_path, IVR, sidecars=1) as stack,
            RtpEndpoint("::1") as ours,
            RtpEndpoint(net.phone) as theirs,
        ):
            caller.send(f"INVITE {called} SIP/2.0", from_caller("INVITE", f"To: <{called}>", 1), ours.sdp())
            answer, sdp = await caller.receive("SIP/2.0 200")
            assert "c=IN IP6 ::1" in sdp
            ours.send_to(sdp)
            [to], [contact] = named(answer, "to"), named(answer, "contact")
            target = contact.partition("<")[2].partition(">")[0]
            routes = [line.replace("Record-Route", "Route") for line in reversed(named(answer, "record-route"))]
            caller.send(f"ACK {target} SIP/2.0", from_caller("ACK", to, 1, routes))
            await ours.hear_tone(660)

            invite, offer = await phone.receive("INVITE")
            assert f"c=IN IP4 {net.prefix}.1" in offer
            assert "IP6" not in offer
            theirs.send_to(offer)
            copied = named(invite, "via", "from", "to", "call-id", "cseq", "record-route")
            tagged = [f"{line};tag=2" if line.lower().startswith("to:") else line for line in copied]
            phone.send("SIP/2.0 200 OK", [*tagged, f"Contact: <sip:306@{phone.where}>"], theirs.sdp())
            await phone.receive("ACK")
            await asyncio.gather(ours.send_tone(880, 0.5), theirs.send_tone(1100, 0.5))
            await theirs.hear_tone(880)
            await ours.hear_tone(1100)

            os.kill(stack.pid("rtpengine"), signal.SIGKILL)  # its calls begin anew in the next one
            offers = await asyncio.gather(moved(caller, ours), moved(phone, theirs))
            assert ["c=IN IP6 ::1" in offers[0], f"c=IN IP4 {net.prefix}.1" in offers[1]] == [True, True]
            await asyncio.gather(ours.send_tone(880, 0.5), theirs.send_tone(1100, 0.5))
            await theirs.hear_tone(880)
            await ours.hear_tone(1100)

            caller.send(f"BYE {target} SIP/2.0", from_caller("BYE", to, 2, routes))
            bye, _ = await phone.receive("BYE")
            phone.send("SIP/2.0 200 OK", named(bye, "via", "from", "to", "call-id", "cseq"))
            await caller.receive("SIP/2.0 200")
            async with asyncio.timeout(PATIENT_S):
                while await stack.media_calls():
                    await asyncio.sleep(0.05)
