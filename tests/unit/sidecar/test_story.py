"""The stories of a sidecar's calls: order, bounds, who gets them, and how a story goes on elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from callinteractive.facts import CallFacts
from callinteractive.record import HEIR_STEP, NAMES, UNKNOWN_FROM
from sidecar import story as module
from sidecar.story import Stories

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)


def facts(number: int) -> CallFacts:
    return replace(FACTS, call_id=f"{number:032}")


def test_E2_records_of_a_call_are_numbered_from_1_in_order():
    stories, seen = Stories(), []
    stories.subscribe(seen.append)
    one, other = stories.begin(FACTS), stories.begin(facts(1))
    one.tell("call.started", ivr="000*332")
    other.tell("call.started", ivr="000*332")
    stories.tell_fields(FACTS.call_id, "call.answered", {}, at=1_795_671_721.4)
    assert [(record["call_id"][0], record["seq"], record["event"]) for record in seen] == [
        ("c", 1, "call.started"),
        ("0", 1, "call.started"),
        ("c", 2, "call.answered"),
    ]
    assert seen[2] == {
        "event": "call.answered",
        "at": "2026-11-26T05:42:01.400Z",
        "call_id": FACTS.call_id,
        "call_api_id": FACTS.call_api_id,
        "seq": 2,
    }
    assert stories.of(FACTS.call_id) == [seen[0], seen[2]]


def test_nothing_follows_the_end_of_a_call():
    stories = Stories()
    story = stories.begin(FACTS)
    story.tell("call.started", caller_number="306")
    story.tell("call.ended", by="caller", code=200)
    story.tell("leg.ended", leg="b1")
    stories.tell_fields(FACTS.call_id, "call.ended", {})
    (_, last) = stories.of(FACTS.call_id)
    assert last["event"] == "call.ended"
    assert (last["by"], last["caller_number"], last["legs"]) == ("caller", "306", [])
    assert last["ended_at"] == last["at"]


def test_a_subscriber_that_fails_harms_nobody():
    def fail(_record: dict[str, Any]) -> None:
        raise RuntimeError("broken")

    stories, seen = Stories(), []
    end = stories.subscribe(fail)
    stories.subscribe(seen.append)
    stories.begin(FACTS).tell("call.answered")
    end()
    stories.begin(FACTS).tell("call.answered")
    assert len(seen) == 2


def test_what_nobody_reads_is_not_written_and_what_was_read_stays():
    def bodies() -> dict[str, str]:
        written.append(1)
        return {"request": "GET /", "response": "HTTP 200"}

    stories, events, seen, written = Stories(), [], [], []
    stories.watch(NAMES, lambda event, fields: events.append((event, dict(fields))))
    stories.subscribe(seen.append, with_bodies=False)
    story = stories.begin(FACTS)
    story.tell("call.started", ivr="000*332")
    story.tell_fields("call.request", {"id": "1", "outcome": "ok"}, bodies=bodies)
    story.tell("call.ended", by="caller")
    assert [event for event, _ in events] == ["call.started", "call.request", "call.ended"]
    assert events[1] == ("call.request", {"id": "1", "outcome": "ok"})
    assert (events[2][1]["by"], list(events[2][1]["legs"])) == ("caller", [])
    assert seen[2]["requests"][0]["outcome"] == "ok"
    assert "response" not in seen[1]
    assert not written
    first = stories.of(FACTS.call_id)
    assert first[1]["response"] == "HTTP 200"
    assert all(old is new for old, new in zip(first, stories.of(FACTS.call_id), strict=True))
    assert len(written) == 1
    stories.subscribe(seen.append)
    again = stories.begin(FACTS)
    again.tell_fields("call.request", {"id": "2"}, bodies=bodies)
    assert seen[-1]["response"] == "HTTP 200"


def test_a_watcher_that_fails_harms_nobody():
    def fail(_event: str, _fields: Any) -> None:
        raise RuntimeError("broken")

    stories, seen = Stories(), []
    stories.watch(NAMES, fail)
    stories.watch(NAMES, lambda event, _fields: seen.append(event))
    stories.subscribe(lambda record: seen.append(record["event"]))
    stories.begin(FACTS).tell("call.answered")
    assert seen == ["call.answered"] * 2


def test_a_watcher_hears_of_its_events_only():
    stories, seen = Stories(), []
    stories.watch(("call.answered",), lambda event, _fields: seen.append(event))
    story = stories.begin(FACTS)
    for event in NAMES:
        story.tell(event, leg="b1", context="1", option="start")
    assert seen == ["call.answered"]


def test_a_watcher_hears_of_the_end_what_the_summary_says():
    """Also where nobody has asked for the summary, which is not made then."""
    legs = ("leg.started", "leg.answered")
    for told in ((), ("call.answered",), legs, ("call.answered", *legs)):
        for is_read in (False, True):
            stories, seen = Stories(), []
            stories.watch(("call.ended",), lambda _event, fields, seen=seen: seen.append(dict(fields)))
            story = stories.begin(FACTS)
            story.tell("call.started", ivr=FACTS.called_extension)
            for event in told:
                story.tell(event, leg="b1", at=1_795_671_721.4)
            if is_read:
                _ = story.summary
            story.tell("call.ended", by="callee", code=200)
            (heard,), whole = seen, story.records[-1]
            names = ("ivr", "answered_at", "by", "code")
            assert {name: heard[name] for name in names} == {name: whole[name] for name in names}
            assert [leg.get("answered_at") for leg in heard["legs"]] == [leg["answered_at"] for leg in whole["legs"]]


def test_the_end_of_a_call_that_is_forgotten_at_once_is_told_whole(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 0)
    stories, seen = Stories(), []
    stories.subscribe(seen.append)
    story = stories.begin(FACTS)
    story.tell("call.context", context="1", option="start")
    story.tell("call.ended", by="script", code=200)
    assert not stories.knows(FACTS.call_id)
    assert seen[-1]["path"] == [{"context": "1", "option": "start"}]


def test_the_summary_tells_also_what_is_not_kept(monkeypatch):
    monkeypatch.setattr(module, "FEW_RECORDS", 1)
    monkeypatch.setattr(module, "MOST_RECORDS", 1)
    stories = Stories()
    story = stories.begin(FACTS)
    for number in range(7):
        story.tell("call.context", context=str(number), option="start")
    assert len(story.told) == 1
    assert [step["context"] for step in story.summary.path] == list("0123456")


def test_the_list_is_newest_first_and_says_where_calls_are():
    stories = Stories()
    for number in range(3):
        stories.begin(facts(number)).tell("call.started", caller_number=str(number))
    stories.tell_fields(facts(1).call_id, "call.context", {"context": "7", "option": "start"})
    stories.begin(facts(1)).leave()
    stories.tell_fields(facts(0).call_id, "call.ended", {})
    assert [(call["caller_number"], call["state"]) for call in stories.recent()] == [
        ("2", "live"), ("1", "left"), ("0", "ended"),
    ]  # fmt: skip
    assert stories.recent()[1]["context"] == "7"


def test_past_calls_are_forgotten_and_live_ones_are_not(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 2)
    stories = Stories()
    stories.begin(facts(0)).tell("call.answered")
    for number in range(1, 5):
        stories.begin(facts(number)).tell("call.ended")
    assert [stories.knows(facts(number).call_id) for number in range(5)] == [True, False, False, True, True]
    assert stories.of(facts(1).call_id) == []
    assert len(stories.recent()) == 2


def test_a_call_left_to_Kamailio_keeps_its_summary_when_its_records_are_gone(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 1)
    stories = Stories()
    for number in range(3):
        story = stories.begin(facts(number))
        story.tell("call.started", caller_number=str(number))
        story.leave()
    assert stories.of(facts(0).call_id) == []
    seen: list[dict[str, Any]] = []
    stories.subscribe(seen.append)
    stories.tell_fields(facts(0).call_id, "call.ended", {"by": "callee", "code": 200})
    assert (seen[0]["caller_number"], seen[0]["seq"]) == ("0", 2)


def test_a_call_left_to_Kamailio_is_small_again_after_news_of_it(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 1)
    stories = Stories()
    first = stories.begin(facts(0))
    for number in range(3):
        stories.begin(facts(number)).leave()
    assert first.is_packed
    stories.tell_fields(facts(0).call_id, "leg.answered", {"leg": "k1", "by": "306"})
    assert not first.is_packed
    stories.begin(facts(3)).leave()
    assert first.is_packed
    assert stories.of(facts(0).call_id) == []
    stories.tell_fields(facts(0).call_id, "call.ended", {"by": "callee"})
    (end,) = stories.of(facts(0).call_id)
    assert (end["seq"], end["legs"][0]["by"]) == (2, "306")


def test_calls_left_to_Kamailio_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_LEFT", 2)
    stories = Stories()
    for number in range(3):
        stories.begin(facts(number)).leave()
    assert [stories.knows(facts(number).call_id) for number in range(3)] == [False, True, True]


def test_a_call_that_comes_back_is_live_again_and_counts_on(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 1)
    stories = Stories()
    story = stories.begin(FACTS)
    story.tell("call.started", caller_number="306")
    story.leave()
    again = stories.begin(FACTS)
    stories.begin(facts(1)).leave()
    stories.begin(facts(2)).leave()
    assert again is story
    assert again.state == "live"
    assert [record["seq"] for record in stories.of(FACTS.call_id)] == [1]


def test_who_hears_of_an_unknown_call_can_tell_its_end():
    """Kamailio tells another sidecar, as the one that was asked has died."""
    stories, seen = Stories(), []
    stories.subscribe(seen.append)
    stories.tell_fields("d" * 32, "leg.answered", {"leg": "k1", "by": "306"}, call_api_id="1:d")
    stories.tell_fields("d" * 32, "call.ended", {"by": "callee", "code": 200})
    assert [record["seq"] for record in seen] == [UNKNOWN_FROM + 1, UNKNOWN_FROM + 2]  # 1 and 2 are the dead one's
    assert seen[1]["call_api_id"] == "1:d"
    assert seen[1]["legs"][0]["by"] == "306"


def test_H1_a_story_goes_on_at_another_sidecar_with_numbers_of_its_own():
    first, second = Stories(), Stories()
    story = first.begin(FACTS)
    story.tell("call.started", caller_number="306")
    heir = second.begin(FACTS)
    heir.resume(json.loads(json.dumps(story.to_dict())))
    story.tell("call.digit", digit="1")  # told after it was written down
    heir.tell("call.ended", by="caller")
    (record,) = second.of(FACTS.call_id)
    assert record["seq"] == HEIR_STEP + 1
    assert record["caller_number"] == "306"


def test_a_call_that_has_been_elsewhere_meanwhile_comes_back_with_what_was_told_there():
    first, second = Stories(), Stories()
    story = first.begin(FACTS)
    story.tell("call.context", context="1", option="start")
    story.leave()
    there = second.begin(FACTS, story.to_json())
    there.tell("call.context", context="2", option="start")
    again = first.begin(FACTS, there.to_json())
    again.tell("call.ended", by="caller")
    assert again is story
    end = first.of(FACTS.call_id)[-1]
    assert [step["context"] for step in end["path"]] == ["1", "2"]
    assert end["seq"] == 2 * HEIR_STEP + 1


def test_a_call_that_comes_back_here_is_known_better_than_its_header_tells_it():
    stories = Stories()
    story = stories.begin(FACTS)
    text = story.to_json()
    story.tell("leg.started", leg="k1", targets=["306"])  # Kamailio has told it meanwhile
    stories.begin(FACTS, text).tell("call.ended", by="caller")
    end = stories.of(FACTS.call_id)[-1]
    assert (end["seq"], len(end["legs"])) == (2, 1)


def test_a_story_without_its_lists_says_how_many_there_were_and_who_must_be_told():
    story = Stories().begin(FACTS)
    story.tell("call.started", caller_number="306")
    story.tell("call.context", context="1", option="start")
    story.tell("call.request", url="http://h/", outcome="ok")
    story.begin_transfer("http://h/status", ["306"])
    heir = Stories().begin(FACTS, story.to_json(whole=False))
    assert (heir.seq, heir.summary.left_out) == (HEIR_STEP, 2)
    assert (heir.summary.path, heir.summary.requests) == ([], [])
    assert heir.summary.began_at == story.summary.began_at
    assert heir.summary.who["caller_number"] == "306"
    assert heir.transfer is not None


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"summary": {"who": {}}}'])
def test_whatever_a_header_says_of_a_story_the_caller_is_known(text):
    stories = Stories()
    stories.begin(FACTS, text).tell("call.ended")
    (record,) = stories.of(FACTS.call_id)
    assert (record["caller_number"], record["ivr"]) == ("306", "000*332")
    assert record["began_at"] == record["ended_at"]


@pytest.mark.parametrize("data", [{}, {"seq": "1", "summary": [], "cause": 7}, {"seq": -5, "summary": {"legs": 1}}])
def test_an_unreadable_story_fails_no_call(data):
    story = Stories().begin(FACTS)
    story.resume(data)
    story.tell("call.ended")


def test_a_call_that_another_sidecar_has_is_forgotten():
    stories = Stories()
    story = stories.begin(FACTS)
    story.tell("call.answered")
    stories.forget(story)
    assert not stories.knows(FACTS.call_id)


def test_records_are_bounded_for_each_call_and_the_last_ones_stay(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECORDS", 3)
    monkeypatch.setattr(module, "FEW_RECORDS", 2)
    stories = Stories()
    story = stories.begin(FACTS)
    for _ in range(5):
        story.tell("call.digit", digit="1")
    assert [record["seq"] for record in stories.of(FACTS.call_id)] == [3, 4, 5]


def test_while_there_are_many_calls_each_keeps_fewer_records(monkeypatch):
    monkeypatch.setattr(module, "MANY_CALLS", 2)
    monkeypatch.setattr(module, "FEW_RECORDS", 1)
    stories = Stories()
    for number in range(2):
        stories.begin(facts(number)).tell("call.answered")
        stories.tell_fields(facts(number).call_id, "call.digit", {"digit": "1"})
    assert [len(stories.of(facts(number).call_id)) for number in range(2)] == [2, 1]


def test_texts_of_requests_are_bounded_for_all_calls(monkeypatch):
    monkeypatch.setattr(module, "MOST_BODIES", 1)
    stories = Stories()
    story = stories.begin(FACTS)
    for number in range(2):
        story.tell("call.request", id=str(number), request="GET /", response="HTTP 200")
    old, new = stories.of(FACTS.call_id)
    assert "request" not in old
    assert new["response"] == "HTTP 200"
    for number in range(2):
        story.tell_fields(
            "call.request", {"id": str(number)}, bodies=lambda: {"request": "GET /", "response": "HTTP 201"}
        )
    *_, old, new = stories.of(FACTS.call_id)
    assert "request" not in old
    assert new["response"] == "HTTP 201"
    story.tell("call.request", id="5")
    assert "request" not in new, "also where somebody has read it"
