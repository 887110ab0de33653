"""Which sink gets which records, and that none harms a call (E2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from callinteractive.event_sinks import Events, EventsHttp
from callinteractive.facts import CallFacts
from callinteractive.secret import Secret
from sidecar.events.sinks import Sinks
from sidecar.story import Stories
from tests.unit.call.harness import true
from tests.unit.events.test_callbacks import Application

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", 'Ann "\udcff"', "332", "000*332", 145)
SECRET = Secret("a2tra2tra2tra2tra2tra2tra2tra2tr")


async def told(sinks: Sinks) -> None:
    """A call, and the end of its sidecar."""
    stories = Stories()
    await sinks.open(stories)
    story = stories.begin(FACTS)
    story.tell("call.started", **FACTS.shown())
    story.tell("call.request", url="http://h/", request="GET http://h/", response="HTTP 200\n\n<Response/>")
    story.tell("call.ended", by="caller", code=200)
    await sinks.close()
    story = stories.begin(CallFacts("d" * 32, "1:d", "307", "", "332", "000*332", 145))
    story.tell("call.started")  # nobody hears it, and nothing fails


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("bodies", [False, True])
async def test_the_file_gets_every_record_and_bodies_only_where_asked_for(tmp_path, bodies):
    await told(Sinks(Events(file="events.jsonl", bodies=bodies), tmp_path, None))
    found = records(tmp_path / "events.jsonl")
    assert [record["event"] for record in found] == ["call.started", "call.request", "call.ended"]
    assert found[0]["caller_name"] == 'Ann "\udcff"'
    assert ("response" in found[1]) is bodies
    assert "response" not in found[2]["requests"][0]


async def test_standard_output_gets_them_too(tmp_path, capfd):
    await told(Sinks(Events(stdout=True), tmp_path, None))
    assert [json.loads(line)["seq"] for line in capfd.readouterr().out.splitlines()] == [1, 2, 3]


async def test_the_web_application_gets_what_it_wants(tmp_path):
    application = Application()
    await application.start()
    try:
        sinks = Sinks(Events(http=EventsHttp(application.url, (SECRET,), ("call.ended",))), tmp_path, tmp_path / "q")
        await told(sinks)
        assert len(list((tmp_path / "q").iterdir())) == 1
        again = Sinks(Events(http=EventsHttp(application.url)), tmp_path, tmp_path / "q")
        await again.open(Stories())
        await true(lambda: bool(application.got))
        await again.close()
        assert [record["event"] for record in application.got] == ["call.ended"]
    finally:
        await application.stop()


@pytest.mark.parametrize(
    ("secret", "folder", "reason"),
    [
        (Secret(variable="NOT_THERE_AT_ALL"), "q", "a secret: the environment has no variable NOT_THERE_AT_ALL"),
        (Secret("tooshort"), "q", "a secret: "),
        (SECRET, None, "there is no folder for what waits"),
        (SECRET, "file/q", "Not a directory"),
    ],
)
async def test_a_sink_that_cannot_be_used_is_told_and_harms_no_call(tmp_path, secret, folder, reason):
    (tmp_path / "file").write_text("")
    events = Events(file="events.jsonl", http=EventsHttp("http://127.0.0.1:9/", (secret,)))
    with capture_logs() as lines:
        await told(Sinks(events, tmp_path, folder and tmp_path / folder))
    assert [line["event"] for line in lines] == ["events are not sent"]
    assert reason in lines[0]["reason"]
    assert len(records(tmp_path / "events.jsonl")) == 3


async def test_lost_records_are_counted(tmp_path):
    sinks = Sinks(Events(file="none/events.jsonl"), tmp_path, None)
    await told(sinks)
    assert sinks.lost == 3


async def test_lost_records_are_told_but_not_again_and_again(tmp_path):
    stories, sinks = Stories(), Sinks(Events(file="none/events.jsonl"), tmp_path, None)
    await sinks.open(stories)
    with capture_logs() as lines:
        for number in range(1, 4):
            stories.begin(FACTS).tell("call.answered")
            sinks._write_out()
            await true(lambda number=number: sinks.lost >= number or bool(lines))
    await sinks.close()
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("events are lost", "error")
    assert "No such file or directory" in line["reason"]
