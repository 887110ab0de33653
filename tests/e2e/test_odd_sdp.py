"""Session descriptions as phones write them, and those that must be refused, octet by octet through the whole stack."""

from __future__ import annotations

import pytest

from tests.e2e.ivr import SCRIPTED_GET
from tests.integration.kemi_support import Dialog, Endpoint, Message, ack_of_failure, reply
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 41000 RTP/AVP 0 101\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)
SECURE = SDP.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
MIXED = "multipart/mixed; boundary=b1"
PARTS = (
    f"--b1\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b1\r\nContent-Type: application/isup\r\n"
    "Content-Disposition: signal;handling=optional\r\n\r\n\x01\x02\r\n--b1--\r\n"
)

TAKEN = {
    "lifetime": f"{SECURE}|2^31\r\n",
    "mki": f"{SECURE}|2^20|1:4\r\n",
    "two keys": f"{SECURE}|2^20|1:4;inline:{KEY}|2^20|2:4\r\n",
    "blanks": SDP.replace("\r\n", " \r\n"),
    "empty line": SDP.replace("m=", "\r\nm="),
    "lf": SDP.replace("\r\n", "\n"),
    "nul": SDP + "\0",
    "lower case": SDP.replace("RTP/AVP", "rtp/avp"),
    "no s= and t=": SDP.replace("s=-\r\n", "").replace("t=0 0\r\n", ""),
    "unused host": SDP.replace("c=IN IP4 {host}", "c=IN IP4 pbx.example.invalid") + "c=IN IP4 {host}\r\n",
    "gsm": SDP.replace("AVP 0 101", "AVP 3 101"),
    "speex": SDP.replace("AVP 0 101", "AVP 97 101") + "a=rtpmap:97 speex/16000\r\n",
    "g722": SDP.replace("AVP 0 101", "AVP 9 101") + "a=rtpmap:9 G722/16000\r\n",
    "parts": PARTS,
}
REFUSED = {
    "multicast": SDP.replace("c=IN IP4 {host}", "c=IN IP4 224.0.0.1"),
    "port": SDP.replace("41000", "99999"),
    "negative": SDP.replace("41000", "-1"),
    "version": SDP.replace("v=0", "v=1") + "[" * 3000 + "\r\n",
    "short key": SECURE.replace(KEY, "AAAA") + "\r\n",
}


@pytest.mark.parametrize("name", TAKEN)
async def test_a_phones_habit_is_understood(stack: RunningStack, web: FakeWebApp, caller: str, name: str) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with Endpoint.at(stack.net.carrier, 0) as phone:
        phone.port = phone._transport.get_extra_info("sockname")[1]
        invite = _invite(stack, phone, caller, TAKEN[name], MIXED if name == "parts" else "application/sdp")
        phone.send(invite, stack.net.sip)
        answer = await phone.receive(200)
        assert "m=audio" in answer.body
        phone.send(Dialog.of_caller(phone, invite, answer).request("ACK"), stack.net.sip)
        phone.send(reply(await phone.receive("BYE"), "200 OK"), stack.net.sip)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_hostile_one_is_refused(stack: RunningStack, caller: str, name: str) -> None:
    async with Endpoint.at(stack.net.carrier, 0) as phone:
        phone.port = phone._transport.get_extra_info("sockname")[1]
        invite = _invite(stack, phone, caller, REFUSED[name], "application/sdp")
        phone.send(invite, stack.net.sip)
        phone.send(ack_of_failure(invite, await phone.receive(488)), stack.net.sip)


def _invite(stack: RunningStack, phone: Endpoint, caller: str, body: str, content_type: str) -> Message:
    uri = f"sip:{SCRIPTED_GET}@{stack.net.sip[0]}:{stack.net.sip[1]}"
    return phone.request(
        "INVITE",
        uri,
        body=body.replace("{host}", stack.net.carrier),
        Content_Type=content_type,
        From=f"<sip:{caller}@{phone.host}>;tag=1",
    )
