"""What has happened to calls, from all sidecars of a site."""

from __future__ import annotations

from typing import Any

from callinteractive.facts import CallFacts
from sidecar.story import Stories, Story
from tests.unit.cli.api.test_server import is_as_described
from tests.unit.cli.api.world import World
from tests.unit.sidecar.test_sip_trace import invite, reply, seen

FIRST, SECOND = "a" * 32, "b" * 32


def begin(stories: Stories, call_id: str, at: float, **fields: Any) -> Story:
    facts = CallFacts(call_id, f"1:{call_id}", "306", "Ann", "332", "000*332", 145)
    story = stories.begin(facts)
    story.tell("call.started", at=at, ivr="000*332", **facts.shown(), **fields)
    return story


async def test_the_last_calls_of_all_sidecars(world: World):
    begin(world.stories[0], FIRST, 1000.0).tell("call.ended", at=1002.0, by="caller", code=200)
    begin(world.stories[1], SECOND, 1001.0)
    status, told = await world.ask("GET", "/v1/recent")
    assert status == 200
    assert [(call["call_id"], call["state"], call["caller_number"]) for call in told["calls"]] == [
        (SECOND, "live", "306"),
        (FIRST, "ended", "306"),
    ]
    is_as_described("/v1/recent", "get", status, told)
    await world.sidecars[1].close()
    _, told = await world.ask("GET", "/v1/recent")
    assert len(told["silent"]) == 1


async def test_a_call_that_two_sidecars_know_is_listed_as_the_one_says_that_has_it(world: World):
    for first in (0, 1):
        call_id = str(first) * 32
        begin(world.stories[first], call_id, 1000.0).leave()
        begin(world.stories[1 - first], call_id, 1001.0)
    _, told = await world.ask("GET", "/v1/recent")
    assert [call["state"] for call in told["calls"]] == ["live", "live"]


async def test_the_records_of_a_call_are_in_order_wherever_they_are(world: World):
    begin(world.stories[0], FIRST, 1000.0).tell("call.context", at=1003.0, context="1", option="start")
    other = begin(world.stories[1], FIRST, 1001.0)
    other.tell("call.request", at=1002.0, request="GET /", response="<Response/>")
    status, told = await world.ask("GET", f"/v1/calls/{FIRST}/records")
    assert status == 200
    assert [(record["event"], record["at"][-5:]) for record in told["records"]] == [
        ("call.started", ".000Z"),
        ("call.started", ".000Z"),
        ("call.request", ".000Z"),
        ("call.context", ".000Z"),
    ]
    assert told["records"][2]["response"] == "<Response/>"
    is_as_described("/v1/calls/{id}/records", "get", status, told)


async def test_a_call_of_which_nothing_is_known(world: World):
    status, told = await world.ask("GET", f"/v1/calls/{FIRST}/records")
    assert status == 404
    is_as_described("/v1/calls/{id}/records", "get", status, told)
    await world.sidecars[1].close()
    status, told = await world.ask("GET", f"/v1/calls/{FIRST}/records")
    assert status == 503, "it may be known there"
    assert "sidecar 1" in told["detail"]


async def test_the_sip_messages_of_a_call(world: World):
    """Of the sidecar that knows it."""
    begin(world.stories[1], FIRST, 1000.0)
    world.seen += seen((False, invite("one@x", FIRST)), (True, reply("200 OK", "one@x")))
    status, told = await world.ask("GET", f"/v1/calls/{FIRST}/sip")
    assert (status, [message["title"] for message in told["messages"]]) == (200, ["INVITE sip:332@127.0.0.1", "200 OK"])
    is_as_described("/v1/calls/{id}/sip", "get", status, told)
    assert "306" not in told["messages"][0]["text"], "the facts are a private header"
    status, told = await world.ask("GET", f"/v1/calls/{SECOND}/sip")
    is_as_described("/v1/calls/{id}/sip", "get", status, told)
    assert status == 404


async def test_numbers_of_a_call_that_hides_its_digits(world: World):
    begin(world.stories[0], FIRST, 1000.0).tell("call.digit", digit="*", by="rtp")
    world.seen += seen((False, invite("one@x", FIRST)))
    [message] = (await world.ask("GET", f"/v1/calls/{FIRST}/sip"))[1]["messages"]
    assert message["title"] == "INVITE sip:***@127.0.0.1"
