"""RFC 4475 torture messages, written anew from the RFC's descriptions: answered correctly or dropped.

Never an exception, never a 200 to garbage, and nothing left behind.
"""

import pytest

from tests.unit.sip.world import CALLER_CONTACT, SDP, World

VIA = "Via: SIP/2.0/UDP 127.10.0.2:5060;branch=z9hG4bKtorture"
CONTACT = f"Contact: {CALLER_CONTACT}"


def lines(start: str, *headers: str, body: bytes = b"", **replaced: str | None) -> bytes:
    """A sound message, with headers added, replaced by name (Content_Length=...), or left out (None)."""
    method = start.split(" ", maxsplit=1)[0]
    fields: dict[str, str | None] = {
        "Via": VIA,
        "From": "From: <sip:a@example.org>;tag=f1",
        "To": "To: <sip:b@example.com>",
        "Call-ID": "Call-ID: torture@example.org",
        "CSeq": f"CSeq: 1 {method}",
        "Max-Forwards": "Max-Forwards: 70",
        "Content-Length": f"Content-Length: {len(body)}",
    }
    if method == "INVITE":
        fields["Contact"] = CONTACT
        if body:
            fields["Content-Type"] = "Content-Type: application/sdp"
    fields |= {name.replace("_", "-"): line for name, line in replaced.items()}
    head = [start, *[line for line in fields.values() if line], *headers, "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + body


OPTIONS = "OPTIONS sip:b@127.10.0.1:20000 SIP/2.0"
INVITE = "INVITE sip:b@127.10.0.1:20000 SIP/2.0"
REGISTER = "REGISTER sip:example.com SIP/2.0"

TORTUOUS = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    b"MaX-fOrWaRdS: 0068\r\n"
    b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    b"Content-Length   : 0\r\n"
    b"cseq: 0009\r\n  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n"
    b"s :\r\n"
    b"NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n   newvalue ;\r\n secondparam ; q = 0.33\r\n'
    b"\r\n"
)

ANSWERED = {
    # 3.1.1 valid messages
    "3.1.1.1 wsinv: folding, spaces, compact forms; its dialog is unknown": (TORTUOUS, 481),
    "3.1.1.2 intmeth: a method of every token character": (
        lines(
            "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has"
            "=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
            From='From: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI@example.com>;tag=938',
        ),
        501,
    ),
    "3.1.1.4 escnull: %00 in URIs": (
        lines(
            REGISTER,
            From="From: sip:null-%00-null@example.com;tag=839923423",
            Contact="Contact: <sip:%00@host5.example.com>",
        ),
        405,
    ),
    "3.1.1.5 esc02: a per-cent sign in a method is no escape": (
        lines("RE%47IST%45R sip:registrar.example.com SIP/2.0", To='To: "%Z%45" <sip:resource@example.com>'),
        501,
    ),
    "3.1.1.6 lwsdisp: no space before <": (lines(OPTIONS, From="From: caller<sip:caller@example.com>;tag=323"), 200),
    "3.1.1.8 dblreq: what follows Content-Length is not ours": (lines(OPTIONS) + lines(INVITE), 200),
    "3.1.1.9 semiuri: semicolons in the user part": (
        lines("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0"),
        200,
    ),
    "3.1.1.10 transports: Vias of any transport": (
        lines(
            OPTIONS,
            "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bKy",
            "Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9h",
            "Via: SIP/2.0/SCTP t5.example.com;branch=z9hG4bKk",
        ),
        200,
    ),
    "3.1.1.11 mpart01: MESSAGE with a multipart body": (
        lines("MESSAGE sip:kumiko@example.org SIP/2.0", Content_Type="Content-Type: multipart/mixed;boundary=7"),
        405,
    ),
    # 3.1.2 invalid messages
    "3.1.2.1 badinv01: separators without parameters": (lines(INVITE, Contact='Contact: "J" <sip:j@e.org>;;;;'), 400),
    "3.1.2.1 badinv01: in a Via below the top": (lines(INVITE, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,"), 400),
    "3.1.2.2 clerr: body shorter than Content-Length": (
        lines(INVITE, body=SDP, Content_Length="Content-Length: 9999"),
        400,
    ),
    "3.1.2.3 ncl: negative Content-Length": (lines(INVITE, body=SDP, Content_Length="Content-Length: -999"), 400),
    "3.1.2.4 scalar02: CSeq beyond 32 bits": (lines(REGISTER, CSeq="CSeq: 36893488147419103232 REGISTER"), 400),
    "3.1.2.4 scalar02: Max-Forwards beyond 255": (lines(REGISTER, Max_Forwards="Max-Forwards: 300"), 400),
    "3.1.2.6 quotbal: unbalanced quote": (lines(INVITE, To='To: "Mr. J. User <sip:j.user@example.com>'), 400),
    "3.1.2.7 ltgtruri: <> around the Request-URI": (lines("INVITE <sip:user@example.com> SIP/2.0"), 400),
    "3.1.2.8 lwsruri: space in the Request-URI": (lines("INVITE sip:user@example.com; lr SIP/2.0"), 400),
    "3.1.2.9 lwsstart: two spaces in the request line": (lines("INVITE  sip:user@example.com  SIP/2.0"), 400),
    "3.1.2.10 trws: space after the version": (lines("OPTIONS sip:remote@example.com SIP/2.0  "), 400),
    "3.1.2.11 escruri: headers in the Request-URI": (
        lines("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0"),
        400,
    ),
    "3.1.2.13 regbadct: a Contact with ? needs <>": (
        lines(INVITE, Contact="Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
        400,
    ),
    "3.1.2.14 badaspec: spaces within <>": (lines(OPTIONS, To='To: "Watson, Thomas" < sip:t@example.org >'), 400),
    "3.1.2.15 baddn: comma in a display name without quotes; it is plain what is meant": (
        lines(OPTIONS, From="From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
        200,
    ),
    "3.1.2.16 badvers: unknown version": (lines("OPTIONS sip:t.watson@example.org SIP/7.0"), 505),
    "3.1.2.17 mismatch01: methods of start line and CSeq differ": (lines(OPTIONS, CSeq="CSeq: 8 INVITE"), 400),
    "3.1.2.18 mismatch02: the same for an unknown method": (
        lines("NEWMETHOD sip:user@example.com SIP/2.0", CSeq="CSeq: 8 INVITE"),
        400,
    ),
    # 3.2 transaction layer
    "3.2.1 badbranch: the magic cookie and nothing else": (
        lines(OPTIONS, Via="Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
        200,
    ),
    # 3.3 application layer
    "3.3.2 unkscm: unknown scheme": (lines("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), 416),
    "3.3.3 novelsc: a known scheme that is not SIP's": (lines("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), 416),
    "3.3.4 unksm2: unknown schemes in From and To": (
        lines(REGISTER, To="To: isbn:2983792873", From="From: <http://www.example.com>;tag=3234233"),
        405,
    ),
    "3.3.5 bext01: Require of the unknown": (
        lines(
            OPTIONS, "Require: nothingSupportsThis, nothingSupportsThisEither", "Proxy-Require: noProxiesSupportThis"
        ),
        420,
    ),
    "3.3.6 invut: INVITE of an unknown body type": (
        lines(INVITE, body=b"<audio>", Content_Type="Content-Type: application/unknownformat"),
        415,
    ),
    "3.3.8 multi01: several values where one is allowed": (
        lines(INVITE, "CSeq: 59 INVITE", "Call-ID: other@192.0.2.2", "From: sip:other@caller.net;tag=1"),
        400,
    ),
    "3.3.9 mcl01: contradicting Content-Lengths": (lines(OPTIONS, "Content-Length: 5", body=b"There"), 400),
    "3.3.11 zeromf: Max-Forwards 0 at its destination": (lines(OPTIONS, Max_Forwards="Max-Forwards: 0"), 200),
    "3.3.15 sdp01: accepts no session description": (lines(INVITE, "Accept: text/nobodyKnowsThis", body=SDP), 406),
    # beyond the RFC
    "a header line without colon": (lines(OPTIONS, "This is no header"), 400),
    "a bare LF hides a header": (lines(OPTIONS, "Subject: a\nEvil: b"), 400),
    "lines that end with LF": (lines(INVITE, body=SDP).replace(b"\r\n", b"\n"), 400),
    "one of the lines ends with LF": (lines(INVITE).replace(b"\r\nTo:", b"\nTo:"), 400),
    "an LF within a Via": (lines(INVITE, Via=VIA.replace("Via: ", "Via:\n\t")), 400),
    "an LF before the end of a line": (lines(INVITE, Call_ID="Call-ID: torture@example.org\n "), 400),
    "a Via that ends with CR": (lines(INVITE, Via=f"{VIA}\rSubject: x"), 400),
    "an empty Call-ID": (lines(INVITE, Call_ID="Call-ID: "), 400),
    "headers without an end": (lines(OPTIONS)[:-2], 400),
    "Call-ID with a space": (lines(OPTIONS, Call_ID="Call-ID: a b"), 400),
    "INVITE without Contact": (lines(INVITE, Contact=None), 400),
    "INVITE with two Contacts": (lines(INVITE, CONTACT), 400),
    "Contact that is no URI": (lines(INVITE, Contact="Contact: <host>"), 400),
    "Contact of a scheme and nothing else": (lines(INVITE, Contact="Contact: <sip:>"), 400),
    "INVITE with an unreadable Record-Route": (lines(INVITE, "Record-Route: <nonsense"), 400),
    "Session-Expires that is no number": (lines(INVITE, "Session-Expires: soon"), 400),
    "encoded body": (lines(INVITE, "Content-Encoding: gzip", body=SDP), 415),
    "a body of no type": (lines(INVITE, body=SDP, Content_Type=None), 415),
    "BYE of no dialog": (lines("BYE sip:b@127.10.0.1:20000 SIP/2.0"), 481),
    "CANCEL of nothing": (lines("CANCEL sip:b@127.10.0.1:20000 SIP/2.0"), 481),
}

ACCEPTED = {
    "3.1.1.3 esc01: escapes in URIs": lines(
        "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
        body=SDP,
        To="To: sip:%75se%72@example.com",
        From="From: <sip:I%20have%20spaces@example.net>;tag=938",
    ),
    "3.1.1.7 longreq: very long values": lines(
        INVITE,
        f"F{'o' * 1000}: {'value' * 2000}",
        body=SDP,
        Call_ID=f"Call-ID: {'long' * 500}@example.org",
        From=f"From: sip:{'amazinglylongcallername' * 20}@example.net;tag={'12' * 500};{'unknown' * 90}={'v' * 900}",
        To=f'To: "I have a user name of {"extreme" * 30} proportion"<sip:user@example.com:6000;{"u" * 90}=2;q>',
    ),
    "3.1.2.12 baddate: a Date that is not in GMT": lines(INVITE, "Date: Fri, 01 Jan 2010 16:00:00 EST", body=SDP),
    "3.4.1 inv2543: no branch, no From tag, no Max-Forwards": lines(
        INVITE,
        body=SDP,
        Via="Via: SIP/2.0/UDP iftgw.example.com",
        Max_Forwards=None,
        From="From: <sip:+13035551111@ift.client.com;user=phone>",
    ),
    "offerless": lines(INVITE),
    "tel Request-URI": lines("INVITE tel:+78123210001 SIP/2.0", body=SDP),
    "a display name in bare UTF-8": lines(INVITE, body=SDP, From="From: Иван Петров <sip:ivan@example.org>;tag=1"),
    "a display name of separators, in Latin-1": lines(
        INVITE, body=SDP, From="From: Jos\udce9 (US) & Co: @5/6, x <sip:+15550100@example.org>;tag=1"
    ),
    "tel in From, To and Request-URI": lines(
        "INVITE tel:+1-555-0199;phone-context=+1 SIP/2.0",
        body=SDP,
        From="From: tel:+1-(555).0100;tag=1",
        To="To: <tel:0199;phone-context=+1-555>",
    ),
    "a Contact and a Request-URI with # in the user part": lines(
        "INVITE sip:#31#332@127.10.0.1:20000 SIP/2.0", body=SDP, Contact="Contact: <sip:#31#306@127.10.0.3>"
    ),
    "invalid UTF-8 in a header": lines(INVITE, "Subject: \udcff\udcfe", body=SDP),
}

DROPPED = {
    "empty": b"",
    "keep-alive": b"\r\n\r\n",
    "binary": bytes(range(256)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "3.1.2.5 scalarlg: a response with overflowing scalars": lines(
        "SIP/2.0 503 Service Unavailable",
        Via="Via: SIP/2.0/UDP 127.10.0.1:20000;branch=z9hG4bKzzxdiwo34sw",
        CSeq="CSeq: 9292394834772304023312 OPTIONS",
    ),
    "3.1.2.19 bigcode: a status code beyond 999": lines("SIP/2.0 4294967301 better not break the receiver"),
    "3.1.1.12 unreason: bytes in a reason phrase, for no transaction": lines(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
        CSeq="CSeq: 35 INVITE",
        Via="Via: SIP/2.0/UDP 127.10.0.1:20000;branch=z9hG4bKkdjuw",
    ),
    "3.1.1.13 noreason: an empty reason phrase, for no transaction": lines(
        "SIP/2.0 100 ", CSeq="CSeq: 35 INVITE", Via="Via: SIP/2.0/UDP 127.10.0.1:20000;branch=z9hG4bKkdjuw"
    ),
    "3.3.1 insuf: neither Call-ID, From nor To": lines(INVITE, Call_ID=None, From=None, To=None),
    "3.3.10 bcast: a response that is not ours": lines(
        "SIP/2.0 200 OK", Via="Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23", CSeq="CSeq: 1 INVITE"
    ),
    "a response with two Vias": lines(
        "SIP/2.0 200 OK", VIA, Via="Via: SIP/2.0/UDP 127.10.0.1:20000;branch=z9hG4bK1", CSeq="CSeq: 1 INVITE"
    ),
    "a request without Via": lines(OPTIONS, Via=None),
    "3.1.2.1 badinv01: separators without parameters in the top Via": lines(
        INVITE, Via="Via: SIP/2.0/UDP 192.0.2.15;;,;,,"
    ),
    "a Via that cannot be read": lines(OPTIONS, Via="Via: SIP/2.0/UDP"),
    "malformed ACK": lines("ACK sip:b@127.10.0.1:20000 SIP/2.0", CSeq="CSeq: 1 INVITE"),
    "ACK of nothing": lines("ACK sip:b@127.10.0.1:20000 SIP/2.0", To="To: <sip:b@example.com>;tag=1"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_rfc_4475_answered(name: str) -> None:
    data, status = ANSWERED[name]
    world = World()
    answers = world.receive(data)
    assert [answer.status for answer in answers] == [status]
    assert not world.calls
    world.assert_nothing_left()


@pytest.mark.parametrize("name", ACCEPTED)
def test_rfc_4475_accepted(name: str) -> None:
    world = World()
    (answer,) = world.receive(ACCEPTED[name])
    assert answer.status == 100
    ((leg, _invite),) = world.calls
    leg.reject(486)
    assert world.sent[-1].status == 486
    world.assert_nothing_left()


@pytest.mark.parametrize("name", DROPPED)
def test_rfc_4475_dropped(name: str) -> None:
    world = World()
    assert world.receive(DROPPED[name]) == []
    assert world.alive == (0, 0, 0, 0)


def test_rfc_4475_refusals_say_what_would_do() -> None:
    world = World()
    (answer,) = world.receive(ANSWERED["3.3.5 bext01: Require of the unknown"][0])
    assert answer.get("Unsupported") == "nothingSupportsThis, nothingSupportsThisEither"
    (answer,) = world.receive(ANSWERED["3.3.6 invut: INVITE of an unknown body type"][0])
    assert answer.get("Accept") == "application/sdp"
    (answer,) = world.receive(ANSWERED["3.1.1.5 esc02: a per-cent sign in a method is no escape"][0])
    assert "INVITE" in answer.get("Allow")


def test_rfc_3261_8_2_7_a_repeated_malformed_request_gets_the_same_answer_without_state() -> None:
    world = World()
    data = ANSWERED["3.1.2.17 mismatch01: methods of start line and CSeq differ"][0]
    (first,), (second,) = world.receive(data), world.receive(data)
    assert first.data == second.data
    assert first.to_tag
    assert world.alive == (0, 0, 0, 0)
