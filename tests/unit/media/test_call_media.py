"""A call's media against a scripted RTPengine: which commands go out at once, and what a call is that came back."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from callinteractive.model import Address, RtpEngine
from sidecar.media import bencode
from sidecar.media import engines as engines_module
from sidecar.media.call_media import CallMedia
from sidecar.media.engines import Engines
from sidecar.media.errors import MediaFull, MediaRefused, UnusableSdp
from sidecar.media.ng_command import NgTimeouts
from sidecar.media.sounds import Sound
from tests.support.workers import own_host
from tests.unit.media.test_engines import FakeDtmf
from tests.unit.media.test_rtpengine import FakeRtpEngine, until

NG = Address(own_host(1), 22222)
CALLER, CALLEE = own_host(2), own_host(3)
TONE = Sound("tone.au", Path("/sounds/tone.au"), 2000)


def description(address: str, port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )


def encrypted(description: str) -> str:
    key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
    return description.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"


class Rtpengine(FakeRtpEngine):
    """One that knows its calls. While `is_held` it answers nothing.

    `release`: "10.5", or "12.5" as in Debian 13 (12.5.1.31). They differ in `delete` (`call_delete_branch`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.release = "10.5"
        self.talks: dict[str, set[frozenset[str]]] = {}
        """Who has offered whom, of each call."""
        self.answer = self.carry_out
        self.is_held = False
        self.refused: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, int]] = {}
        self._next_port = 40000

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.is_held:
            cookie, _, body = data.partition(b" ")
            self.seen.append((cookie, command := bencode.decode(body)))
            if command["command"] != "ping":
                self.held.append((cookie, (addr, command)))
        else:
            super().datagram_received(data, addr)

    def let_go(self) -> None:
        """Carry out what was held, in its order."""
        self.is_held, held, self.held = False, self.held, []
        for cookie, (addr, command) in held:
            self.reply(cookie, addr, self.carry_out(command))

    def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        name, call = command["command"], command.get("call-id", "")
        if name in self.refused:
            return self.refused.pop(name)
        if name in ("ping", "list"):
            return {"result": "pong" if name == "ping" else "ok"}
        if name == "delete":
            return self.delete(call, command.get("from-tag"), command.get("to-tag"))
        if name != "offer" and call not in self.ports:
            return {"result": "error", "error-reason": "Unknown call-id"}
        ports = self.ports.setdefault(call, {})
        if name == "offer":
            to_tag = command.get("to-tag", "caller")  # the IVR's, to whoever comes
            parties = frozenset((command["from-tag"], to_tag))
            self.talks.setdefault(call, set()).add(parties)
            for tag in parties:
                if tag not in ports:
                    self._next_port += 2
                    ports[tag] = self._next_port
            return {"result": "ok", "sdp": description(NG.host, ports[to_tag])}
        if name == "answer":
            return {"result": "ok", "sdp": description(NG.host, ports[command["from-tag"]])}
        return {"result": "ok", "tags": self.counted(call)}

    def counted(self, call: str) -> dict[str, Any]:
        stats = {"packets": 50, "bytes": 8600, "errors": 0}
        return {
            tag: {"medias": [{"streams": [{"local port": port, "stats": stats}]}]}
            for tag, port in self.ports[call].items()
        }

    def delete(self, call: str, from_tag: str | None, to_tag: str | None) -> dict[str, Any]:
        """The whole call, or one party with those who have nobody else; then the call, if nobody is left."""
        tag, ports, talks = to_tag or from_tag, self.ports.get(call), self.talks.get(call, set())
        if ports is None or (tag is not None and tag not in ports):
            return {"result": "ok", "warning": "Call-ID not found or tags didn't match"}
        reply: dict[str, Any] = {"result": "ok"}
        if (self.release == "10.5") == (tag is not None):
            reply["tags"] = self.counted(call)
        elif tag is not None:
            reply["tags"] = {}  # it looks for the party that it has just deleted
        if tag is not None:
            left = {pair for pair in talks if tag not in pair}
            alone = {each for pair in talks - left for each in pair} - {each for pair in left for each in pair}
            talks &= left
            for each in alone:
                del ports[each]
        if tag is None or len(ports) < 2:
            del self.ports[call]
            self.talks.pop(call, None)
        return reply

    def names(self) -> list[str]:
        """The commands so far, which are then forgotten."""
        names = [command["command"] for _, command in self.seen]
        self.seen.clear()
        return [name for name in names if name not in ("ping", "list")]


@pytest_asyncio.fixture
async def rtpengine() -> AsyncIterator[Rtpengine]:
    transport, fake = await asyncio.get_running_loop().create_datagram_endpoint(Rtpengine, local_addr=NG)
    yield fake
    transport.close()


@pytest_asyncio.fixture
async def media(rtpengine: Rtpengine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CallMedia]:
    monkeypatch.setattr(engines_module, "DtmfReceiver", FakeDtmf)
    engines = Engines([RtpEngine(ng=NG)])
    await engines.open("0-")
    for engine in engines:
        engine.sessions._not_before = math.inf  # `test_ready` has those
    rtpengine.names()
    yield CallMedia(engines, "0-call", CALLER)
    await engines.close()


async def in_call(media: CallMedia, rtpengine: Rtpengine) -> str:
    """Answered; returns what the caller was told."""
    told = await media.answer(description(CALLER, 5000))
    rtpengine.names()
    return told


async def test_a_call_begins_in_one_go(rtpengine: Rtpengine, media: CallMedia) -> None:
    rtpengine.is_held = True
    answering = asyncio.create_task(media.answer(description(CALLER, 5000)))
    await until(lambda: len(rtpengine.held) == 2)
    assert rtpengine.names() == ["offer", "answer"]
    rtpengine.let_go()
    await answering


async def test_an_answer_that_overtook_its_offer_is_sent_again(rtpengine: Rtpengine, media: CallMedia) -> None:
    rtpengine.refused["answer"] = {"result": "error", "error-reason": "Unknown call-id"}
    told = await media.answer(description(CALLER, 5000))
    assert f"m=audio {rtpengine.ports['0-call']['caller']} " in told
    assert rtpengine.names() == ["offer", "answer", "answer"]


async def test_an_offer_that_is_refused_is_what_is_said(rtpengine: Rtpengine, media: CallMedia) -> None:
    rtpengine.refused["offer"] = {"result": "error", "error-reason": "Failed to parse SDP"}
    with pytest.raises(MediaRefused, match="Failed to parse SDP"):
        await media.answer(description(CALLER, 5000))
    assert rtpengine.names() == ["offer", "answer"]


async def test_a_later_offer_of_the_caller_is_exchanged_in_turn(rtpengine: Rtpengine, media: CallMedia) -> None:
    """An answer that overtook it would belong to what was before."""
    await in_call(media, rtpengine)
    rtpengine.is_held = True
    answering = asyncio.create_task(media.reoffer(description(CALLER, 5002)))
    for name in ("query", "offer", "answer"):
        await until(lambda: bool(rtpengine.held))
        assert rtpengine.names() == [name]
        rtpengine.let_go()
        rtpengine.is_held = True
    await answering


async def test_a_codec_changes_though_the_sound_cannot_go_on(rtpengine: Rtpengine, media: CallMedia) -> None:
    """Its file is gone. RTPengine has taken the offer by then: to refuse it would leave both sides apart."""
    await in_call(media, rtpengine)
    await media.play(TONE)
    rtpengine.refused["play media"] = {"result": "error", "error-reason": "Failed to start media playback from file"}
    assert "m=audio" in await media.reoffer(description(CALLER, 5000).replace("RTP/AVP 0", "RTP/AVP 8"))
    assert media.sound_ends_at is None


async def test_a_callee_is_offered_and_connected_in_one_go_each(rtpengine: Rtpengine, media: CallMedia) -> None:
    await in_call(media, rtpengine)
    rtpengine.is_held = True
    offering = asyncio.create_task(media.offer_leg("b"))
    await until(lambda: len(rtpengine.held) == 2)
    assert Counter(rtpengine.names()) == Counter(("block media", "offer"))
    rtpengine.let_go()
    await offering


async def test_a_callee_that_answers_is_connected_in_one_go(rtpengine: Rtpengine, media: CallMedia) -> None:
    await in_call(media, rtpengine)
    await media.offer_leg("b")
    await media.play(TONE)
    rtpengine.names()
    rtpengine.is_held = True
    bridging = asyncio.create_task(media.bridge("b", description(CALLEE, 6000)))
    await until(lambda: len(rtpengine.held) == 3)
    assert Counter(rtpengine.names()) == Counter(("answer", "stop media", "unblock media"))
    rtpengine.let_go()
    await bridging
    assert media.sound_ends_at is None
    await media.bridge("b", description(CALLEE, 6000))  # the same, in the 200 after a 183
    assert rtpengine.names() == []


async def test_a_callee_that_nobody_answers_for(rtpengine: Rtpengine, media: CallMedia) -> None:
    await in_call(media, rtpengine)
    await media.offer_leg("b")
    rtpengine.names()
    await media.unbridge("b")
    assert rtpengine.names() == ["query", "offer", "answer", "delete", "unblock media"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"result": "error", "error-reason": "Failed to parse SDP"}, MediaRefused),
        ({"result": "error", "error-reason": "Ran out of ports"}, MediaFull),
    ],
)
async def test_a_callee_that_gets_no_offer(
    rtpengine: Rtpengine, media: CallMedia, reply: dict[str, Any], error: type[Exception]
) -> None:
    """The caller is with the IVR still, and its tones are digits."""
    await in_call(media, rtpengine)
    rtpengine.refused["offer"] = reply
    with pytest.raises(error):
        await media.offer_leg("b")
    assert rtpengine.names()[-1] == "unblock media"


async def test_an_answer_encrypts_where_the_offer_did(rtpengine: Rtpengine, media: CallMedia) -> None:
    """RFC 3264 6: with the keys of one side alone, neither hears the other. Nothing has changed then."""
    plain, secret = description(CALLEE, 6000), encrypted(description(CALLEE, 6000))
    await in_call(media, rtpengine)
    await media.offer_leg("b")
    rtpengine.names()
    with pytest.raises(UnusableSdp, match="RTP/SAVP, which it was not offered"):
        await media.bridge("b", secret)
    assert rtpengine.names() == []
    await media.bridge("b", plain)
    rtpengine.names()
    with pytest.raises(UnusableSdp, match="not offered"):
        await media.accept_leg("b", secret)
    with pytest.raises(UnusableSdp, match="not offered"):
        await media.accept(secret)
    assert rtpengine.names() == []
    await media.reoffer_leg("b", secret)  # an offer may
    with pytest.raises(UnusableSdp, match="RTP/AVP, which it was not offered"):
        await media.accept_leg("b", plain)
    await media.accept_leg("b", secret)


async def test_an_offer_to_a_forgotten_call_begins_no_other_one(rtpengine: Rtpengine, media: CallMedia) -> None:
    """RTPengine makes a call of the same name for it, with another port: the caller must hear of that."""
    before = await in_call(media, rtpengine)
    rtpengine.ports.clear()
    rtpengine.refused["block media"] = {"result": "error", "error-reason": "Unknown call-id"}
    assert f"m=audio {rtpengine._next_port + 2} " not in before
    offer = await media.offer_leg("b")
    assert f"m=audio {rtpengine.ports['0-call']['b']} " in offer
    assert media.moves == 1
    assert f"m=audio {rtpengine.ports['0-call']['caller']} " in str(media.moved())


async def test_a_callee_is_not_connected_with_another_call(rtpengine: Rtpengine, media: CallMedia) -> None:
    """As above, where a thread of RTPengine took the offer before the other command, and nothing was unknown."""
    await in_call(media, rtpengine)
    rtpengine.ports.clear()
    rtpengine.refused["block media"] = {"result": "ok"}
    await media.offer_leg("b")
    assert media.moves == 0
    await media.bridge("b", description(CALLEE, 6000))
    assert media.moves == 1
    assert f"m=audio {rtpengine.ports['0-call']['caller']} " in str(media.moved())


SOUND = {"packets": 50, "octets": 8600, "errors": 0}


async def to_a_callee(media: CallMedia) -> None:
    await media.offer_leg("b")
    await media.bridge("b", description(CALLEE, 6000))


async def ringing(media: CallMedia) -> None:
    await media.offer_leg("b")


async def back_from_one(media: CallMedia) -> None:
    await to_a_callee(media)
    await media.unbridge("b")


async def passed_on(media: CallMedia) -> None:
    """The caller has asked for a blind transfer, and is gone."""
    await to_a_callee(media)
    gone = await media.promote("b")
    await media.offer_leg("c")
    await media.bridge("c", description(CALLEE, 7000))
    await media.unbridge(gone)


async def promoted_twice(media: CallMedia) -> None:
    """Two blind transfers that came to nothing: the caller is back in its place, but the callee has had the IVR."""
    await to_a_callee(media)
    await media.promote("b")
    await media.offer_leg("c")
    await media.unbridge("c")
    await media.promote("caller")


async def only_the_ivr(media: CallMedia) -> None: ...


@pytest.mark.parametrize("release", ["10.5", "12.5"])
@pytest.mark.parametrize(
    ("what", "heard", "leaves_nobody"),
    [
        (only_the_ivr, ["caller"], True),
        (to_a_callee, ["caller", "callee"], True),
        (ringing, ["caller"], True),
        (back_from_one, ["caller"], True),
        (passed_on, ["caller", "callee"], False),
        (promoted_twice, ["caller", "callee"], False),
    ],
)
async def test_E1_a_call_that_is_deleted_tells_its_sound_and_leaves_nothing(
    rtpengine: Rtpengine, media: CallMedia, release: str, what: Any, heard: list[str], leaves_nobody: bool
) -> None:
    """In one exchange, but for the first call at each RTPengine, and where 10.5 might keep somebody."""
    rtpengine.release = release
    first = CallMedia(media._engines, "0-first", CALLER)
    await in_call(first, rtpengine)
    await first.delete()
    assert rtpengine.names() == ["query", "delete"]
    assert first.totals() == [{"who": "caller", **SOUND}]
    await in_call(media, rtpengine)
    await what(media)
    rtpengine.names()
    await media.delete()
    assert rtpengine.names() == (["delete"] if leaves_nobody or release == "12.5" else ["query", "delete"])
    assert media.totals() == [{"who": who, **SOUND} for who in heard]
    assert rtpengine.ports == {}


async def known(media: CallMedia, rtpengine: Rtpengine, release: str) -> None:
    """RTPengine is of this release, and the sidecar has seen that."""
    rtpengine.release = release
    first = CallMedia(media._engines, "0-first", CALLER)
    await in_call(first, rtpengine)
    await first.delete()
    rtpengine.names()


async def is_forgotten(rtpengine: Rtpengine) -> None:
    del rtpengine.ports["0-call"]


async def is_another_call(rtpengine: Rtpengine) -> None:
    """Of the same name, made by an offer without that party."""
    rtpengine.ports["0-call"] = {"ivr": 1, "b": 2}


async def fails(rtpengine: Rtpengine) -> None:
    rtpengine.refused["delete"] = {"result": "error", "error-reason": "Internal error"}


@pytest.mark.parametrize("what", [is_forgotten, is_another_call, fails])
async def test_whoever_is_not_there_leaves_nothing(rtpengine: Rtpengine, media: CallMedia, what: Any) -> None:
    await known(media, rtpengine, "10.5")
    await in_call(media, rtpengine)
    await what(rtpengine)
    await media.delete()
    assert rtpengine.names() == ["delete", "delete"]
    assert media.totals() == []
    assert rtpengine.ports == {}


@pytest.mark.parametrize(("before", "after"), [("10.5", "12.5"), ("12.5", "10.5")])
async def test_another_release_is_noticed(rtpengine: Rtpengine, media: CallMedia, before: str, after: str) -> None:
    """One call has no counters then, and leaves nothing."""
    await known(media, rtpengine, before)
    rtpengine.release = after
    for number in range(3):
        call = CallMedia(media._engines, f"0-{number}", CALLER)
        await in_call(call, rtpengine)
        await call.delete()
        assert bool(call.totals()) == (number > 0)
        assert rtpengine.ports == {}
    assert rtpengine.names() == ["delete"]


async def test_a_call_taken_over_tells_its_sound_and_leaves_nothing(rtpengine: Rtpengine, media: CallMedia) -> None:
    await known(media, rtpengine, "10.5")
    await in_call(media, rtpengine)
    await passed_on(media)
    data = json.loads(json.dumps(media.to_dict()))
    media.forget()
    taken_over = CallMedia.from_dict(media._engines, "0-call", data)
    await taken_over.delete()
    assert [each["who"] for each in taken_over.totals()] == ["caller", "callee"]
    assert rtpengine.ports == {}


async def test_a_caller_that_was_never_answered_for_costs_one_command(rtpengine: Rtpengine, media: CallMedia) -> None:
    await known(media, rtpengine, "10.5")
    rtpengine.refused["answer"] = {"result": "error", "error-reason": "Failed to parse SDP"}
    with pytest.raises(MediaRefused):
        await media.answer(description(CALLER, 5000))
    rtpengine.names()
    await media.delete()
    assert rtpengine.names() == ["delete"]
    assert rtpengine.ports == {}


async def test_a_delete_that_is_cancelled_is_made_up_for(rtpengine: Rtpengine, media: CallMedia) -> None:
    """The first one at an RTPengine asks before: its second command was not sent yet."""
    await in_call(media, rtpengine)
    rtpengine.is_held = True
    deleting = asyncio.create_task(media.delete())
    await until(lambda: bool(rtpengine.held))
    deleting.cancel()
    await asyncio.gather(deleting, return_exceptions=True)
    rtpengine.let_go()
    await until(lambda: not rtpengine.ports)


async def quiet(media: CallMedia) -> None:
    """RTPengine has answered everything, and from now on nothing is sent just because time passes."""
    (engine,) = media._engines
    await until(lambda: engine.ng._timer is None)
    engine.ng.timeouts = NgTimeouts(tick_s=30, gather_s=0)


async def test_a_call_s_end_goes_out_with_the_beginning_of_another(rtpengine: Rtpengine, media: CallMedia) -> None:
    await known(media, rtpengine, "10.5")
    await in_call(media, rtpengine)
    await quiet(media)
    deleting = asyncio.create_task(media.delete())
    await asyncio.sleep(0.01)
    assert rtpengine.names() == []
    await CallMedia(media._engines, "0-other", CALLER).answer(description(CALLER, 5002))
    await until(lambda: "0-call" not in rtpengine.ports)
    assert rtpengine.names() == ["offer", "answer", "delete"]
    assert not deleting.done(), "its reply need not wake us"
    await CallMedia(media._engines, "0-third", CALLER).answer(description(CALLER, 5004))
    await deleting
    assert list(rtpengine.ports) == ["0-other", "0-third"]


async def test_a_call_that_another_sidecar_takes_before_its_end_goes_out(
    rtpengine: Rtpengine, media: CallMedia
) -> None:
    await in_call(media, rtpengine)
    await quiet(media)
    deleting = asyncio.create_task(media.delete())
    await asyncio.sleep(0)
    media.forget()
    await CallMedia(media._engines, "0-other", CALLER).answer(description(CALLER, 5002))
    await deleting
    assert rtpengine.names() == ["offer", "answer"]
    assert "0-call" in rtpengine.ports


async def test_an_end_that_is_cancelled_before_it_goes_out_is_made_up_for(
    rtpengine: Rtpengine, media: CallMedia
) -> None:
    await in_call(media, rtpengine)
    await quiet(media)
    deleting = asyncio.create_task(media.delete())
    await asyncio.sleep(0)
    deleting.cancel()
    await until(lambda: not rtpengine.ports)


async def test_a_call_that_another_sidecar_takes_meanwhile_stays(rtpengine: Rtpengine, media: CallMedia) -> None:
    await in_call(media, rtpengine)
    rtpengine.is_held = True
    deleting = asyncio.create_task(media.delete())
    await until(lambda: bool(rtpengine.held))
    media.forget()
    rtpengine.let_go()
    await deleting
    assert rtpengine.names() == ["query"]
    assert "0-call" in rtpengine.ports


async def test_a_call_made_anew_tells_its_sound_and_leaves_nothing(rtpengine: Rtpengine, media: CallMedia) -> None:
    """Nobody knows what of it there was already: it is asked first, and then deleted as a whole."""
    await known(media, rtpengine, "10.5")
    await in_call(media, rtpengine)
    await is_forgotten(rtpengine)
    await media.play(TONE)
    assert media.moves == 1
    rtpengine.names()
    await media.delete()
    assert rtpengine.names() == ["query", "delete"]
    assert media.totals() == [{"who": "caller", **SOUND}]
    assert rtpengine.ports == {}
