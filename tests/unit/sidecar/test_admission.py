"""New calls are refused while this sidecar or RTPengine is behind, and only then."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from callinteractive.limits import OVERLOAD_RETRY_S, OVERLOAD_WAIT_S
from callinteractive.model import Address
from sidecar import admission, sip
from sidecar.admission import MAX_MEDIA_COMMANDS, Admission

HOST = "127.9.0.3"
INVITE = (
    "INVITE sip:1@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:1@{host}>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{host}:{port}>\r\n\r\n"
)


@pytest.mark.parametrize(
    ("waited_s", "commands", "verdict"),
    [
        (0.0, 0, None),
        (OVERLOAD_WAIT_S, MAX_MEDIA_COMMANDS, None),
        (OVERLOAD_WAIT_S + 0.001, 0, OVERLOAD_RETRY_S),
        (0.0, MAX_MEDIA_COMMANDS + 1, OVERLOAD_RETRY_S),
    ],
)
def test_the_bounds(waited_s, commands, verdict):
    refused = []
    admit = Admission(lambda: waited_s, lambda: commands, lambda: refused.append(1))
    assert admit() == verdict
    assert len(refused) == (verdict is not None)


def test_overload_is_logged_now_and_then(monkeypatch):
    told = []
    monkeypatch.setattr(admission.LOG, "warning", lambda *_, **fields: told.append(fields), raising=False)
    clock = iter((100.0, 101.0, 100.0 + admission.TELL_EVERY_S))
    monkeypatch.setattr(admission.time, "monotonic", lambda: next(clock))
    admit = Admission(lambda: 1.0, lambda: 2, lambda: None)
    for _ in range(3):
        admit()
    assert told == [{"waited_ms": 1000, "media_commands": 2}] * 2


async def test_an_INVITE_that_waited_in_the_socket_gets_503_with_Retry_After():
    transport = await sip.Transport.open(Address(HOST, 0), lambda leg, _invite: leg.reject(486), sip.UaConfig())
    transport.agent.admit = Admission(transport.waited_s, lambda: 0, lambda: None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind((HOST, 0))
        caller.setblocking(False)
        loop = asyncio.get_running_loop()

        async def call(number: int, *, late: bool = False) -> str:
            invite = INVITE.format(host=HOST, port=caller.getsockname()[1]).replace("Call-ID: 1", f"Call-ID: {number}")
            caller.sendto(invite.replace("bK1", f"bK{number}").encode(), transport.address)
            if late:
                time.sleep(OVERLOAD_WAIT_S + 0.05)  # noqa: ASYNC251  the loop is busy with something else
            async with asyncio.timeout(2):
                return (await loop.sock_recv(caller, 4096)).decode()

        assert (await call(1)).startswith("SIP/2.0 486 ")
        for number in range(2, 22):  # the kernel begins to keep times a moment after it was first asked for one
            refusal = await call(number, late=True)
            if " 503 " in refusal:
                break
        assert refusal.startswith("SIP/2.0 503 ")
        assert f"\r\nRetry-After: {OVERLOAD_RETRY_S}\r\n" in refusal
        assert (await call(1000)).startswith("SIP/2.0 486 ")
    transport.close()
