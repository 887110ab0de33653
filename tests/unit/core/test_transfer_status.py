"""What becomes of a transfer, read from the records of its call (A13)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callinteractive.transfer_status import FollowedTransfer, Outcome


def followed() -> FollowedTransfer:
    return FollowedTransfer("http://h/s", "306,307")


def take(transfer: FollowedTransfer, event: str, at: float = 0.0, **fields: Any) -> tuple[str, int] | None:
    outcome = transfer.take({"event": event, **fields}, at)
    if outcome is None:
        return None
    assert (outcome.url, outcome.numbers) == ("http://h/s", "306,307")
    return outcome.status, outcome.code


def test_one_answers_and_they_talk():
    transfer = followed()
    assert take(transfer, "leg.started", leg="b1") is None
    assert take(transfer, "leg.ringing", leg="b1", code=180) is None
    answered = transfer.take({"event": "leg.answered", "leg": "b1", "by": "307"}, 10.0)
    assert answered == Outcome("http://h/s", "306,307", "answered", 200, "307")
    assert take(transfer, "leg.answered", 11.0, leg="b2", by="308") is None  # a blind transfer
    assert not transfer.is_over
    ended = transfer.take({"event": "call.ended", "by": "callee", "code": 200}, 72.6)
    assert ended == Outcome("http://h/s", "306,307", "ended", 200, "307", 63)
    assert transfer.is_over


def test_a_clock_that_was_set_back_makes_no_negative_time():
    transfer = followed()
    take(transfer, "leg.answered", 10.0, leg="b1")
    ended = transfer.take({"event": "call.ended"}, 5.0)
    assert ended is not None
    assert ended.duration_s == 0


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"event": "leg.ended", "leg": "b1", "code": 486, "outcome": "busy"}, ("busy", 486)),
        ({"event": "leg.ended", "leg": "b1", "code": 487}, ("given_up", 487)),
        ({"event": "call.ended", "by": "caller", "code": 487}, ("given_up", 487)),
        ({"event": "call.ended", "by": "callee", "code": 408}, ("no_answer", 408)),
        ({"event": "call.ended", "by": "system", "code": 404}, ("failed", 404)),
    ],
)
def test_nobody_answers(record, outcome):
    transfer = followed()
    assert take(transfer, **record) == outcome
    assert transfer.is_over


def test_a_branch_of_Kamailio_that_ends_does_not_end_the_transfer():
    transfer = followed()
    assert take(transfer, "leg.ended", leg="k1", code=486, outcome="busy") is None
    assert take(transfer, "leg.answered", leg="k2", by="307") == ("answered", 200)
    assert take(transfer, "leg.ended", leg="k2", code=200) is None
    assert take(transfer, "call.ended", by="caller", code=200) == ("ended", 200)


def test_a_transfer_that_Kamailio_gives_back_has_failed():
    outcome = followed().fail(486)
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("busy", 486)
    transfer = followed()
    take(transfer, "leg.answered", leg="k1")
    assert transfer.fail(486) is None


def test_the_parameters():
    assert Outcome("u", "1,2", "busy", 486).parameters() == {
        "TransferTo": "1,2", "TransferStatus": "busy", "TransferCode": "486",
    }  # fmt: skip
    assert Outcome("u", "1", "ended", 200, "1", 63).parameters() == {
        "TransferTo": "1", "TransferStatus": "ended", "TransferCode": "200", "TransferAnsweredBy": "1",
        "TransferDuration": "63",
    }  # fmt: skip


def test_H1_it_is_followed_on_by_another_sidecar():
    transfer = followed()
    take(transfer, "leg.answered", 10.0, leg="b1", by="307")
    again = FollowedTransfer.from_dict(json.loads(json.dumps(transfer.to_dict())))
    assert again is not None
    ended = again.take({"event": "call.ended"}, 20.0)
    assert ended is not None
    assert (ended.by, ended.duration_s) == ("307", 10)


@pytest.mark.parametrize("data", [None, [], {}, {"url": 1, "numbers": "1", "by": ""}, {"url": "u", "numbers": "1"}])
def test_what_is_no_transfer_is_none(data):
    assert FollowedTransfer.from_dict(data) is None
