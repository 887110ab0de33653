"""Callers and callees that do everything that SIP knows, most of it changed in some place."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.fuzz.changes import DIGIT_BODIES, ODD_HEADERS, REQUESTS, STATUSES, changed, description
from tests.integration.kemi_support import Dialog, Endpoint, Message, ack_of_failure, cancel_of, reply

TALKS_S = (1.0, 70.0)
"""How long a call is attacked: some are refreshed meanwhile."""
LAST_CSEQ = 2**31 - 1  # RFC 3261 8.1.1.5
ENDED_A_S = 200


@dataclass
class Live:
    """A dialog, or what may become one, until it is ended."""

    dialog: Dialog
    until: float
    invites: list[Message] = field(default_factory=list)
    """Ours in it, to take them back."""


class Attack:
    """What all parties share."""

    def __init__(self, seed: int, target: tuple[str, int]) -> None:
        self.chance = random.Random(seed)
        self.target = target
        self.is_calm = False
        """Only sound messages are sent any more."""
        self.sent: Counter[str] = Counter()
        """Changed messages by their kind."""
        self.got: Counter[str] = Counter()
        self.seen: list[Message] = []


class Party(Endpoint):
    attack: Attack
    live: dict[str, Live]
    ended: list[Live]
    calling: dict[str, Message]

    def begin(self, attack: Attack) -> None:
        self.attack, self.live, self.ended, self.calling = attack, {}, [], {}

    def send_changed(self, message: Message, kind: str, sound: float = 0.1) -> None:
        attack, chance = self.attack, self.attack.chance
        if attack.is_calm or chance.random() < sound:
            self.send(bytes(message), attack.target)
            return
        attack.sent[kind] += 1
        attack.seen.append(message)
        del attack.seen[:-50]
        with suppress(OSError):
            self.send(changed(chance, message, attack.seen), attack.target)

    def call(self, number: str) -> None:
        chance = self.attack.chance
        headers = {} if chance.random() < 0.5 else dict(chance.choices(ODD_HEADERS[:6], k=1))
        invite = self.request(
            "INVITE",
            f"sip:{number}@{self.attack.target[0]}:{self.attack.target[1]}",
            body=description(chance, self.host) if chance.random() < 0.8 else "",
            From=f"<sip:+1555{chance.randrange(10**7):07d}@{self.host}>;tag={chance.randrange(2**40)}",
            **{name.replace("-", "_"): value for name, value in headers.items()},
        )
        self.calling[invite.get("Call-ID")] = invite
        self.send(bytes(invite), self.attack.target)
        if chance.random() < 0.1:
            asyncio.get_running_loop().call_later(
                chance.random(), lambda: self.send_changed(cancel_of(invite), "CANCEL", 0.5)
            )

    def enter(self, dialog: Dialog) -> None:
        if dialog.call_id not in self.live:
            talks = self.attack.chance.uniform(*self.attack.chance.choice((TALKS_S, (TALKS_S[0], 9.0))))
            self.live[dialog.call_id] = Live(dialog, time.monotonic() + talks)

    def over(self, call_id: str) -> None:
        if (live := self.live.pop(call_id, None)) is not None:
            self.ended.append(live)

    def attack_once(self) -> None:
        """A request in one of its dialogs; a sound BYE where that has lasted long enough."""
        chance = self.attack.chance
        if not self.live:
            return
        live = chance.choice(list(self.live.values()))
        if live.until < time.monotonic():
            self.over(live.dialog.call_id)
            self.bye(live)
            return
        method = chance.choice(REQUESTS)
        if method == "BYE" and chance.random() < 0.8:
            method = "INVITE"
        if method == "CANCEL":
            if live.invites:
                self.send_changed(cancel_of(chance.choice(live.invites)), "CANCEL")
            return
        body, headers = "", {}
        if method in ("INVITE", "UPDATE", "ACK", "PRACK", "MESSAGE") and chance.random() < 0.8:
            body = description(chance, self.host)
        if method == "INFO":
            body, headers = (
                chance.choice(DIGIT_BODIES),
                {"Content_Type": chance.choice(("application/dtmf-relay", "application/dtmf"))},
            )
        if method == "REFER":
            headers = {"Refer_To": f"<sip:{chance.choice(('000*307', '000*306', '332', 'x'))}@{self.attack.target[0]}>"}
        if method == "NOTIFY":
            body, headers = (
                "SIP/2.0 200 OK\r\n",
                {"Event": "refer", "Subscription_State": "active", "Content_Type": "message/sipfrag"},
            )
        if method == "PRACK":
            headers = {"RAck": f"{chance.randrange(9)} 1 INVITE"}
        message = live.dialog.request(method, body=body, **headers)
        if method == "INVITE":
            live.invites = [*live.invites[-3:], message]
        self.send_changed(message, method)

    def bye(self, live: Live) -> None:
        self.send(bytes(live.dialog.request("BYE")), self.attack.target)

    async def end_all(self) -> None:
        """A BYE with the last CSeq there can be: a changed one may have been higher than ours."""
        byes = [each.dialog.request("BYE", CSeq=f"{LAST_CSEQ} BYE") for each in (*self.ended, *self.live.values())]
        for message in (*byes, *map(cancel_of, self.calling.values())):
            self.send(bytes(message), self.attack.target)
            await asyncio.sleep(1 / ENDED_A_S)

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...]) -> None:
        try:
            message = Message.parse(data)
            key = message.method or f"{message.status} {message.get('CSeq').split()[1]}"
        except (ValueError, IndexError):  # Kamailio passes some of it on
            return
        self.attack.got[key] += 1
        try:
            if message.method:
                self.on_request(message)
            else:
                self.on_response(message)
        except (ValueError, IndexError):
            self.attack.got["not understood"] += 1

    def on_response(self, answer: Message) -> None:
        chance, call_id = self.attack.chance, answer.get("Call-ID")
        number, method = answer.get("CSeq").split()
        live, invite = self.live.get(call_id), self.calling.get(call_id)
        if method == "INVITE" and live is not None:
            invite = next((each for each in live.invites if each.get("CSeq") == f"{number} INVITE"), invite)
        if method == "BYE" and answer.status in (200, 481):
            self.over(call_id)
        if method != "INVITE" or invite is None:
            return
        if answer.status >= 300:
            self.send_changed(ack_of_failure(invite, answer), "ACK", 0.6)
            if answer.get("To").count("tag=") and live is None:
                self.calling.pop(call_id, None)
        elif answer.status >= 200:
            dialog = live.dialog if live is not None else Dialog.of_caller(self, invite, answer)
            if live is None:
                self.calling.pop(call_id, None)
                self.enter(dialog)
            body = "" if invite.body else description(chance, self.host)
            self.send_changed(dialog.request("ACK", body=body, CSeq=f"{number} ACK"), "ACK", 0.8)
        elif answer.get("RSeq"):
            prack = Dialog.of_caller(self, invite, answer).request(
                "PRACK", RAck=f"{answer.get('RSeq')} {number} INVITE"
            )
            self.send_changed(prack, "PRACK", 0.5)

    def on_request(self, request: Message) -> None:
        chance, method = self.attack.chance, request.method
        if method == "ACK":
            return
        if "dispatcher@" in request.get("From"):  # else no more calls would come here
            self.send(reply(request, "200 OK"), self.attack.target)
        elif "tag=" not in request.get("To") and method == "INVITE":
            self.ring(request)
        elif method == "INVITE":
            self.answer(
                request, chance.choice(("200 OK", "200 OK", chance.choice(STATUSES))), description(chance, self.host)
            )
        elif method == "CANCEL":
            self.answer(request, "200 OK")
            refused = Message(request.start, list(request.headers))
            refused.set("CSeq", request.get("CSeq").replace("CANCEL", "INVITE"))
            self.answer(refused, chance.choice(("487 Request Terminated", "487 x", chance.choice(STATUSES))))
        else:
            self.answer(request, chance.choice(("200 OK", chance.choice(STATUSES))))
            if method == "BYE":
                self.over(request.get("Call-ID"))

    def ring(self, invite: Message) -> None:
        """Each kind of a callee."""
        chance, loop = self.attack.chance, asyncio.get_running_loop()
        if self.attack.is_calm:
            self.answer(invite, "486 Busy Here")
            return
        after_s = 0.0
        for _ in range(chance.choice((0, 1, 1, 2, 6))):
            status = chance.choice(("180 Ringing", "183 Session Progress", "199 x", "100 Trying"))
            body = description(chance, self.host) if chance.random() < 0.5 else ""
            extra = {"Require": "100rel", "RSeq": str(chance.randrange(5))} if chance.random() < 0.2 else {}
            loop.call_later(after_s, self.answer, invite, status, body, extra)
            after_s += chance.choice((0.0, 0.05, 0.5))
        if chance.random() < 0.1:
            return  # rings for ever
        final = "200 OK" if chance.random() < 0.7 else chance.choice(STATUSES)
        loop.call_later(
            after_s, self.answer, invite, final, description(chance, self.host), None, chance.choice((0.2, 0.7))
        )

    def answer(
        self, request: Message, status: str, body: str = "", extra: dict[str, str] | None = None, sound: float = 0.3
    ) -> None:
        if self._transport.is_closing():
            return
        if self.attack.is_calm:
            status = (
                "200 OK" if request.method in ("BYE", "CANCEL", "INVITE") and "tag=" in request.get("To") else status
            )
            status = "486 Busy Here" if request.method == "INVITE" and "tag=" not in request.get("To") else status
        tag = "" if "tag=" in request.get("To") else f"t{self.port}"
        headers = {"Contact": f"<sip:p@{self.host}:{self.port}>", **(extra or {})}
        if status[0] == "3":
            headers["Contact"] = f"<sip:000*307@{self.attack.target[0]}>"
        answer = reply(request, status, tag=tag, body=body, **headers)
        if request.method == "INVITE" and status.startswith("200"):
            self.enter(Dialog.of_callee(self, request, answer))
        kind = f"{status[:1]}xx to {request.method}"
        self.send_changed(answer, kind, sound)
