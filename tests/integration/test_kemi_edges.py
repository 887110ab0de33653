"""Two edges: each knows the phones that have registered at the other, and calls reach them through it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.headers import AnsweredHeader, CallerHeader, CallHeader, TransferHeader
from cli.registrations import FILE
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import FACTS
from tests.integration.test_kemi_registrar import NUMBER, register
from tests.integration.test_kemi_registrations import written
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, B = sip.KAMAILIO, (f"{sip.NET}.2", 22000)
PEER_A, PEER_B = (A[0], 22066), (B[0], 22066)
PHONE = f"{sip.NET}.81"
PRIVATE = "<sip:me@192.168.7.7:5060>"
KEY = "6" * 32
SITE = f"""
node: 3584705175
edges:
  - {{name: a, listen: ["udp:{A[0]}:{A[1]}", "tcp:{A[0]}:{A[1]}"], peer: "{PEER_A[0]}:{PEER_A[1]}"}}
  - {{name: b, listen: ["udp:{B[0]}:{B[1]}", "tcp:{B[0]}:{B[1]}"], peer: "{PEER_B[0]}:{PEER_B[1]}"}}
extensions:
  - {{number: "{NUMBER}", id: 399, password: secret}}
  - {{number: "000*300", id: 300, contact: "sip:300@{sip.NET}.65:22090"}}
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
"""


class Fleet:
    """Two edges and the sidecars' sockets. An edge can be killed and started again: it keeps its folder."""

    def __init__(self, folder: Path, sidecars: list[Endpoint], site: str = SITE) -> None:
        self.folder = folder
        self._site = site
        self.sidecar = sidecars[0]
        self._running: dict[str, tuple[AsyncExitStack, RunningKamailio]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            stack = AsyncExitStack()
            (folder := self.folder / name).mkdir(exist_ok=True)
            entered = sip.running_kamailio(folder, self._site, edge=name, CALLINTERACTIVE_KEY=KEY)
            self._running[name] = stack, await stack.enter_async_context(entered)

    async def kill(self, *names: str) -> None:
        for name in names:
            stack, running = self._running.pop(name)
            running.process.kill()
            await stack.aclose()

    async def close(self) -> None:
        for stack, _ in self._running.values():
            await stack.aclose()

    def __getitem__(self, name: str) -> RunningKamailio:
        return self._running[name][1]

    async def knows(self, name: str, count: int = 1, within_s: float = PATIENT_S) -> None:
        """Wait until the edge knows that many registrations of the extension."""
        await self[name].until(
            "ul.dump", shows=lambda out: len(re.findall(r"Address: ", out)) == count, timeout_s=within_s
        )

    async def logged(self, name: str, text: str, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not any(text in line for line in self[name].log):
                await asyncio.sleep(0.05)

    def call(self, at: tuple[str, int], *numbers: str) -> Message:
        """A sidecar's transfer, sent to that edge."""
        headers = [CallHeader(FACTS), TransferHeader(numbers or ("399",), 10, True), CallerHeader("Ivan", "+7903")]
        private = {header.NAME.replace("-", "_"): str(header) for header in headers}
        invite = self.sidecar.request("INVITE", f"sip:transfer@{at[0]}:{at[1]}", body=sip.SDP, **private)
        self.sidecar.send(invite, at)
        return invite

    async def refused(self, invite: Message, at: tuple[str, int], within_s: float = PATIENT_S) -> Message:
        async with asyncio.timeout(within_s):
            while (final := await self.sidecar.receive(timeout_s=within_s)).status < 200:
                pass
        assert final.status >= 300
        self.sidecar.send(sip.ack_of_failure(invite, final), at)
        return final


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Endpoint.at(*address)) for address in sip.SIDECARS]
        made = Fleet(tmp_path_factory.mktemp("fleet"), sidecars)
        stack.push_async_callback(made.close)
        await made.start("a", "b")
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def phone(fleet: Fleet) -> AsyncIterator[Endpoint]:
    """It registers where and as the test says. After the test both edges have forgotten it."""
    async with Endpoint.at(PHONE, 22095) as endpoint:
        yield endpoint
    async with Endpoint.at(PHONE, 22096) as endpoint:
        for name, at in (("a", A), ("b", B)):
            assert (await register(endpoint, expires="0", Contact="*", at=at)).status == 200
            await fleet.knows(name, 0)


async def hang_up(fleet: Fleet, phone: Endpoint, invite: Message, got: Message, via: str) -> None:
    """Answer the call; a BYE of the sidecar ends it."""
    answer = sip.reply(got, "200 OK", tag="p", body=sip.SDP, Contact=f"<sip:me@{phone.host}:{phone.port}>")
    phone.send(answer, (via, A[1]))
    answered = await fleet.sidecar.receive(200)
    assert AnsweredHeader.parse(answered.get(AnsweredHeader.NAME)) == AnsweredHeader("399", True, PHONE)
    ours = Dialog.of_caller(fleet.sidecar, invite, answered)
    first = re.search(r"sip:([\d.]+)", ours.routes[0])
    assert first
    fleet.sidecar.send(ours.request("ACK"), (first[1], A[1]))
    await phone.receive("ACK")
    fleet.sidecar.send(ours.request("BYE"), (first[1], A[1]))
    bye = await phone.receive("BYE")
    assert not bye.private()
    phone.send(sip.reply(bye, "200 OK"), (via, A[1]))
    await fleet.sidecar.receive(200)


def via_of(message: Message) -> str:
    """The host that sent it."""
    found = re.match(r"SIP/2.0/\w+ ([\d.]+)", message.get("Via"))
    assert found
    return found[1]


@pytest.mark.parametrize("contact", [None, PRIVATE], ids=["plain", "behind NAT"])
async def test_a_phone_of_one_edge_is_called_through_the_other(
    fleet: Fleet, phone: Endpoint, contact: str | None
) -> None:
    more = {"Contact": contact} if contact else {}
    assert (await register(phone, at=A, **more)).status == 200
    await fleet.knows("b")
    for at in (B, A):
        invite = fleet.call(at)
        got = await phone.receive("INVITE")
        assert got.uri == ("sip:me@192.168.7.7:5060" if contact else f"sip:me@{PHONE}:22095")
        assert via_of(got) == A[0]
        assert not got.private()
        assert len(got.all("Record-Route")) == (2 if at == B else 1)
        await hang_up(fleet, phone, invite, got, A[0])


async def test_a_call_that_is_cancelled_and_one_that_is_refused(fleet: Fleet, phone: Endpoint) -> None:
    assert (await register(phone, at=A)).status == 200
    await fleet.knows("b")
    invite = fleet.call(B)
    got = await phone.receive("INVITE")
    phone.send(sip.reply(got, "180 Ringing", tag="p"), A)
    await fleet.sidecar.receive(180)
    fleet.sidecar.send(sip.cancel_of(invite), B)
    cancel = await phone.receive("CANCEL")
    phone.send(sip.reply(cancel, "200 OK"), A)
    phone.send(sip.reply(got, "487 Request Terminated", tag="p"), A)
    await fleet.sidecar.receive(200)
    assert (await fleet.refused(invite, B)).status == 487
    invite = fleet.call(B)
    got = await phone.receive("INVITE")
    phone.send(sip.reply(got, "486 Busy Here", tag="p"), A)
    assert (await fleet.refused(invite, B)).status == 486


async def test_both_are_killed_and_still_know_it(fleet: Fleet, phone: Endpoint) -> None:
    """Also what was told while one of them was down."""
    assert (await register(phone, at=A)).status == 200
    await fleet.knows("b")
    await written(fleet.folder / "a" / "state" / "a" / FILE, 1)
    await written(fleet.folder / "b" / "state" / "b" / FILE, 1)
    await fleet.kill("a", "b")
    await fleet.start("b")
    await fleet.knows("b")
    assert (await register(phone, at=B, Contact=f"<sip:two@{PHONE}:22095>")).status == 200
    await fleet.start("a")
    await fleet.knows("a", 2)


async def test_a_hidden_caller_s_contact_leads_back_through_both(fleet: Fleet, phone: Endpoint) -> None:
    """RFC 3323; also after both edges were killed. The caller is behind NAT."""
    assert (await register(phone, Contact=PRIVATE, at=A)).status == 200
    await fleet.knows("b")
    contact = "sip:secret@192.168.7.8:5061;line=secret"
    async with Endpoint.at(f"{sip.NET}.65", 22090) as caller:
        who = {"From": "<sip:000*300@b>;tag=own", "Contact": f"<{contact}>", "Privacy": "id"}
        caller.send(invite := caller.invite("399", **who), B)
        got = await phone.receive("INVITE")
        assert "secret" not in bytes(got).decode()
        answer = sip.reply(got, "200 OK", tag="p", body=sip.SDP, Contact=PRIVATE)
        phone.send(answer, A)
        ours = Dialog.of_caller(caller, invite, await caller.receive(200))
        theirs = Dialog.of_callee(phone, got, answer)
        caller.send(ours.request("ACK"), B)
        await phone.receive("ACK")
        await fleet.kill("a", "b")
        await fleet.start("a", "b")
        caller.send(ours.request("INVITE", Contact=f"<{contact}>"), B)
        again = await phone.receive("INVITE")
        assert again.get("Contact") == got.get("Contact")
        phone.send(sip.reply(again, "200 OK", Contact=PRIVATE), A)
        await caller.receive(200)
        for method in ("UPDATE", "BYE"):
            phone.send(theirs.request(method), A)
            received = await caller.receive(method)
            assert received.uri == contact
            caller.send(sip.reply(received, "200 OK", Contact=f"<{contact}>"), B)
            assert "secret" not in bytes(await phone.receive(200)).decode()


async def test_an_edge_that_is_gone_and_comes_back(fleet: Fleet, phone: Endpoint) -> None:
    assert (await register(phone, at=A)).status == 200
    assert (await register(phone, at=A, Contact=PRIVATE)).status == 200
    await fleet.knows("b", 2)
    invite = fleet.call(B)
    first, second = await phone.receive("INVITE"), await phone.receive("INVITE")
    private = next(got for got in (first, second) if "192.168" in got.uri)
    for got in (first, second):
        if got is not private:
            phone.send(sip.reply(got, "480 Not Now", tag="p"), A)
    phone.send(sip.reply(private, "200 OK", tag="p", body=sip.SDP, Contact=PRIVATE), A)
    answered = await fleet.sidecar.receive(200)
    theirs = Dialog.of_callee(phone, private, sip.reply(private, "200 OK", tag="p", Contact=PRIVATE))
    fleet.sidecar.send(Dialog.of_caller(fleet.sidecar, invite, answered).request("ACK"), B)
    await phone.receive("ACK")
    await fleet.kill("a")

    # Nobody knows yet that it is gone.
    began = time.monotonic()
    invite = fleet.call(B)
    got = await phone.receive("INVITE")
    assert via_of(got) == B[0]
    assert got.uri == f"sip:me@{PHONE}:22095"
    assert time.monotonic() - began > 0.5  # after the other edge has been asked
    phone.send(sip.reply(got, "486 Busy Here", tag="p"), B)
    await fleet.refused(invite, B)

    # The dialog that went through it goes on where its address has gone, here: to the other edge.
    bye = theirs.request("BYE")
    bye.headers = [
        (name, value.replace(f"sip:{A[0]}", f"sip:{B[0]}") if name == "Route" else value) for name, value in bye.headers
    ]
    phone.send(bye, B)
    got = await fleet.sidecar.receive("BYE")
    fleet.sidecar.send(sip.reply(got, "200 OK"), B)
    await phone.receive(200)

    await fleet.logged("b", "edge a does not answer SIP", 2 * PATIENT_S)
    took = []
    for _ in range(5):  # the fastest shows that it is not asked any more, whatever else the machine does
        began = time.monotonic()
        invite = fleet.call(B)
        got = await phone.receive("INVITE")
        took.append(time.monotonic() - began)
        assert via_of(got) == B[0]
        phone.send(sip.reply(got, "486 Busy Here", tag="p"), B)
        await fleet.refused(invite, B)
    assert min(took) < 0.5
    await fleet.start("a")
    await fleet.logged("b", "edge a answers again", PATIENT_S)
    await fleet.knows("a", 2)


def told(of: Endpoint, at: tuple[str, int], body: str, subject: str = "usrloc") -> Message:
    """A message as edges send them."""
    return of.request("KDMQ", f"sip:{subject}@{at[0]}:{at[1]}", body=body, Content_Type="application/json")


def update(modified: int, contact: str, ruid: str = "") -> str:
    """What an edge says of a registration."""
    return (
        f'{{"action":1,"aor":"{NUMBER}","ruid":"{ruid or uuid.uuid4().hex}","c":"{contact}","received":"",'
        f'"path":"","callid":"c","user_agent":"","instance":"","expires":{int(time.time()) + 300},"cseq":1,"flags":0,'
        f'"cflags":0,"q":0,"last_modified":{modified},"methods":0,"reg_id":0,"server_id":1}}'
    )


async def test_nobody_else_can_say_where_phones_are(fleet: Fleet, phone: Endpoint) -> None:
    """Not a stranger, not the other edge's host from another port, and not at the address for phones."""
    body = update(int(time.time()), f"sip:x@{sip.NET}.99:5060")
    for port, (host, to) in enumerate(((f"{sip.NET}.99", PEER_A), (PEER_B[0], PEER_A), (PEER_B[0], A))):
        async with Endpoint.at(host, 22100 + port) as stranger:
            stranger.send(told(stranger, to, body), to)
            assert (await stranger.receive()).status in (403, 405)
    await fleet.knows("a", 0)
    assert (await register(phone, at=A)).status == 200
    await fleet.knows("a", 1)


async def test_an_old_message_undoes_nothing(fleet: Fleet, phone: Endpoint) -> None:
    """It is sent from the other edge's own address, while that is down."""
    await fleet.kill("b")
    try:
        assert (await register(phone, at=A)).status == 200
        contact = f"sip:me@{PHONE}:22095"
        async with Endpoint.at(*PEER_B) as peer:
            for body in (update(1, contact), update(1, contact).replace('"action":1', '"action":2')):
                peer.send(told(peer, PEER_A, body), PEER_A)
                await peer.receive(200)
            assert "Server-Id: 1\n" not in (dump := await fleet["a"].rpc("ul.dump"))
            assert dump.count("Address: ") == 1
            peer.send(told(peer, PEER_A, update(int(time.time()) + 9, contact)), PEER_A)
            await peer.receive(200)
            await fleet["a"].until("ul.dump", shows=lambda out: "Server-Id: 1\n" in out)
            for odd in ("", "[]", "{}", "nonsense", '{"action":1}', '{"multi":[]}', '{"action":1,"aor":1,"ruid":2}'):
                peer.send(told(peer, PEER_A, odd), PEER_A)
    finally:
        await fleet.start("b")
    await fleet.knows("b")


async def test_an_edge_rings_only_phones_that_another_has_signed(fleet: Fleet, phone: Endpoint) -> None:
    assert (await register(phone, at=A)).status == 200
    for host in (B[0], f"{sip.NET}.98"):
        async with Endpoint.at(host, 22068) as stranger:
            uri = f"sip:me@{PHONE}:22095;ci-edge=a"
            invite = stranger.request("INVITE", uri, body=sip.SDP, X_CI_Phone=f"t={int(time.time())};v1={'0' * 64}")
            stranger.send(invite, A)
            assert (await stranger.receive()).status == 403
    await fleet.kill("b")
    try:
        async with Endpoint.at(*B) as forger:
            invite = forger.request("INVITE", uri, body=sip.SDP, X_CI_Phone=f"t={int(time.time())};v1={'0' * 64}")
            forger.send(invite, A)
            assert (await forger.receive()).status == 403
    finally:
        await fleet.start("b")
    await phone.expect_silence(0.1)
