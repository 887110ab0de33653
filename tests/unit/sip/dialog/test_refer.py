"""REFER within a dialog (RFC 3515, RFC 4488): accepted, told by NOTIFY, or refused; the call goes on."""

import pytest

from sidecar.sip import Leg, Referred
from tests.unit.sip.dialog.test_session import Call
from tests.unit.sip.world import LOCAL, Seen


@pytest.fixture(params=["uas", "uac"])
def call(request: pytest.FixtureRequest) -> Call:
    return Call(request.param)


def refer(call: Call, *headers: tuple[str, str]) -> tuple[Seen, Referred]:
    """An accepted REFER: its answer, and the event."""
    event: list[Referred] = []
    leg: Leg = call.leg

    def accept(heard: object) -> None:
        assert isinstance(heard, Referred)
        event.append(heard)
        heard.referral.accept()

    leg.listener = accept
    (answer, *call.notified) = call.peer.send("REFER", headers=[("Refer-To", "<sip:306@example.org>"), *headers])
    leg.listener = call.events.append
    return answer, event[0]


def test_2_4_an_accepted_refer_is_told_by_notify(call: Call) -> None:
    answer, event = refer(call)
    assert (answer.status, answer.get("Contact")) == (202, f"<sip:{LOCAL}>")
    assert event.target == "sip:306@example.org"
    call.world.take()
    seen = list(call.notified)
    for status in (180, 200, 486):
        event.referral.notify(status)
        seen += call.world.take()
    assert [notify.body for notify in seen] == [
        b"SIP/2.0 100 Trying\r\n", b"SIP/2.0 180 Ringing\r\n", b"SIP/2.0 200 OK\r\n"
    ]  # fmt: skip
    assert {notify.get("Event") for notify in seen} == {f"refer;id={call.peer.cseq}"}
    assert {notify.get("Content-Type") for notify in seen} == {"message/sipfrag;version=2.0"}
    assert [notify.get("Subscription-State").partition(";")[0] for notify in seen] == [
        "active", "active", "terminated"
    ]  # fmt: skip
    for notify in seen:
        call.peer.reply(notify, 481)  # of the subscription, not of the call
    assert call.leg.answered
    call.end()


def test_a_refer_that_crosses_our_bye_is_refused(call: Call) -> None:
    call.leg.bye()
    (answer,) = call.peer.send("REFER", headers=[("Refer-To", "<sip:306@example.org>")])
    assert answer.status == 481
    assert not call.events


def test_the_end_may_wait_for_the_answer_to_the_last_notify(call: Call) -> None:
    _, event = refer(call)
    call.world.take()
    done: list[int] = []
    event.referral.notify(200, lambda: done.append(1))
    (notify,) = call.world.take()
    assert done == []
    call.peer.reply(notify, 200)
    assert done == [1]
    event.referral.notify(200, lambda: done.append(2))  # nothing is left to tell
    assert done == [1, 2]
    call.end()


@pytest.mark.parametrize("value", ["false", "False ;x=y"])
def test_rfc_4488_no_notify_for_one_who_wants_none(call: Call, value: str) -> None:
    answer, event = refer(call, ("Refer-Sub", value), ("Require", "norefersub"))
    assert (answer.status, answer.get("Refer-Sub")) == (202, "false")
    event.referral.notify(200)
    assert call.notified == []
    call.end()


def test_nothing_is_told_after_the_end_of_the_dialog(call: Call) -> None:
    _, event = refer(call)
    call.peer.send("BYE")
    call.world.take()
    event.referral.notify(200)
    assert call.world.take() == []
    call.world.assert_nothing_left()


@pytest.mark.parametrize(("targets", "status"), [
    ([], 400), (["<sip:1@h>", "<sip:2@h>"], 400), (["<sip:1@h>, <sip:2@h>"], 400), (["<306>"], 400), (["*"], 400),
    (["<http://example.org>"], 416), (["<sip:1@h;method=BYE>"], 603),
    (["<sip:1@h?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>"], 603),
])  # fmt: skip
def test_a_refer_that_cannot_be_done_is_refused_and_the_call_goes_on(
    call: Call, targets: list[str], status: int
) -> None:
    (answer,) = call.peer.send("REFER", headers=[("Refer-To", target) for target in targets])
    assert answer.status == status
    assert call.events == []
    assert call.leg.answered
    call.end()
