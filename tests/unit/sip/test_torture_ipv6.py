"""RFC 5118: torture messages with IPv6, written anew from the RFC's descriptions, at a sidecar."""

import pytest

from tests.unit.sip.test_torture import INVITE, OPTIONS, lines
from tests.unit.sip.world import SDP, World

VIA = "Via: SIP/2.0/UDP [2001:db8::9:1]"
SDP_6 = SDP.replace(b"IN IP4 127.10.0.3", b"IN IP6 2001:db8::20")
SDP_MAPPED = SDP.replace(b"IN IP4 127.10.0.3", b"IN IP6 ::ffff:192.0.2.2")
BOTH = SDP.replace(b"t=0 0\r\n", b"t=0 0\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\n")

ANSWERED = {
    "4.1 an address in brackets": (lines("OPTIONS sip:[2001:db8::10] SIP/2.0", Via=f"{VIA};branch=z9hG4bK1"), 200),
    "4.2 an address without brackets": (lines("OPTIONS sip:2001:db8::10 SIP/2.0"), 400),
    "4.3 a port that is part of the address": (lines("OPTIONS sip:[2001:db8::10:5070] SIP/2.0"), 200),
    "4.4 a port": (lines("OPTIONS sip:[2001:db8::10]:5070 SIP/2.0"), 200),
    "4.5 received, in brackets": (lines(OPTIONS, Via=f"{VIA};received=[2001:db8::9:255];branch=z9hG4bK1"), 200),
    "4.5 received, without": (lines(OPTIONS, Via=f"{VIA};received=2001:db8::9:255;branch=z9hG4bK1"), 200),
    "4.7 Vias of both families": (
        lines(OPTIONS, "Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK2", f"{VIA};received=[2001:db8::9:255];branch=z9"),
        200,
    ),
    "4.10 three colons, as the grammar of RFC 3261 has them": (
        lines("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0"),
        200,
    ),
    "4.10 two colons": (lines("OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0"), 200),
    "empty brackets": (lines("OPTIONS sip:user@[] SIP/2.0"), 400),
}

ACCEPTED = {
    "4.6 SDP": lines(INVITE, body=SDP_6, Contact="Contact: <sip:caller@[2001:db8::20]>"),
    "4.8 SDP of both families": lines(INVITE, body=BOTH),
    "4.9 an IPv4 address in IPv6": lines(
        INVITE, body=SDP_MAPPED, Contact='Contact: "T. desk phone" <sip:ted@[::ffff:192.0.2.2]>'
    ),
    "4.10 a Contact with three colons": lines(INVITE, body=SDP, Contact="Contact: <sip:u@[2001:db8:::192.0.2.1]>"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_rfc_5118_answered(name: str) -> None:
    data, status = ANSWERED[name]
    world = World()
    assert [answer.status for answer in world.receive(data)] == [status]
    world.assert_nothing_left()


@pytest.mark.parametrize("name", ACCEPTED)
def test_rfc_5118_accepted(name: str) -> None:
    world = World()
    (answer,) = world.receive(ACCEPTED[name])
    assert answer.status == 100
    ((leg, _invite),) = world.calls
    leg.reject(486)
    world.assert_nothing_left()
