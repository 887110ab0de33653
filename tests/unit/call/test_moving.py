"""A party is told where its sound is now: what becomes of it if it agrees, refuses, or says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar import sip
from sidecar.call import moving
from sidecar.call.inbox import Inbox
from sidecar.call.moving import Retelling
from sidecar.media.errors import MediaLost
from tests.unit.call.harness import FakeMedia


def made(monkeypatch: pytest.MonkeyPatch, elsewhere: bool = True) -> tuple[Retelling, Any, FakeMedia, Inbox]:
    monkeypatch.setattr(moving, "ANSWERED_S", 0.02)
    media, inbox = FakeMedia([], {}), Inbox()
    if elsewhere:
        media.elsewhere[None] = "v=0"
    leg = SimpleNamespace(answered=True, ended=False, offers=[], peer_agent="")
    leg.reinvite = leg.offers.append
    return Retelling(media, inbox), leg, media, inbox  # type: ignore[arg-type]


async def test_who_is_where_it_was_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    retelling, leg, _, _ = made(monkeypatch, elsewhere=False)
    assert not retelling.tell(leg)
    assert leg.offers == []


@pytest.mark.parametrize(
    ("agent", "takes_keys"),
    [
        ("baresip v1.0.0 (x86_64/linux)", False),
        ("baresip v0.6.5", False),
        ("baresip v2.12.0", False),
        ("baresip v3.11.0", False),
        ("baresip v3.12.0", True),
        ("baresip v3.20.1", True),
        ("baresip v4.0.0", True),
        ("Linphone/5.1", True),
    ],
)
async def test_rfc_4568_a_phone_that_does_not_take_new_keys_is_hung_up(
    monkeypatch: pytest.MonkeyPatch, agent: str, takes_keys: bool
) -> None:
    """Dead air is worse. `peer_agent` is empty where the sound is not encrypted."""
    for by_itself, by_kamailio in ((agent, ""), ("", agent)):
        retelling, leg, _, _ = made(monkeypatch)
        leg.peer_agent = by_itself
        if takes_keys:
            assert retelling.tell(leg, by_kamailio)
        else:
            with pytest.raises(MediaLost, match=r"baresip .* new keys"):
                retelling.tell(leg, by_kamailio)
            assert leg.offers == []


async def test_an_answer_that_a_dead_process_should_have_had_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user agent has asked for it again (RFC 3261 13.2.1)."""
    retelling, _, media, _ = made(monkeypatch, elsewhere=False)
    assert not await retelling.on_outcome(sip.ReOfferRejected(488, "Not Acceptable Here"))
    assert media._log == []
    assert not await retelling.on_outcome(sip.ReAnswered(b"sdp"))
    assert media._log == ["media.accept(sdp)"]


async def test_an_answer_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    retelling, leg, _, inbox = made(monkeypatch)
    assert retelling.tell(leg)
    assert leg.offers == [b"v=0"]
    assert await retelling.on_outcome(sip.ReAnswered(None))
    assert not await retelling.on_outcome(sip.ReAnswered(None))
    handler, asked = await inbox.get()  # the bound on its answer
    assert await handler(asked) is None


async def test_a_refusal_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    retelling, leg, _, _ = made(monkeypatch)
    retelling.tell(leg)
    with pytest.raises(MediaLost, match="488"):
        await retelling.on_outcome(sip.ReOfferRejected(488, "Not Acceptable Here"))


@pytest.mark.parametrize("has_ended", [False, True])
async def test_silence_ends_the_call(monkeypatch: pytest.MonkeyPatch, has_ended: bool) -> None:
    retelling, leg, _, inbox = made(monkeypatch)
    retelling.tell(leg)
    leg.ended = has_ended
    handler, asked = await inbox.get()
    if has_ended:
        assert await handler(asked) is None
    else:
        with pytest.raises(MediaLost, match="does not answer"):
            await handler(asked)


async def test_a_second_move_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    retelling, leg, media, inbox = made(monkeypatch)
    retelling.tell(leg)
    media.elsewhere[None] = "v=0 again"
    retelling.tell(leg)
    handler, asked = await inbox.get()
    assert await handler(asked) is None
    handler, asked = await inbox.get()
    with pytest.raises(MediaLost):
        await handler(asked)
