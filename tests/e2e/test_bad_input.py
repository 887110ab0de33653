"""Bad input from the network: it gets a clear answer or none, and the next call works."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_GET
from tests.support.rtp import RtpEndpoint
from tests.support.sipp import Sipp
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

UNKNOWN_CODEC = """\
v=0
o=phone 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 97
a=rtpmap:97 SMOKE-SIGNALS/8000
"""
GARBAGE_SDP = "v=0\nthis is no session description\n"
INVITE = (
    "INVITE sip:000*100@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKbad1\r\n"
    "From: <sip:1@x>;tag=1\r\nTo: <sip:000*100@{host}>\r\nCall-ID: bad\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
)


async def refused(stack: RunningStack, status: int, service: str = SCRIPTED_GET, **options: str | None) -> None:
    """Place a call that must be refused with this status."""
    refused_with = {'<recv response="404"/>': f'<recv response="{status}"/>'}
    async with Sipp(
        "refused",
        local=options.get("local") or stack.net.carrier,
        target=stack.net.sip,
        service=service,
        sdp=options.get("sdp"),
        replace=refused_with,
    ) as sipp:
        await sipp.finished()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _next_call_goes_through(call: PlaceCall, web: FakeWebApp, caller: str) -> AsyncIterator[None]:
    """A good call right after it still works."""
    yield
    web.on(caller, actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.hung_up()


@pytest.mark.parametrize("number", ["000*999", "999", "+4912345", "000*100x", "anonymous"])
async def test_unknown_number_gets_404(stack: RunningStack, number: str) -> None:
    await refused(stack, 404, number)


async def test_unknown_source_gets_403(stack: RunningStack) -> None:
    await refused(stack, 403, local=stack.net.stranger)


async def test_no_common_codec_gets_488(stack: RunningStack) -> None:
    await refused(stack, 488, sdp=UNKNOWN_CODEC)


async def test_malformed_sdp_gets_488(stack: RunningStack) -> None:
    await refused(stack, 488, sdp=GARBAGE_SDP)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\r\n\r\n",
        b"\x00" * 500,
        b"INVITE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKnobody\r\nCSeq: 1 INVITE\r\n\r\n",
        (INVITE + "CSeq: x\r\n\r\n").encode(),
        INVITE.replace("CSeq: 1 INVITE", "CSeq: 1 BYE").encode() + b"\r\n",
        INVITE.encode() + b"Content-Type: application/sdp\r\nContent-Length: 99999\r\n\r\nv=0",
        INVITE.encode() + b"X-CI-Call: \xff\xfe\r\nSubject: \xc3\x28\r\nContent-Length: 0\r\n\r\n",
        INVITE.replace("000*100@", "%00%0d%0a@").encode() + b"\r\n",
        INVITE.encode() + b"X-Long: " + b"a" * 60_000 + b"\r\n\r\n",
    ],
)
async def test_malformed_sip_never_hurts(stack: RunningStack, message: bytes) -> None:
    """It is answered with an error or dropped, never with a 200."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind((stack.net.carrier, 0))
        source = f"{stack.net.carrier}:{sender.getsockname()[1]}"
        filled = message.replace(b"{source}", source.encode()).replace(b"{host}", stack.net.stack.encode())
        await loop.sock_sendto(sender, filled, stack.net.sip)
        try:
            async with asyncio.timeout(0.5):
                while (reply := await loop.sock_recv(sender, 65536)).startswith(b"SIP/2.0 1"):
                    pass
        except TimeoutError:
            return
        assert reply.startswith((b"SIP/2.0 4", b"SIP/2.0 5"))


async def test_private_headers_from_outside_are_ignored(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<Hangup/>"))
    allow = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE"
    forged = "X-CI-Entry: ivr=000*102&context=menu&option=start\n      x-ci-call: call_id=1"
    async with Sipp(
        "caller",
        local=stack.net.carrier,
        target=stack.net.sip,
        service=SCRIPTED_GET,
        from_=f"<sip:{caller}@carrier>",
        replace={allow: forged},
    ) as sipp:
        request = await web.request(caller)
        await sipp.finished()
        assert not [entry.text for entry in sipp.messages() if not entry.sent and "x-ci-" in entry.text.lower()]
    assert request.path == "/get"
    assert request.parameters["CalledExtension"] == SCRIPTED_GET
    assert len(request.parameters["CallID"]) == 32


async def test_a_phone_that_sends_no_sound_can_still_listen(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, actions("<PlaySound>tone-440-400.wav</PlaySound><Hangup/>"))
    async with call(SCRIPTED_GET, sound=RtpEndpoint(stack.net.carrier, quiet=True)) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(440) == pytest.approx(0.4, abs=0.12)


@pytest.mark.parametrize(
    ("good", "bad"),
    [("\r\n", "\n"), ("\r\nTo:", "\nTo:"), ("\r\nFrom:", "\rX: 1\r\nFrom:"), ("Call-ID: bad", "Call-ID: ")],
)
async def test_what_kamailio_takes_and_a_sidecar_does_not_is_refused_at_once(
    stack: RunningStack, good: str, bad: str
) -> None:
    """A sidecar that did not answer would count as dead."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind((stack.net.carrier, 0))
        source = f"{stack.net.carrier}:{sender.getsockname()[1]}"
        invite = INVITE.format(host=stack.net.stack, source=source)
        invite += f"Contact: <sip:{source}>\r\nContent-Length: 0\r\n\r\n"
        assert good in invite
        sent = invite.replace(good, bad).replace("bad", f"bad{sender.getsockname()[1]}")
        await loop.sock_sendto(sender, sent.encode(), stack.net.sip)
        async with asyncio.timeout(PATIENT_S):
            while (reply := await loop.sock_recv(sender, 65536)).startswith(b"SIP/2.0 1"):
                pass
    assert reply.startswith(b"SIP/2.0 400 ")
