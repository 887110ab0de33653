"""IPv4 and IPv6 at one Kamailio: each side of a call uses its own, and every request of the dialog finds its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message
from tests.support.workers import WORKER

pytestmark = pytest.mark.asyncio(loop_scope="module")

PORT = 22400 + 20 * WORKER
"""Of Kamailio. The others are behind it: ::1 is one address for all tests that run, and 22300 to 22399 are taken."""
FOUR, SIX = f"{sip.NET}.1", "::1"
AT = {"four": (FOUR, PORT), "six": (SIX, PORT)}
TRUNKS = {"four": (f"{sip.NET}.33", PORT + 1), "six": (SIX, PORT + 1)}
PHONES = {"four": (f"{sip.NET}.65", PORT + 2), "six": (SIX, PORT + 2)}
SIDECARS = {"four": (f"{sip.NET}.9", PORT + 3), "six": (SIX, PORT + 3)}
FAMILIES = ("four", "six")


def uri(address: tuple[str, int], user: str = "") -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"sip:{user}{'@' if user else ''}{host}:{address[1]}"


def site(sidecars: str) -> str:
    host = uri(SIDECARS[sidecars]).removeprefix("sip:").rpartition(":")[0]
    return f"""
node: 1
sip: {{listen: ["{uri(AT["four"]).replace("sip", "udp")}", "{uri(AT["six"]).replace("sip", "udp")}"]}}
trunks:
  - {{name: four, to: "{uri(TRUNKS["four"])}", options: no}}
extensions:
  - {{number: "000*304", id: 4, contact: "{uri(PHONES["four"], "304")}"}}
  - {{number: "000*306", id: 6, contact: "{uri(PHONES["six"], "306")}"}}
sidecars: {{count: 1, host: "{host}", base_port: {PORT + 3}}}
"""


NUMBERS = {"four": "304", "six": "306"}


class World:
    """Kamailio with a sidecar of one family, and a phone of each. A phone is also who calls an IVR."""

    def __init__(self, sidecar: Endpoint, phones: dict[str, Endpoint]) -> None:
        self.sidecar, self.phones = sidecar, phones
        self.family = "six" if ":" in sidecar.host else "four"


@pytest.fixture(scope="module", params=FAMILIES)
def sidecars(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(sidecars: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sidecar = await stack.enter_async_context(Endpoint.at(*SIDECARS[sidecars]))
        phones = {name: await stack.enter_async_context(Endpoint.at(*PHONES[name])) for name in FAMILIES}
        folder = tmp_path_factory.mktemp("kamailio")
        await stack.enter_async_context(sip.running_kamailio(folder, site(sidecars)))
        yield World(sidecar, phones)


def sent(endpoint: Endpoint, message: Message) -> Message:
    endpoint.send(message, to=AT["six" if ":" in endpoint.host else "four"])
    return message


def invite(caller: Endpoint, number: str, **headers: str) -> Message:
    at = AT["six" if ":" in caller.host else "four"]
    return caller.request("INVITE", uri(at, number), body=sip.SDP, **headers)


async def talk(caller: Endpoint, asked: Message, callee: Endpoint, who: str) -> None:
    """The callee answers; ACK, a re-INVITE of each side, and a BYE of `who` find their way."""
    got = await callee.receive("INVITE")
    own = uri(AT["six" if ":" in callee.host else "four"]).removeprefix("sip:")
    assert got.get("Via").startswith(f"SIP/2.0/UDP {own};")
    is_double = (":" in caller.host) is not (":" in callee.host)
    assert len(got.all("Record-Route")) == 1 + is_double
    contact = f"<{uri((callee.host, callee.port))}>"
    answer = sent(callee, sip.reply(got, "200 OK", tag="b", body=sip.SDP, Contact=contact))
    reply = await caller.receive(200)
    ours, theirs = Dialog.of_caller(caller, asked, reply), Dialog.of_callee(callee, got, answer)
    sent(caller, ours.request("ACK"))
    assert (await callee.receive("ACK")).uri == uri((callee.host, callee.port))
    for one, other in ((ours, theirs), (theirs, ours)):
        sent(one.endpoint, one.request("INFO"))
        received = await other.endpoint.receive("INFO")
        assert received.uri == uri((other.endpoint.host, other.endpoint.port), "me" if other is ours else "")
        sent(other.endpoint, sip.reply(received, "200 OK"))
        await one.endpoint.receive(200)
    one, other = (ours, theirs) if who == "caller" else (theirs, ours)
    sent(one.endpoint, one.request("BYE"))
    sent(other.endpoint, sip.reply(await other.endpoint.receive("BYE"), "200 OK"))
    await one.endpoint.receive(200)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_call_to_an_ivr(world: World, family: str, who: str) -> None:
    caller = world.phones[family]
    asked = sent(caller, invite(caller, "332"))
    await talk(caller, asked, world.sidecar, who)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_transfer_of_a_sidecar(world: World, family: str, who: str) -> None:
    facts = CallFacts("a" * 32, "1:" + "a" * 32, "+7903", "Ivan", "332", "000*332", 145)
    headers = (CallHeader(facts), TransferHeader((f"000*{NUMBERS[family]}",), 5, False), CallerHeader("Ivan", "+7903"))
    private = {header.NAME.replace("-", "_"): str(header) for header in headers}
    asked = sent(world.sidecar, invite(world.sidecar, "transfer", **private))
    await talk(world.sidecar, asked, world.phones[family], who)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_call_between_phones(world: World, family: str, who: str) -> None:
    """With no sidecar: Kamailio is a proxy between the families."""
    caller, other = world.phones[family], "six" if family == "four" else "four"
    asked = sent(caller, invite(caller, NUMBERS[other]))
    await talk(caller, asked, world.phones[other], who)


async def test_a_carrier_s_other_address(world: World) -> None:
    """Its Contact is elsewhere than its INVITE went: the caller's requests lead there, from the other family too."""
    caller = world.phones["six"]
    elsewhere = (f"{sip.NET}.34", PORT + 1)
    async with Endpoint.at(*TRUNKS["four"]) as carrier, Endpoint.at(*elsewhere) as contact:
        asked = sent(caller, invite(caller, "332"))
        got = await world.sidecar.receive("INVITE")
        plan = (TransferHeader(("+4915",), 5, False), CallerHeader("", "306"))
        headers = {header.NAME.replace("-", "_"): str(header) for header in plan}
        sent(world.sidecar, sip.reply(got, "302 Moved", tag="d", Contact="<sip:plan@127.0.0.1>", **headers))
        invited = await carrier.receive("INVITE")
        answer = sip.reply(invited, "200 OK", tag="c", body=sip.SDP, Contact=f"<{uri(elsewhere)}>")
        sent(carrier, answer)
        dialog = Dialog.of_caller(caller, asked, await caller.receive(200))
        sent(caller, dialog.request("ACK"))
        await contact.receive("ACK")
        sent(caller, dialog.request("BYE"))
        sent(contact, sip.reply(await contact.receive("BYE"), "200 OK"))
        await caller.receive(200)
