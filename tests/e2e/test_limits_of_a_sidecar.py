"""What callers can use up, and what the others get then (S15)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter

from tests.e2e.ivr import SCRIPTED_GET
from tests.support.phone import Phone
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 41000 RTP/AVP 0 101\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)


class Caller:
    """Sends INVITEs and never an ACK for a 200. `answers`: the final answer of each, by Call-ID."""

    def __init__(self, stack: RunningStack) -> None:
        self._target, self._host = stack.net.sip, stack.net.carrier
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((self._host, 0))
        self.answers: dict[str, str] = {}
        self._count = 0
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def call(self) -> None:
        self._count += 1
        local, sdp = "{}:{}".format(*self._socket.getsockname()), SDP.format(host=self._host)
        head = (
            f"INVITE sip:{SCRIPTED_GET}@{self._target[0]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {local};branch=z9hG4bKflood{self._count}-{local}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:+15559@{local}>;tag=1\r\nTo: <sip:{SCRIPTED_GET}@{self._target[0]}>\r\n"
            f"Call-ID: flood-{self._count}-{local}\r\nCSeq: 1 INVITE\r\nContact: <sip:{local}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n"
        )
        self._socket.sendto((head + sdp).encode(), self._target)

    def _read(self) -> None:
        text = self._socket.recv(65536).decode()
        if text.startswith("SIP/2.0 ") and not text.startswith("SIP/2.0 1") and " INVITE\r\n" in text:
            self.answers.setdefault(re.findall(r"^Call-ID: (.*)\r$", text, re.MULTILINE)[0], text)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(int(text[8:11]) for text in self.answers.values())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


async def flood(stack: RunningStack, calls: int) -> Counter[int]:
    caller = Caller(stack)
    try:
        for _ in range(calls):
            caller.call()
        await until(lambda: len(caller.answers) == calls, PATIENT_S, f"{calls} final answers")
        refusals = [text for text in caller.answers.values() if text.startswith("SIP/2.0 503 ")]
        assert all("\r\nRetry-After: " in text for text in refusals)
        return caller.statuses
    finally:
        caller.close()


async def test_calls_without_ACK_are_bounded_and_give_way_to_others(private_stack: RunningStack) -> None:
    site = private_stack.site_path
    site.write_text(site.read_text().replace("sidecars: {", "sidecars: {max_unacknowledged: 4, "))
    await private_stack.start()
    statuses = await flood(private_stack, 30)
    assert statuses.keys() == {200, 503}
    assert statuses[200] <= 2 * 4
    assert len(await private_stack.media_calls()) <= 2 * 4
    told = ("overload", "media")
    await until(lambda: any(private_stack.entries(event=event) for event in told), PATIENT_S, "a word of it in the log")
    # Nobody has to wait for 32 s: after 4 s a call that is acknowledged takes the place of one that is not.
    net = private_stack.net
    for _ in range(10):
        async with Phone(net.sip, SCRIPTED_GET, host=net.second_carrier, caller="+15550177") as phone:
            await until(lambda phone=phone: bool(finals(phone)), PATIENT_S, "an answer")  # type: ignore[misc]
            if finals(phone) == [200]:
                await phone.hang_up()
                break
        await asyncio.sleep(0.5)
    else:
        raise AssertionError("never answered")


def finals(phone: Phone) -> list[int]:
    return [message.status for message in phone.sipp.messages() if not message.sent and (message.status or 0) >= 200]


async def test_no_port_left_is_503(private_stack: RunningStack) -> None:
    """RTPengine has ports for two calls."""
    site = private_stack.site_path
    first = private_stack.site.rtpengines[0].port_min
    text = re.sub(r"ports: \[[^]]*\]", f"ports: [{first}, {first + 7}]", site.read_text())
    site.write_text(text)
    await private_stack.start()
    statuses = await flood(private_stack, 8)
    assert statuses.keys() == {200, 503}
    assert statuses[200] == 2


async def test_a_sidecar_has_so_many_calls_at_the_most(private_stack: RunningStack) -> None:
    site = private_stack.site_path
    site.write_text(site.read_text().replace("sidecars: {", "sidecars: {max_calls: 3, "))
    await private_stack.start()
    statuses = await flood(private_stack, 20)
    assert statuses.keys() == {200, 503}
    assert statuses[200] == 2 * 3
