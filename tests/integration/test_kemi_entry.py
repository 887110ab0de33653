"""A new call through a real Kamailio to a scripted sidecar: facts, checks, private headers (R2, C1, A14)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader, EntryHeader
from callinteractive.keys import ROUTES, SIGNATURES, derive
from callinteractive.signature import SIGNED, SignatureHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.support.timing import PATIENT_S

KEY = "0123456789abcdef" * 2

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), CALLINTERACTIVE_KEY=KEY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def phone(sidecar: Endpoint) -> AsyncIterator[Endpoint]:
    async with Endpoint.at(sip.EXTENSION, 22090) as endpoint:
        yield endpoint


async def entered(
    caller: Endpoint, sidecar: Endpoint, invite: Message, surplus: bytes = b""
) -> tuple[Message, CallFacts]:
    """The INVITE as the sidecar gets it. The sidecar then refuses it, so that nothing is left."""
    caller.send(bytes(invite) + surplus)
    got = await sidecar.receive("INVITE")
    sidecar.send(sip.reply(got, "100 Trying"))
    sidecar.send(sip.reply(got, "486 Busy Here", tag="x"))
    await sidecar.receive("ACK")
    final = await caller.receive(486)
    caller.send(sip.ack_of_failure(invite, final))
    return got, CallHeader.parse(got.get(CallHeader.NAME)).facts


async def refusal(caller: Endpoint, request: Message | bytes) -> Message:
    """The first reply that is not 100."""
    caller.send(request)
    answer = await caller.receive()
    if answer.status == 100:
        answer = await caller.receive()
    if isinstance(request, Message) and request.method == "INVITE":
        caller.send(sip.ack_of_failure(request, answer))
    return answer


@pytest.mark.parametrize(
    ("dialled", "user", "did"),
    [
        ("000*332", "000*332", None),
        ("000*332", "000%2A332", None),
        ("332", "332", None),
        ("+78123210001", "+78123210001", "+78123210001"),
        ("78123210001", "78123210001", "+78123210001"),
        ("+78123210001", "+78123210001;phone-context=x", "+78123210001"),
        ("3210001", "3210001;phone-context=+7812", "+78123210001"),  # P12
        ("+7-812-321.00(01)", "+7-812-321.00(01)", "+78123210001"),
    ],
)
async def test_external_caller_r2(trunk: Endpoint, sidecar: Endpoint, dialled: str, user: str, did: str | None) -> None:
    invite = trunk.invite(user, From=f'"Ivan" <sip:+79031234567@{sip.TRUNK}>;tag=1')
    got, facts = await entered(trunk, sidecar, invite)
    assert facts == CallFacts(
        call_id=facts.call_id,
        call_api_id=f"3584705175:{facts.call_id}",
        caller_number="+79031234567",
        caller_name="Ivan",
        called_number=dialled,
        called_did=did,
        called_extension="000*332",
        called_extension_id=145,
        sip_call_id=invite.get("Call-ID"),
    )
    assert len(facts.call_id) == 32
    assert set(facts.call_id) <= set("0123456789abcdef")
    assert EntryHeader.parse(got.get(EntryHeader.NAME)) == EntryHeader("000*332", "1", "start")
    assert got.uri == f"sip:{user}@{sip.SIDECAR}:{got.uri[-5:]}"
    assert got.body == sip.SDP


@pytest.mark.parametrize(
    ("uri", "dialled"),
    [
        ("tel:+7-812-3210001", "+7-812-3210001"),
        ("TEL:+7(812)321.00.01;ext=5", "+7(812)321.00.01"),
        ("tel:321-0001;phone-context=+7-812", "321-0001"),
        ("sip:3210001;phone-context=+7812@h;user=phone", "3210001"),
    ],
)
async def test_telephone_uri_leads_to_the_did_p12(trunk: Endpoint, sidecar: Endpoint, uri: str, dialled: str) -> None:
    _, facts = await entered(trunk, sidecar, trunk.request("INVITE", uri, body=sip.SDP))
    assert (facts.called_did, facts.called_number) == ("+78123210001", dialled)


async def test_blanks_of_a_stranger_stop_no_worker_s2(trunk: Endpoint, sidecar: Endpoint) -> None:
    for bad in (f"a{' ' * 6000}b <sip:7@h>;tag=1", f"a{' ' * 6000}b", f'"{" " * 6000}<sip:7@h>;tag=1'):
        for header in ({"From": bad}, {"From": "<sip:anonymous@h>;tag=1", "P_Asserted_Identity": bad}):
            for _ in range(10):
                trunk.send(trunk.invite("332", **header))
    began = time.monotonic()
    invite = trunk.invite("000*332")

    async def send() -> None:
        """Again and again: so many octets fill Kamailio's socket, and some are lost (RFC 3261 17.1.1.2)."""
        while True:
            trunk.send(invite)
            await asyncio.sleep(0.5)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(PATIENT_S):
            while (got := await sidecar.receive("INVITE")).get("Call-ID") != invite.get("Call-ID"):
                sidecar.send(sip.reply(got, "486 Busy Here", tag="x"))  # or it would count as silent
            sidecar.send(sip.reply(got, "486 Busy Here", tag="x"))
            while (final := await trunk.receive(486)).get("Call-ID") != invite.get("Call-ID"):
                pass
    finally:
        sending.cancel()
    trunk.send(sip.ack_of_failure(invite, final))
    assert time.monotonic() - began < 5


async def test_internal_caller_has_its_extension_r2(phone: Endpoint, sidecar: Endpoint) -> None:
    _, facts = await entered(phone, sidecar, phone.invite("332", From=f"<sip:306@{sip.EXTENSION}>;tag=1"))
    assert (facts.caller_extension, facts.caller_extension_id) == ("000*306", 134)
    assert (facts.caller_number, facts.caller_name) == ("306", "")


@pytest.mark.parametrize(
    ("header", "name", "number"),
    [
        ('"Иван \\"X\\"" <sip:%D0%B0@h>;tag=1', 'Иван "X"', "а"),
        ("Ivan Ivanov <sip:7@h>;tag=1", "Ivan Ivanov", "7"),
        ("sip:7@h;tag=1", "", "7"),
        ("<tel:+7812;phone-context=x>;tag=1", "", "+7812"),
        ('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1', "Petr", "+74951112233"),
        ("\udce9 Jos\udce9 <sip:7@h>;tag=1", "\ufffd Jos\ufffd", "7"),  # P9
        ('"\udcff\udcfe" <sip:7@h>;tag=1', "\ufffd\ufffd", "7"),
        ("WIRELESS CALLER (US) <sip:7@h>;tag=1", "WIRELESS CALLER (US)", "7"),  # P10
        ("a&b@c/d:e, f <sip:7@h>;tag=1", "a&b@c/d:e, f", "7"),
    ],
)
async def test_caller_as_from_says_or_asserted_r2(
    trunk: Endpoint, sidecar: Endpoint, header: str, name: str, number: str
) -> None:
    invite = trunk.invite("332", From=header, P_Asserted_Identity='"Petr" <sip:+74951112233@h>')
    _, facts = await entered(trunk, sidecar, invite)
    assert (facts.caller_name, facts.caller_number) == (name, number)


async def test_every_call_has_its_own_id_r2(trunk: Endpoint, sidecar: Endpoint) -> None:
    ids = [(await entered(trunk, sidecar, trunk.invite("332")))[1].call_id for _ in range(3)]
    assert len(set(ids)) == 3


async def test_private_headers_of_outsiders_are_removed(trunk: Endpoint, sidecar: Endpoint) -> None:
    forged = {"X_CI_Call": "call_id=forged", "x_ci_entry": "context=9", "X_Ci_Other": "1", "X_Customer": "kept"}
    got, facts = await entered(trunk, sidecar, trunk.invite("332", **forged))
    assert sorted(got.private()) == ["X-CI-Call", "X-CI-Entry", "X-CI-Generation", "X-CI-Signature"]
    assert facts.call_id != "forged"
    assert got.get("X-Customer") == "kept"


async def test_a_sidecar_can_tell_that_kamailio_sends_it_s8(trunk: Endpoint, sidecar: Endpoint) -> None:
    got, _ = await entered(trunk, sidecar, trunk.invite("332", X_CI_Signature="t=1;v1=" + "0" * 64))
    signature = SignatureHeader.parse(got.get(SignatureHeader.NAME))
    key = derive(bytes.fromhex(KEY), SIGNATURES)
    values = {name: got.get(name) for name in SIGNED}
    assert signature.is_valid(key, time.time(), got.get("Call-ID"), values)
    assert not signature.is_valid(key, time.time(), "another", values)
    assert not signature.is_valid(key, time.time(), got.get("Call-ID"), values | {"X-CI-Result": "code=486"})
    assert not signature.is_valid(derive(bytes.fromhex(KEY), ROUTES), time.time(), got.get("Call-ID"), values)


async def test_no_private_header_reaches_the_caller(trunk: Endpoint, sidecar: Endpoint) -> None:
    for final in ("200 OK", "486 Busy Here", "488 Not Acceptable Here"):
        invite = trunk.invite("332")
        trunk.send(invite)
        got = await sidecar.receive("INVITE")
        secret = {"X_CI_Plan": "1", "x_ci_state": "2", "Contact": f"<sip:s@{sip.SIDECAR}:22070>"}
        for status in ("180 Ringing", "183 Session Progress", final):
            sidecar.send(sip.reply(got, status, tag="t", **secret))
            answer = await trunk.receive(int(status[:3]))
            assert not answer.private()
        if final != "200 OK":
            trunk.send(sip.ack_of_failure(invite, answer))
            await sidecar.receive("ACK")


async def test_route_of_an_outbound_proxy_phone_goes_no_further(phone: Endpoint, sidecar: Endpoint) -> None:
    invite = phone.invite("332", Route=f"<sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]};lr>")
    got, _ = await entered(phone, sidecar, invite)
    assert got.all("Route") == []


async def test_stranger_gets_403(kamailio: RunningKamailio) -> None:
    async with Endpoint.at(sip.STRANGER, 22080) as stranger:
        assert (await refusal(stranger, stranger.invite("332"))).status == 403


async def test_unknown_number_gets_404(trunk: Endpoint) -> None:
    for number in ("999", "000*306", "+74950000000", "x%20y", "a%0D%0Ab"):
        assert (await refusal(trunk, trunk.invite(number))).status == 404, number
    nobody = trunk.request("INVITE", f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}", body=sip.SDP)
    assert (await refusal(trunk, nobody)).status == 404


@pytest.mark.parametrize(("hops", "status"), [("0", 483), ("x", 400), ("-1", 400), ("7 0", 400)])
async def test_rfc_3261_16_3_max_forwards_that_lead_no_further(trunk: Endpoint, hops: str, status: int) -> None:
    assert (await refusal(trunk, trunk.invite("332", Max_Forwards=hops))).status == status


@pytest.mark.parametrize(("has", "leaves"), [("", "70"), ("20", "19"), ("300", "70")])
async def test_rfc_3261_16_6_max_forwards(trunk: Endpoint, sidecar: Endpoint, has: str, leaves: str) -> None:
    got, _ = await entered(trunk, sidecar, trunk.invite("332", Max_Forwards=has))
    assert got.all("Max-Forwards") == [leaves]


async def test_rfc_3261_21_5_7_a_large_invite(trunk: Endpoint, sidecar: Endpoint) -> None:
    """Kamailio sends no CANCEL and no ACK for one that leaves with more than 32,767 octets."""
    await entered(trunk, sidecar, trunk.invite("332", X_Pad="x" * 23_000))
    assert (await refusal(trunk, trunk.invite("332", X_Pad="x" * 33_000))).status == 513


async def test_user_part_that_is_not_utf8_gets_400(trunk: Endpoint) -> None:
    raw = bytes(trunk.invite("332@@@")).replace(b"332@@@", b"332\xff\xfe")
    answer = await refusal(trunk, raw)
    assert answer.status == 400
    assert answer.start == "SIP/2.0 400 Not UTF-8"
    assert (await refusal(trunk, trunk.invite("%FF%FE"))).status == 400


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"CSeq: 1 INVITE", b"CSeq: 1 OPTIONS"),
        (b"CSeq: 1 INVITE", b"CSeq: x INVITE"),
        (b"From: <", b"From: <>;tag=1, <"),
        (b"From: <sip:", b"From: nobody;tag=1 "),
        (b"INVITE sip:332@", b"INVITE sip:@"),
        (b"INVITE sip:332@", b"INVITE sip:332@2001:db8::"),  # RFC 5118 4.2
        (b"Call-ID: ", b"Call-ID: \x07"),
        (b"INVITE sip", b"INVIT\xc9 sip"),
    ],
)
async def test_malformed_is_refused(trunk: Endpoint, good: bytes, bad: bytes) -> None:
    raw = bytes(trunk.invite("332"))
    assert good in raw
    assert (await refusal(trunk, raw.replace(good, bad, 1))).status == 400


@pytest.mark.parametrize("body", [b"a\nl: 1", b"\xe9"], ids=["length", "latin-1"])
async def test_malformed_without_a_content_length_is_refused(trunk: Endpoint, body: bytes) -> None:
    lines = bytes(trunk.invite("332", body="x")).replace(b"1 INVITE", b"1 BYE").split(b"\r\n")
    raw = b"\r\n".join(line for line in lines[:-1] if not line.startswith(b"Content-Length"))
    assert (await refusal(trunk, raw + b"\r\n" + body)).status == 400


@pytest.mark.parametrize("surplus", [b"\r\n", b"\0\0\0\0", "\u0416".encode(), b"INVITE sip:x@y SIP/2.0\r\n\r\n"])
@pytest.mark.parametrize("body", [sip.SDP, "", "\u0416"], ids=["sdp", "none", "utf8"])
async def test_rfc_3261_18_3_what_is_behind_the_body_is_discarded(
    trunk: Endpoint, sidecar: Endpoint, body: str, surplus: bytes
) -> None:
    for has, leaves in (("70", "69"), ("", "70")):
        headers = {"From": '"\u0418\u0432\u0430\u043d" <sip:7@h>;tag=1', "X_CI_Call": "call_id=forged"}
        invite = trunk.invite("332", body=body, **(headers | {"Max_Forwards": has}))
        got, facts = await entered(trunk, sidecar, invite, surplus)
        assert (got.body, got.get("Content-Length")) == (body, str(len(body.encode())))
        assert (got.all("Max-Forwards"), facts.caller_name) == ([leaves], "\u0418\u0432\u0430\u043d")
        assert len(got.all("X-CI-Call")) == 1


@pytest.mark.parametrize(("sent", "repeated"), [("54", ["54"]), ("54.3 0.2", ["54.3 0.2"]), ("", []), ("5,x", [])])
async def test_rfc_3261_8_2_6_1_our_100_repeats_the_timestamp(
    trunk: Endpoint, sidecar: Endpoint, sent: str, repeated: list[str]
) -> None:
    invite = trunk.invite("332", Timestamp=sent)
    trunk.send(invite)
    assert (await trunk.receive_only(100)).all("Timestamp") == repeated
    got = await sidecar.receive("INVITE")
    answer = sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>")
    sidecar.send(answer)
    dialog = sip.Dialog.of_caller(trunk, invite, await trunk.receive_only(200))
    trunk.send(dialog.request("ACK"))
    again = dialog.request("INVITE", body=sip.SDP, Timestamp=sent)
    trunk.send(again)
    assert (await trunk.receive_only(100)).all("Timestamp") == repeated
    sidecar.send(sip.reply(await sidecar.receive("INVITE"), "488 Not Here"))
    trunk.send(sip.ack_of_failure(again, await trunk.receive_only(488)))
    trunk.send(dialog.request("BYE"))
    sidecar.send(sip.reply(await sidecar.receive("BYE"), "200 OK"))
    await trunk.receive_only(200)


async def test_rfc_3261_18_3_a_body_that_is_too_short_gets_400(trunk: Endpoint) -> None:
    assert (await refusal(trunk, bytes(trunk.invite("332"))[:-1])).status == 400


@pytest.mark.parametrize("body", [sip.SDP, sip.SDP + "a=x:\udce9\r\n", ""], ids=["sdp", "latin-1", "none"])
async def test_rfc_3261_18_3_a_reply_whose_body_is_too_short_is_discarded(
    trunk: Endpoint, sidecar: Endpoint, body: str
) -> None:
    """It went on: a caller who uses TCP took what followed as its rest."""
    invite = trunk.invite("332")
    trunk.send(invite)
    got = await sidecar.receive("INVITE")
    for status in ("183 Session Progress", "486 Busy Here"):
        whole = bytes(sip.reply(got, status, tag="t", body=body))
        length = b"Content-Length: %d\r\n" % len(body.encode("utf-8", "surrogateescape"))
        assert length in whole
        sidecar.send(whole.replace(length, b"Content-Length: %d\r\n" % (len(whole) + 1)))
    sidecar.send(sip.reply(got, "404 Not Found", tag="t"))
    statuses = {(await trunk.receive()).status}
    while 404 not in statuses:
        statuses.add((answer := await trunk.receive()).status)
    assert statuses <= {100, 404}
    await sidecar.receive("ACK")
    trunk.send(sip.ack_of_failure(invite, answer))


@pytest.mark.parametrize(
    ("lengths", "passes"),
    [
        ("", True),
        ("content-Length\t:\r\n {}\r\n", True),
        ("L: {}\r\n", True),
        ("Content-Length: {}\r\nl: 0\r\n", False),
        ("l: {}\r\nX-Y: z\nContent-Length : 999\r\n", False),
        ("Content-Length: {}x\r\n", False),
        ("l: -5\r\n", False),
        ("L : 99999999999999999999\r\n", False),
        ("No header\r\nContent-Length: 0\r\n", False),
    ],
)
@pytest.mark.parametrize("reason", ["Progress", "Progr\udce8s"])
async def test_rfc_3261_20_14_a_reply_whose_length_is_not_plain_is_discarded(
    trunk: Endpoint, sidecar: Endpoint, lengths: str, reason: str, passes: bool
) -> None:
    """Two that differ passed as they were: a carrier that goes by the other one reads a next message in the body."""
    invite = trunk.invite("332")
    trunk.send(invite)
    got = await sidecar.receive("INVITE")
    plain = f"Content-Length: {len(sip.SDP)}\r\n"
    whole = bytes(sip.reply(got, f"183 {reason}", tag="t", body=sip.SDP))
    assert plain.encode() in whole
    sidecar.send(whole.replace(plain.encode(), lengths.format(len(sip.SDP)).encode()))
    if passes:
        assert (await trunk.receive(183)).body == sip.SDP
    sidecar.send(sip.reply(got, "404 Not Found", tag="t"))
    statuses = []
    while 404 not in statuses:
        statuses.append((answer := await trunk.receive()).status)
    assert 183 not in statuses
    await sidecar.receive("ACK")
    trunk.send(sip.ack_of_failure(invite, answer))


@pytest.mark.parametrize("status", ["183 Session Progress", "200 OK", "486 Busy Here"])
@pytest.mark.parametrize("method", ["BYE", "CANCEL"])
async def test_rfc_3261_17_1_3_a_reply_to_another_method_is_discarded(
    trunk: Endpoint, sidecar: Endpoint, method: str, status: str
) -> None:
    """It went on to the caller, past all that is done with replies."""
    invite = trunk.invite("332")
    trunk.send(invite)
    got = await sidecar.receive("INVITE")
    sidecar.send(bytes(sip.reply(got, status, tag="t")).replace(b"CSeq: 1 INVITE", f"CSeq: 1 {method}".encode()))
    sidecar.send(sip.reply(got, "404 Not Found", tag="t"))
    came = [await trunk.receive()]
    while came[-1].status != 404:
        came.append(await trunk.receive())
    assert {answer.get("CSeq") for answer in came} == {"1 INVITE"}
    await sidecar.receive("ACK")
    trunk.send(sip.ack_of_failure(invite, came[-1]))


@pytest.mark.parametrize("large", ["", "x" * 9_000], ids=["small", "large"])
async def test_rfc_3261_18_3_a_body_that_is_not_utf_8(trunk: Endpoint, sidecar: Endpoint, large: str) -> None:
    invite = trunk.invite("332", body=sip.SDP + "s=\udce9\0\r\n", X_Large=large)
    got, _ = await entered(trunk, sidecar, invite, b"\xe9surplus")
    assert got.body == invite.body + "\udce9surplus"
    assert got.all("Content-Length") == [str(len(got.body))]
    assert got.get("Max-Forwards") == "69"


@pytest.mark.parametrize("body", [sip.SDP, sip.SDP + "a=x:\udce9\0\r\n"], ids=["utf8", "latin-1"])
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
async def test_rfc_3261_18_3_what_is_behind_the_body_of_a_reply_or_in_a_dialog(
    sidecar: Endpoint, transport: str, body: str
) -> None:
    """A caller who uses TCP got it as a part of the body."""
    async with Endpoint.at(sip.TRUNK, 22081) as caller:
        via = f"SIP/2.0/{transport} {sip.TRUNK}:22081;branch=z9hG4bK{uuid.uuid4().hex};rport"
        invite = caller.invite("332", Via=via)
        if transport == "UDP":
            caller.send(invite)
        else:
            reader, writer = await asyncio.open_connection(*sip.KAMAILIO, local_addr=(sip.TRUNK, 0))
            writer.write(bytes(invite))
        got = await sidecar.receive("INVITE")
        answer = sip.reply(got, "200 OK", tag="t", body=body, Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>")
        sidecar.send(bytes(answer) + b"surplus")
        if transport == "UDP":
            answer = await caller.receive(200)
        else:
            async with asyncio.timeout(PATIENT_S):
                while (answer := await read_message(reader)).status != 200:
                    pass
        got_body = body + "surplus" if "\0" in body else body
        assert (answer.body, answer.all("Content-Length")) == (got_body, [str(len(got_body))])
        dialog = sip.Dialog.of_caller(caller, invite, answer)
        caller.send(bytes(dialog.request("ACK")) + b"surplus")
        assert (await sidecar.receive("ACK")).body == ""
        caller.send(bytes(dialog.request("BYE")) + b"surplus")
        assert (await sidecar.receive("BYE")).body == ""
        if transport == "TCP":
            writer.close()


@pytest.mark.parametrize(
    "uri",
    [
        "sip:332@[2001:db8::10]",
        "sip:332@[2001:db8::10:5070]",
        "sip:332@[2001:db8::10]:5070",
        "sip:332@[::ffff:192.0.2.10]",
        "sip:332@[2001:db8:::192.0.2.1]",
    ],
)
async def test_rfc_5118_ipv6_in_uris(trunk: Endpoint, sidecar: Endpoint, uri: str) -> None:
    invite = trunk.request("INVITE", uri, Contact=f"<{uri}>")
    invite.headers.append(("Via", "SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bK222"))
    got, _ = await entered(trunk, sidecar, invite)
    assert got.get("Contact").startswith(f"<{uri}")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"CSeq: 1 INVITE", b"X-CSeq: 1 INVITE"),
        (b"Content-Length: ", b"Content-Length: -"),
        (b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"),
        (b"Via: ", b"X-Via: "),
        (b"To: <", b"To: <<"),
        (b"From: ", b"From: <sip:9@h>;tag=9\r\nFrom: "),
        (b"Call-ID: ", b"Call-ID: x\r\ni: "),
        (b"CSeq: ", b"CSeq: 5 INVITE\r\nCSeq: "),
        (b"From: ", b"no header\r\nFrom: "),
        (b"\r\n", b"\x00"),
        (b"Call-ID: ", b"Call-ID: \0"),
    ],
)
async def test_what_no_reply_can_be_made_for_is_dropped(
    trunk: Endpoint, sidecar: Endpoint, good: bytes, bad: bytes
) -> None:
    trunk.send(bytes(trunk.invite("332")).replace(good, bad, 1))
    await entered(trunk, sidecar, trunk.invite("332"))
    assert sidecar.inbox.empty()


async def test_options_is_answered_to_anybody(trunk: Endpoint) -> None:
    async with Endpoint.at(f"{sip.NET}.98", 22080) as stranger:
        for asking in (trunk, stranger):
            uri = f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
            answer = await refusal(asking, asking.request("OPTIONS", uri))
            assert answer.status == 200
            assert "INVITE" in answer.get("Allow")


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "REGISTER"])
@pytest.mark.parametrize("uri", ["foo:bar", "http://x/y", "urn:service:sos", "nobodyKnowsThisScheme:totallyopaque"])
async def test_unknown_scheme_gets_416(trunk: Endpoint, method: str, uri: str) -> None:
    assert (await refusal(trunk, trunk.request(method, uri))).status == 416


@pytest.mark.parametrize(
    ("method", "header"), [("OPTIONS", "Require"), ("OPTIONS", "Proxy_Require"), ("INVITE", "Proxy_Require")]
)
async def test_unknown_extension_gets_420(trunk: Endpoint, method: str, header: str) -> None:
    uri = f"sip:332@{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
    answer = await refusal(trunk, trunk.request(method, uri, **{header: "foo, bar"}))
    assert (answer.status, answer.get("Unsupported")) == (420, "foo, bar")


async def test_each_refusal_leaves_one_log_line(kamailio: RunningKamailio, trunk: Endpoint) -> None:
    uri = f"sip:332@{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
    async with Endpoint.at(f"{sip.NET}.33", 22085) as once:
        for request, told in (
            (once.invite("987"), "404 Not Found: INVITE from 127"),
            (once.invite("332", Max_Forwards="0"), "483 Too Many Hops: INVITE"),
            (once.request("OPTIONS", "foo:bar"), "416 Unsupported URI Scheme: OPTIONS"),
            (once.request("OPTIONS", uri, Require="foo"), "420 Bad Extension: OPTIONS"),
            (once.request("BYE", uri, To="<sip:x@y>;tag=1"), "481 Call/Transaction Does Not Exist: BYE"),
            (once.request("SUBSCRIBE", uri), "405 Method Not Allowed: SUBSCRIBE"),
        ):
            # A worker leaves out lines of a source that has caused many: ask until one is shown.
            async with asyncio.timeout(25):
                before, asked = len(kamailio.log), 0
                while not any(f"refused {told}" in line for line in kamailio.log[before:]):
                    asked += 1
                    request.set("Call-ID", uuid.uuid4().hex)
                    request.set("Via", f"SIP/2.0/UDP {once.host}:{once.port};branch=z9hG4bK{uuid.uuid4().hex}")
                    await refusal(once, request)
                    await asyncio.sleep(0.2)
            assert sum(f"refused {told}" in line for line in kamailio.log[before:]) <= asked


async def test_other_methods_get_405(trunk: Endpoint) -> None:
    for method in ("MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "BREW"):
        answer = await refusal(trunk, trunk.request(method, f"sip:332@{sip.KAMAILIO[0]}"))
        assert answer.status == 405
        assert "INVITE" in answer.get("Allow")
        assert method not in answer.get("Allow")
    for method in ("BYE", "INFO", "UPDATE", "PRACK", "REFER"):  # of no dialog (RFC 3261 12.2.2)
        assert (await refusal(trunk, trunk.request(method, f"sip:332@{sip.KAMAILIO[0]}"))).status == 481


async def test_flood_of_a_stranger_is_silenced_and_harms_no_trunk(trunk: Endpoint, sidecar: Endpoint) -> None:
    async with Endpoint.at(f"{sip.NET}.97", 22080) as stranger:
        for _ in range(100):
            stranger.send(stranger.invite("332"))
        for _ in range(30):
            await entered(trunk, sidecar, trunk.invite("332"))
        assert 10 <= stranger.inbox.qsize() <= 40


async def test_retransmitted_invite_is_one_call(trunk: Endpoint, sidecar: Endpoint) -> None:
    invite = trunk.invite("332")
    for _ in range(3):
        trunk.send(invite)
    got = await sidecar.receive("INVITE")
    sidecar.send(sip.reply(got, "180 Ringing", tag="t"))
    await trunk.receive(180)
    trunk.send(invite)
    assert (await trunk.receive()).status == 180  # tm repeats its last reply
    await sidecar.expect_silence(0.3)
    trunk.send(sip.cancel_of(invite))
    await sidecar.receive("CANCEL")


async def test_tcp_caller(sidecar: Endpoint) -> None:
    reader, writer = await asyncio.open_connection(*sip.KAMAILIO, local_addr=(sip.TRUNK, 0))
    async with Endpoint.at(sip.TRUNK, 22081) as form:
        invite = form.invite("332", Via=f"SIP/2.0/TCP {sip.TRUNK}:22081;branch=z9hG4bKtcp1;rport")
    writer.write(bytes(invite))
    got = await sidecar.receive("INVITE")
    sidecar.send(sip.reply(got, "200 OK", tag="t", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>"))
    async with asyncio.timeout(PATIENT_S):
        while (answer := await read_message(reader)).status != 200:
            pass
        dialog = sip.Dialog.of_caller(form, invite, answer)
        assert len(dialog.routes) == 2  # RFC 5658: one for each transport
        writer.write(bytes(dialog.request("ACK")))
        await sidecar.receive("ACK")
        writer.write(bytes(dialog.request("BYE")))
        bye = await sidecar.receive("BYE")
        assert not bye.all("Route")
        sidecar.send(sip.reply(bye, "200 OK"))
        assert (await read_message(reader)).status == 200
    writer.close()


async def read_message(reader: asyncio.StreamReader) -> Message:
    message = Message.parse(await reader.readuntil(b"\r\n\r\n"))
    message.body = (await reader.readexactly(int(message.get("Content-Length")))).decode("utf-8", "surrogateescape")
    return message
