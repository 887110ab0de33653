"""A real call, script, inbox and task on fakes of its legs, its media and the sidecar's services.

The fakes record each call. They accept only names and arguments that the real ones accept.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from callinteractive.config import load_ivr_file
from callinteractive.facts import CallFacts
from callinteractive.headers import EntryHeader
from callinteractive.model import Address, Defaults, Edge, Listen
from sidecar import sip
from sidecar.admission import Unacknowledged
from sidecar.call import answered as answered_module
from sidecar.call import call as call_module
from sidecar.call.call import NewCall
from sidecar.call.services import Services
from sidecar.call.steered import SteeredCall
from sidecar.edges import Edges
from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import Digits
from sidecar.media.sounds import Sound, SoundLibrary
from sidecar.state.keeper import Keeper
from sidecar.story import Stories
from sidecar.webhook import Webhook

EDGES = ("127.9.0.1", "127.9.0.2", "127.9.0.3")
"""The call comes from the first."""
FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)


class Recorder:
    """Has the methods of `kind`, with their signatures; remembers each call as ``prefix.name(argument)``."""

    def __init__(self, kind: type, log: list[str], prefix: str, results: dict[str, Any]) -> None:
        self._kind, self._log, self._prefix, self._results = kind, log, prefix, results

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._kind, name)  # AttributeError for what the real one does not have

        def method(*args: Any, **kwargs: Any) -> Any:
            inspect.signature(real).bind(self, *args, **kwargs)  # TypeError for what it does not take
            shown = getattr(args[0], "name", args[0]) if args and not isinstance(args[0], bytes) else ""
            self._log.append(f"{self._prefix}.{name}" + (f"({shown})" if shown else ""))
            result = self._results.get(name, "sdp")
            if isinstance(result, Exception):
                raise result
            return result

        if not inspect.iscoroutinefunction(real):
            return method

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            for _ in range(2):  # there and back
                await asyncio.sleep(0)
            return method(*args, **kwargs)

        return awaited


class FakeMedia(Recorder):
    media_id = name = "1-0-fake"
    sound_ends_at: float | None = None
    is_in_doubt = False

    def __init__(self, log: list[str], results: dict[str, Any]) -> None:
        super().__init__(CallMedia, log, "media", results)
        self.heard: list[dict[str, Any]] = []
        self.elsewhere: dict[str | None, str] = {}  # the descriptions of parties whose stream has moved

    def totals(self) -> list[dict[str, Any]]:
        return self.heard

    def is_moved(self, b_tag: str) -> bool:
        return b_tag in self.elsewhere

    def moved(self, b_tag: str | None = None) -> str | None:
        return self.elsewhere.pop(b_tag, None)


class FakeLeg(Recorder):
    answered = False
    ended = False
    is_heard = True
    peer_agent = ""
    listener: sip.Listener

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.call_id = f"{self._prefix}-leg@127.9.0.1"

    def answer(self, _sdp: bytes) -> None:
        self._log.append(f"{self._prefix}.answer")
        self.answered = True

    def redirect(self, _contacts: Any, headers: Any) -> None:
        self._log.append(f"{self._prefix}.redirect")
        self.redirected = dict(headers)

    def bye(self, headers: Any = ()) -> None:
        self._log.append(f"{self._prefix}.bye" + "".join(f"({value})" for _, value in headers))
        self.ended = True


class Harness:
    """A call in an IVR whose `start` option has the given rules. `results`: what media's methods return or raise.

    outcomes: gets what the `status_url` of a transfer is told.
    """

    def __init__(
        self,
        rules: str,
        monkeypatch: pytest.MonkeyPatch,
        answer_at: str = "at_once",
        resumed: Any = None,
        pool: str | None = None,
        lifetime_s: int = 3600,
        invite_sdp: bytes | None = b"offer",
        mask_digits: str = "",
        web: str = "{}",
        outcomes: list[tuple[str, int]] | None = None,
        **results: Any,
    ) -> None:
        masks = {"ivr": "", "context": "", mask_digits: "mask_digits: yes"}
        text = f"""
ivrs: [{{number: "000*332", id: 145, entry_context: 1, answer: {answer_at}, lifetime: {lifetime_s}, {masks["ivr"]}}}]
web: {web}
contexts:
  1:
    options: {{start: {rules}, "1": [play_sound: {{file: one.wav}}], "12": [hangup]}}
    inter_digit_timeout: 60
    {masks["context"]}
"""
        self.log: list[str] = []
        self.stories = Stories()
        if outcomes is not None:  # the call begins below
            self.stories.on_transfer = lambda _story, told: outcomes.append((told.status, told.code))
        self.requested: list[Any] = []
        self.unacknowledged = Unacknowledged(2)
        self.fetched: asyncio.Queue[Any] = asyncio.Queue()
        self.b_leg = FakeLeg(sip.UacLeg, self.log, "b", {})
        self.invites: list[dict[str, Any]] = []
        self.media = FakeMedia(self.log, results)
        self.edges = Edges([Edge(host, (Listen("udp", host, 5060),)) for host in EDGES], "127.9.0.9")
        self.edges.knows(Address(EDGES[0], 5060))
        monkeypatch.setattr(answered_module, "CallMedia", lambda _engines, _id, _caller_from: self.media)
        monkeypatch.setattr(call_module, "SteeredCall", self._answered_call)
        ivr_file = load_ivr_file(text, "ivr.yaml")
        self.digits: Any = None
        self.leg = FakeLeg(sip.UasLeg, self.log, "a", {})
        invite = create_autospec(
            sip.IncomingInvite, instance=True, sdp=invite_sdp, max_forwards=70, source=Address(EDGES[0], 5060)
        )
        entry = resumed or EntryHeader("000*332", "1", "start")
        self.call = NewCall(self._services(pool, ivr_file), self.leg, invite, FACTS, ivr_file.ivrs[0], entry)  # type: ignore[arg-type]
        self.task = self.call.start()

    def _services(self, pool: str | None, ivr_file: Any) -> Services:
        agent = create_autospec(sip.UserAgent, instance=True)
        agent.invite.side_effect = self._invite
        agent.refusals = sip.RefusalLog(asyncio.get_running_loop().time)
        dtmf = create_autospec(Digits, instance=True)
        dtmf.subscribe.side_effect = self._subscribe
        dtmf.unsubscribe.side_effect = self._unsubscribe
        self.dtmf = dtmf
        sounds = create_autospec(SoundLibrary, instance=True)
        sounds.get.side_effect = lambda name: None if name == "missing.wav" else Sound(name, Path(name), 40)
        sounds.doubt.return_value = False
        sounds.why_not.side_effect = lambda name: f"the sound library has no {name}"
        webhook = create_autospec(Webhook, instance=True)
        webhook.fetch.side_effect = self._fetch
        return Services(
            media_prefix="1-0-", pool=pool, ivr_file=ivr_file, agent=agent, edges=self.edges,
            engines=SimpleNamespace(digits=dtmf), sounds=sounds, ringback=Sound("ringback", Path("r"), 5000),  # type: ignore[arg-type]
            webhook=webhook, unacknowledged=self.unacknowledged, observe=lambda _note: None, keeper=Keeper(),
            stories=self.stories, defaults=Defaults(),
        )  # fmt: skip

    def _answered_call(self, *args: Any) -> SteeredCall:
        self.answered_call: SteeredCall | None = SteeredCall(*args)
        return self.answered_call

    def _subscribe(self, _id: str, listener: Any) -> None:
        self.digits = listener

    def _unsubscribe(self, _id: str) -> None:
        self.log.append("unsubscribed")

    async def _fetch(self, request: Any) -> Any:
        self.requested.append(request)
        self.log.append("fetch")
        try:
            return await self.fetched.get()
        except asyncio.CancelledError:
            self.log.append("fetch cancelled")
            raise

    def _invite(
        self,
        uri: str,
        *,
        sdp: bytes,
        listener: Any,
        from_: str | None,
        headers: Any,
        max_forwards: int,
        gives_way: bool,
        rings_s: int,
    ) -> FakeLeg:
        assert sdp
        self.invites.append({"From": from_, "to": uri, "gives_way": gives_way, "rings_s": rings_s, **dict(headers)})
        self.b_leg = FakeLeg(sip.UacLeg, self.log, "b", {})
        self.b_leg.listener = listener
        self.log.append(f"invite(max_forwards {max_forwards})")
        return self.b_leg

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the call's script."""
        return self.call._script.variables

    async def until(self, entry: str, count: int = 1) -> None:
        """Wait until the log has `entry`, `count` times."""
        await true(lambda: self.log.count(entry) >= count)

    async def answered(self) -> None:
        await self.until("a.answer")
        self.leg.listener(sip.Acked(None))

    async def settled(self) -> None:
        """Wait until the call has handled everything that has come so far."""
        inbox = self.answered_call._inbox  # type: ignore[union-attr]
        await true(lambda: not inbox._items and inbox._waiting is not None)

    async def over(self, *, has_bug: bool = False) -> list[str]:
        async with asyncio.timeout(5):
            await self.task.ended()
        assert self.task.exception() is None
        assert met_bug(self.stories, FACTS.call_id) == has_bug
        return self.log

    async def ended(self) -> list[str]:
        """Stop the call, as a sidecar that stops does."""
        self.task.cancel()
        return await self.over()


def met_bug(stories: Stories, call_id: str) -> bool:
    """Whether a call has failed by an error of ours, which looks like another end to its caller."""
    return any("error of this software" in str(record.get("cause")) for record in stories.of(call_id))


async def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """At once: every timer that is due by then has run when this returns."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)
    await until_idle()


def responder(log: list[str]) -> Recorder:
    """What answers a re-offer."""
    return Recorder(sip.Responder, log, "respond", {})


async def true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def until_idle() -> None:
    """Let everything run that is ready to, with all that it makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)
