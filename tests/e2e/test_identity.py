"""The caller that a callee sees on the wire (A5), for hostile names of callers and web applications too."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import BOTH, FIRST, CalledPhones, transfer
from tests.support.sipp import SipMessage, Sipp
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

MOST_OCTETS = 128
NUMBER = "+4930555"


def set_caller(**attributes: str) -> str:
    """The SetCaller action. Line breaks are escaped, because XML turns a plain one into a space."""
    breaks = {"\r": "&#13;", "\n": "&#10;"}
    given = "".join(f" {name}={quoteattr(value, breaks)}" for name, value in attributes.items())
    return f"<SetCaller{given}/>"


async def invite_seen(
    call: PlaceCall, web: FakeWebApp, known_as: str, callees: CalledPhones, before: str = "", **options: object
) -> SipMessage:
    """What a phone sees of a caller who is transferred to it. The web application sees `known_as`."""
    web.on(known_as, transfer(FIRST, before=before))
    async with callees.first() as callee, call(TRANSFER, **options) as phone:
        await phone.answered()
        invite = await callee.rings()
        await callee.picks_up()
        await callee.hangs_up()
        await phone.hung_up()
        assert_nothing_private(callee.sipp, phone.sipp)
    return invite


def assert_nothing_private(*phones: Sipp) -> None:
    """No X-CI header has left the stack."""
    for message in (message for phone in phones for message in phone.messages()):
        assert message.sent or "x-ci-" not in message.text.lower(), message.text


def identity(name: str, number: str, stack: RunningStack) -> str:
    return f"{name} <sip:{number}@{stack.net.stack}>".lstrip()


def shown(invite: SipMessage) -> tuple[str, str]:
    """The From header without its tag, and P-Asserted-Identity."""
    assert len(invite.headers("From")) == len(invite.headers("P-Asserted-Identity")) == 1
    return invite.header("From").partition(";tag=")[0], invite.header("P-Asserted-Identity")


async def test_the_callers_own_name_and_number(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack
) -> None:
    invite = await invite_seen(call, web, caller, callees, name='Иван "X" \\')
    expected = identity('"Иван \\"X\\" \\\\"', caller, stack)
    assert shown(invite) == (expected, expected)
    assert invite.header("Privacy") == ""


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ('Иван "X"', '"Иван \\"X\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("comma, semi;colon <angle>", '"comma, semi;colon <angle>"'),
        ("Ї" * 500, '"' + "Ї" * (MOST_OCTETS // 2) + '"'),
        ("x" * 500, '"' + "x" * MOST_OCTETS + '"'),
        ("Eve\r\nX-Injected: 1", '"Eve X-Injected: 1"'),
        ("Eve\r\n\r\nv=0", '"Eve v=0"'),
        ("", ""),
    ],
    ids=["cyrillic", "backslash", "special", "500 wide", "500", "crlf", "body", "none"],
)
async def test_a5_the_name_of_setcaller(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack, name: str, quoted: str
) -> None:
    invite = await invite_seen(call, web, caller, callees, set_caller(name=name, number=NUMBER), name="Own")
    expected = identity(quoted, NUMBER, stack)
    assert shown(invite) == (expected, expected)
    assert invite.header("X-Injected") == ""
    assert caller not in invite.text


@pytest.mark.parametrize(
    ("number", "user"),
    [
        ("000*306", "000*306"),
        ("1@evil.example>;tag=1", "1%40evil.example%3E%3Btag%3D1"),
        ("1\r\nRoute: <sip:evil.example;lr>", "1%20Route%3A%20%3Csip%3Aevil.example%3Blr%3E"),
        ("Иван", "%D0%98%D0%B2%D0%B0%D0%BD"),
        ("9" * 500, "9" * 64),
    ],
    ids=["extension", "uri", "crlf", "cyrillic", "500"],
)
async def test_a5_the_number_of_setcaller(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack, number: str, user: str
) -> None:
    invite = await invite_seen(call, web, caller, callees, set_caller(number=number), name="Own")
    expected = identity('"Own"', user, stack)  # the name stays
    got = tuple(text.replace("%3D", "=") for text in shown(invite))
    assert got == (expected.replace("%3D", "="),) * 2
    assert "evil.example" not in invite.header("Route")


async def test_a5_setcaller_shows_on_every_later_transfer(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack
) -> None:
    web.on(caller, transfer(FIRST, before=set_caller(name="Anna", number=caller), final="no"), transfer(BOTH))
    async with callees.second() as second, call(TRANSFER, name="Own") as phone:
        async with callees.first("callee-refuses") as first:
            invite = await first.rings()
        async with callees.first() as again:
            later = [await again.rings(), await second.rings()]
            await phone.hang_up()
            await again.stops_ringing()
        await second.stops_ringing()
    expected = identity('"Anna"', caller, stack)
    assert [shown(seen) for seen in (invite, *later)] == [(expected, expected)] * 3


@pytest.mark.parametrize("way", ["calls so", "made so"])
async def test_an_anonymous_caller_stays_so(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack, way: str
) -> None:
    if way == "calls so":
        invite = await invite_seen(call, web, "anonymous", callees, caller="anonymous", name="Anonymous")
    else:
        invite = await invite_seen(call, web, caller, callees, set_caller(number="anonymous"), name="Own")
    assert invite.header("From").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
    assert invite.headers("P-Asserted-Identity") == []
    assert invite.header("Privacy") == "id"
    assert caller not in invite.text
    assert stack.net.carrier not in invite.text


async def test_both_sides_of_a_dialog_keep_what_they_were_shown(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """In all later messages each phone sees the From and To that it knows (RFC 3261 12.2)."""
    web.on(caller, transfer(FIRST, before=set_caller(name="Anna", number=NUMBER)))
    async with callees.first("callee-hold") as callee, call(TRANSFER, name="Own", arguments=("-aa",)) as phone:
        await phone.answered()
        invite = await callee.rings()
        await callee.picks_up()
        callee.nudge()
        await callee.sipp.wait_for(200)
        await phone.hang_up()
        bye = await callee.hung_up()
        later = [m for m in callee.sipp.messages() if m.method in ("INVITE", "BYE") and m.header("CSeq") != "1 INVITE"]
        sent = {m.header("CSeq"): m for m in later if m.sent and m.status is None}
        answers = [m for m in later if not m.sent and m.status == 200]
        assert_nothing_private(callee.sipp, phone.sipp)
    assert bye.header("From") == invite.header("From")
    assert answers
    for answer in answers:
        asked = sent[answer.header("CSeq")]
        assert (answer.header("From"), answer.header("To")) == (asked.header("From"), asked.header("To"))


async def test_private_headers_stay_inside_when_a_transfer_fails(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST, timeout="1", final="no"), actions("<Hangup/>"))
    async with callees.first("callee-early-media") as callee, call(TRANSFER) as phone:
        await phone.answered()
        await callee.stops_ringing()
        await phone.hung_up()
        assert_nothing_private(callee.sipp, phone.sipp)
