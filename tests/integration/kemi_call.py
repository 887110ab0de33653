"""A call to an IVR with `answer: on_media`: its caller, and the sidecar that answers with 302."""

from __future__ import annotations

from callinteractive.headers import CallerHeader, CallHeader, EntryHeader, StateHeader, TransferHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message
from tests.integration.kemi_world import World
from tests.support.timing import PATIENT_S

IVR = sip.IVR.replace("entry_context: 1}", "entry_context: 1, answer: on_media}")
OWN_FROM = '"Own" <sip:+7903@carrier.example>;tag=own'
UNCHANGED = CallerHeader("Own", "+7903")
CHANGED = CallerHeader("Shown", "+7812")
STATE = StateHeader('{"a": "script"}')
ENTRY = EntryHeader("000*332", "1", "start")


class Call:
    """A call from a carrier to the IVR, with all messages that Kamailio sends and gets for it."""

    def __init__(self, world: World, *, carrier: int = 0, sdp: str = sip.SDP, **headers: str) -> None:
        self.world = world
        self.caller = world.gateways[carrier]
        for sidecar in world.sidecars[1:]:
            sidecar.inbox = world.sidecar.inbox
        self.invite = self.caller.invite("332", body=sdp, **({"From": OWN_FROM} | headers))
        self.caller.send(self.invite)

    async def dip(self, timeout_s: float = PATIENT_S) -> tuple[Endpoint, Message]:
        """The INVITE as it reaches a sidecar, any of them, and that sidecar, which says 100."""
        got = await self.world.sidecar.receive("INVITE", timeout_s=timeout_s)
        sidecar = next(one for one in self.world.sidecars if got.uri.endswith(f":{one.port}"))
        sidecar.send(sip.reply(got, "100 Trying"))
        facts = CallHeader.parse(got.get(CallHeader.NAME)).facts
        self.call_id = facts.call_id
        assert (facts.caller_name, facts.caller_number, facts.called_number) == ("Own", "+7903", "332")
        assert len(got.all("Record-Route")) == 1
        assert got.get("From") == self.invite.get("From")
        return sidecar, got

    async def plan(
        self,
        *numbers: str,
        caller: CallerHeader = UNCHANGED,
        final: bool = True,
        timeout_s: int = 5,
        early_media: bool = False,
    ) -> Message:
        """Answer the next dip with a transfer. Returns the INVITE that the sidecar got."""
        sidecar, got = await self.dip()
        headers = [TransferHeader(numbers, timeout_s, early_media), caller, *([] if final else [STATE, ENTRY])]
        redirect(sidecar, got, *headers)
        await sidecar.receive("ACK")
        return got

    def has(self, message: Message) -> bool:
        """Whether the message belongs to this call. A late CANCEL or reply of an earlier call does not."""
        return message.get("Call-ID") == self.invite.get("Call-ID")

    async def rung(self, phone: Endpoint) -> Message:
        """The INVITE as it reaches a phone."""
        while not self.has(got := await phone.receive()):
            pass
        assert got.method == "INVITE"
        assert not got.private()
        assert len(got.all("Record-Route")) == 1
        return got

    async def cancelled(self) -> None:
        """After a CANCEL: wait for its 200 and for the INVITE's 487, in any order."""
        told = {}
        while len(told) < 2:
            message = await self.caller.receive()
            if self.has(message) and message.status != 100:
                told[message.get("CSeq")] = message
        assert {cseq: message.status for cseq, message in told.items()} == {"1 CANCEL": 200, "1 INVITE": 487}
        refused = told["1 INVITE"]
        assert not refused.private()
        assert not refused.get("Contact")
        self.caller.send(sip.ack_of_failure(self.invite, refused))

    async def heard(self, status: int, timeout_s: float = PATIENT_S) -> Message:
        """The caller's next reply that is not 100. It must have this status and no private header."""
        while (told := await self.caller.receive(timeout_s=timeout_s)).status == 100 or not self.has(told):
            pass
        assert told.status == status, told
        assert not told.private()
        assert "plan@" not in told.get("Contact")
        assert told.get("From") == self.invite.get("From")
        if status >= 300:
            self.caller.send(sip.ack_of_failure(self.invite, told))
        return told


def redirect(sidecar: Endpoint, invite: Message, *headers: object) -> None:
    values = {type(header).NAME: str(header) for header in headers}  # type: ignore[attr-defined]
    answer = sip.reply(invite, "302 Moved Temporarily", tag="d", Contact="<sip:plan@127.0.0.1>", **values)
    sidecar.send(answer)


async def consistent(ours: Dialog, theirs: Dialog) -> None:
    """ACK, requests both ways, BYE from the callee: each side sees the From and To that it knows."""
    ours.endpoint.send(ours.request("ACK"))
    assert (await theirs.endpoint.receive_only("ACK")).get("From") == theirs.remote
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for method in ("INFO", "INVITE"):
            request = sender.request(method)
            sender.endpoint.send(request)
            received = await receiver.endpoint.receive(method)
            assert (received.get("From"), received.get("To")) == (receiver.remote, receiver.local), request
            receiver.endpoint.send(sip.reply(received, "200 OK", Contact=f"<{sender.target}>"))
            replied = await sender.endpoint.receive(200)
            assert (replied.get("From"), replied.get("To")) == (sender.local, sender.remote)
            if method == "INVITE":
                sender.endpoint.send(sender.request("ACK", CSeq=request.get("CSeq").replace("INVITE", "ACK")))
                await receiver.endpoint.receive("ACK")
    theirs.endpoint.send(theirs.request("BYE"))
    ours.endpoint.send(sip.reply(await ours.endpoint.receive("BYE"), "200 OK"))
    await theirs.endpoint.receive(200)
