"""A phone transfers a connected call by REFER: who may, who stays, and what is told to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from callinteractive.headers import AnsweredHeader, TransferHeader
from sidecar import sip
from sidecar.call.blind_transfer import number_in
from sidecar.media.errors import MediaUnavailable
from tests.unit.call import harness
from tests.unit.call.harness import Recorder, until_idle

RULES = '[simple_transfer: {to: ["000*306"]}]'


class Response:
    """A 200 of Kamailio's."""

    def __init__(self, *, is_extension: bool) -> None:
        self._header = str(AnsweredHeader("000*306", is_extension))

    def header(self, name: str) -> str | None:
        return self._header if name == AnsweredHeader.NAME else None


async def bridged(make, *, is_extension: bool = True, **results):
    h = make(RULES, **results)
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", Response(is_extension=is_extension)))
    await h.until("media.bridge(b1)")
    return h


class Referral(Recorder):
    def notify(self, status: int, done: Callable[[], None] | None = None) -> None:
        self._log.append(f"referral.notify({status})")
        if done is not None:
            done()


def refer(h, leg, target: str = "sip:307@h") -> None:
    leg.listener(sip.Referred(target, Referral(sip.ReferralResponder, h.log, "referral", {})))


async def test_the_callee_transfers_the_caller(make):
    h = await bridged(make)
    referrer = h.b_leg
    refer(h, referrer)
    await h.until("invite(max_forwards 69)", 2)
    assert "referral.accept" in h.log
    assert TransferHeader.parse(h.invites[1]["X-CI-Transfer"]) == TransferHeader(("307",), None, False)
    assert h.invites[1]["From"] == '"Ann" <sip:306@127.9.0.1>'
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    await h.until("referral.notify(180)")
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", Response(is_extension=True)))
    await h.until("media.unbridge(b1)")
    assert h.log.index("media.bridge(b2)") < h.log.index("referral.notify(200)") < h.log.index("b.bye(Q.850;cause=16)")
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=31"))
    assert "a.bye(Q.850;cause=31)" in await h.over()


async def test_the_caller_transfers_the_callee(make, monkeypatch):
    monkeypatch.setattr(harness, "FACTS", replace(harness.FACTS, caller_extension="000*300", caller_extension_id=1))
    h = await bridged(make, promote="caller")
    first = h.b_leg
    refer(h, h.leg, "sip:000*307@h")
    await h.until("invite(max_forwards 69)", 2)
    assert "media.promote(b1)" in h.log
    assert h.invites[1]["From"] == "<sip:000*306@127.9.0.1>"
    h.media.elsewhere["caller"] = "sdp"
    h.media.when_moved(True)
    await h.until("a.reinvite")  # it has another name in the media now
    h.leg.ended, h.leg.answered = True, False
    h.leg.listener(sip.Ended(sip.EndReason.BYE, None))  # it need not wait (RFC 5589 6.1)
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", Response(is_extension=True)))
    await h.until("media.unbridge(caller)")
    assert not h.task.done()
    first.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    log = await h.over()
    assert log.count("b.bye(Q.850;cause=16)") == 1  # of the target


@pytest.mark.parametrize("status", [200, 486])
async def test_a_caller_that_hangs_up_right_after_its_refer_has_transferred_the_callee(make, monkeypatch, status):
    """RFC 5589 6.1: with the 202 it is done. The call's task has not heard of the REFER yet."""
    monkeypatch.setattr(harness, "FACTS", replace(harness.FACTS, caller_extension="000*300", caller_extension_id=1))
    h = await bridged(make, promote="caller")
    first = h.b_leg
    refer(h, h.leg, "sip:000*307@h")
    h.leg.ended, h.leg.answered = True, False
    h.leg.listener(sip.Ended(sip.EndReason.BYE, None))
    await h.until("invite(max_forwards 69)", 2)
    if status == 200:
        h.b_leg.answered = True
        h.b_leg.listener(sip.Answered(b"sdp", Response(is_extension=True)))
        await h.until("media.unbridge(caller)")
        assert not h.task.done()
        first.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    else:
        h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    log = await h.over()
    assert log.count("b.bye(Q.850;cause=16)") == (status == 200)  # of the target
    assert log.count("b.bye(SIP ;cause=486)") == (status == 486)  # of who stays, with nobody left
    records = h.stories.of(harness.FACTS.call_id)
    assert [record["leg"] for record in records if record["event"] == "leg.ended"] == ["a", "b2"]


@pytest.mark.parametrize("by_callee", [True, False])
async def test_who_has_left_by_a_transfer_can_ask_for_no_other_one(make, monkeypatch, by_callee):
    """It has its leg until it has answered the NOTIFY, or 32 s."""
    monkeypatch.setattr(harness, "FACTS", replace(harness.FACTS, caller_extension="000*300", caller_extension_id=1))
    monkeypatch.setattr(Referral, "notify", lambda *_: None)
    h = await bridged(make, promote="caller")
    referrer = h.b_leg if by_callee else h.leg
    refer(h, referrer)
    await h.until("invite(max_forwards 69)", 2)
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", Response(is_extension=True)))
    await h.until("media.unbridge(b1)" if by_callee else "media.unbridge(caller)")
    await h.settled()
    refer(h, referrer)
    assert h.log[-1] == "referral.reject(491)"
    refer(h, h.b_leg)
    assert h.log[-1] == "referral.accept"


async def test_nobody_is_rung_for_a_callee_that_hangs_up_as_it_is_transferred(make, monkeypatch):
    """Both datagrams are read at once, before the call's task has heard of the REFER."""
    monkeypatch.setattr(harness, "FACTS", replace(harness.FACTS, caller_extension="000*300", caller_extension_id=1))
    h = await bridged(make, promote="caller")
    refer(h, h.leg, "sip:000*307@h")
    h.b_leg.ended, h.b_leg.answered = True, False
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    log = await h.over()
    assert len(h.invites) == 1
    assert "referral.notify(480)" in log
    assert "a.bye(Q.850;cause=16)" in log
    ended = h.stories.of(harness.FACTS.call_id)[-1]
    assert (ended["event"], ended["by"], ended["code"]) == ("call.ended", "callee", 200)


@pytest.mark.parametrize("by_bye", [False, True])
async def test_a_target_that_fails_leaves_the_call_as_it_was(make, by_bye):
    h = await bridged(make)
    referrer = h.b_leg
    refer(h, referrer)
    await h.until("invite(max_forwards 69)", 2)
    if by_bye:
        referrer.ended, referrer.answered = True, False
        referrer.listener(sip.Ended(sip.EndReason.BYE, None))
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    await h.until("referral.notify(486)")
    if by_bye:
        assert "a.bye(SIP ;cause=486)" in await h.over()
    else:
        await h.settled()
        assert not h.task.done()
        refer(h, referrer)  # and may try again
        await h.until("invite(max_forwards 69)", 3)
        await h.ended()


async def test_media_that_fails_for_the_target_leaves_the_call_as_it_was(make):
    h = await bridged(make)
    h.media._results["offer_leg"] = MediaUnavailable("full")
    refer(h, h.b_leg)
    await h.until("referral.notify(503)")
    await h.settled()
    assert h.b_leg.answered
    await h.ended()


async def test_the_caller_hangs_up_while_the_target_rings(make):
    h = await bridged(make)
    refer(h, h.b_leg)
    await h.until("invite(max_forwards 69)", 2)
    h.leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    assert (await h.over()).count("b.bye(Q.850;cause=16)") == 2


@pytest.mark.parametrize(
    ("is_extension", "asked_by", "target", "status"),
    [(False, "b_leg", "sip:307@h", 403), (True, "leg", "sip:307@h", 403), (True, "b_leg", "sip:a b@h", 404)],
)
async def test_who_may_not_transfer_is_refused_and_the_call_goes_on(make, is_extension, asked_by, target, status):
    h = await bridged(make, is_extension=is_extension)
    refer(h, getattr(h, asked_by), target)
    assert h.log[-1] == f"referral.reject({status})"
    await until_idle()
    assert not h.task.done()
    await h.ended()


async def test_a_second_transfer_waits_for_the_first(make):
    h = await bridged(make)
    referrer = h.b_leg
    refer(h, referrer)
    refer(h, referrer)
    assert "referral.reject(491)" in h.log
    await h.ended()


async def test_in_a_menu_there_is_nobody_to_transfer(make):
    h = make("[pause: {length: 30}]")
    await h.answered()
    refer(h, h.leg)
    assert "referral.reject(603)" in h.log
    assert not h.task.done()
    await h.ended()


async def test_while_it_still_rings_there_is_nobody_to_transfer(make):
    h = make(RULES)
    await h.answered()
    await h.until("invite(max_forwards 69)")
    refer(h, h.leg)
    assert h.log[-1] == "referral.reject(603)"
    await h.ended()


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        ("sip:306@127.0.0.1:5060;user=phone", "306"), ("sip:000*306@h", "000*306"),
        ("sip:%2B1555-01.00@h", "+15550100"),
        ("sip:306;phone-context=x@h", "306"),
        ("sip:0199;phone-context=+1-555@h;user=phone", "+15550199"), ("tel:0199;phone-context=+1(555)", "+15550199"),
        ("tel:+1-555-(0100);x=y", "+15550100"), ("sips:306:secret@h", "306"),
        ("tel:+1555;phone-context=+7", "+1555"), ("tel:5-55", "555"), ("sip:5-55@h", "5-55"),
        ("sip:h", None), ("sip:a%0d%0ab@h", None), ("sip:@h", None),
    ],
)  # fmt: skip
def test_the_number_of_a_target(uri: str, number: str | None) -> None:
    assert number_in(uri) == number
