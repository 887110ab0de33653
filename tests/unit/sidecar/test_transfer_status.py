"""The web application is told what became of a transfer: with all parameters, in order, again where it fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from urllib.parse import parse_qsl

import pytest
from structlog.testing import capture_logs

from callinteractive.events import Fetched, FetchFailed
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr
from callinteractive.request import HttpRequest
from callinteractive.secret import Secret
from callinteractive.web import Web
from sidecar import transfer_status as module
from sidecar.events.kept import KeptItems
from sidecar.events.queue import EventQueue
from sidecar.story import Stories, Story
from sidecar.transfer_status import StatusRequest, TransferStatuses
from sidecar.webhook import Webhook
from tests.unit.call.harness import true

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145, "+1555", "000*306", 17)
WEB = Web(headers=(("X-Key", Secret("key")),))
URL = "http://h/status?key=1"


class World:
    """A sidecar's stories. `answers` are the web application's next answers; then it says 204."""

    def __init__(self, kept: KeptItems | None = None) -> None:
        self.sent: list[HttpRequest] = []
        self.answers: list[Any] = []
        webhook = create_autospec(Webhook, instance=True)
        webhook.fetch.side_effect = self._fetch
        self.stories = Stories()
        ivr = Ivr("000*332", 145, "1", connect_timeout_s=0.5, request_timeout_s=3, web=WEB)
        self.statuses = TransferStatuses(self.stories, webhook, {"000*332": ivr}.get, kept)

    async def _fetch(self, request: HttpRequest) -> Any:
        self.sent.append(request)
        await asyncio.sleep(0)
        return self.answers.pop(0) if self.answers else Fetched(204, b"")

    def begin(self, number: int = 0, url: str | None = URL) -> Story:
        story = self.stories.begin(CallFacts(f"{number:032}", "1:x", "306", "Ann", "332", "000*332", 145))
        story.begin_transfer(url, ("306", "307"))
        return story

    def told(self) -> list[str]:
        return [dict(parse_qsl(str(request.body, "ascii")))["TransferStatus"] for request in self.sent]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "PAUSES_S", (0.001, 0.001))
    return World()


async def test_it_has_the_parameters_of_a_request_and_its_own(world):
    story = world.stories.begin(FACTS)
    story.tell("call.started", ivr="000*332", **FACTS.shown())
    story.begin_transfer(URL, ("306", "307"))
    story.tell("leg.answered", leg="b1", by="307")
    await true(lambda: len(world.sent) == 1)
    (request,) = world.sent
    assert (request.method, request.url, request.id) == ("POST", URL, f"{FACTS.call_id}-t2")
    assert (request.connect_timeout_s, request.timeout_s, request.web) == (0.5, 3, WEB)
    assert dict(parse_qsl(str(request.body, "ascii"))) == {
        **FACTS.parameters("Ann", "306"),
        "EventType": "transfer_status",
        "TransferTo": "306,307",
        "TransferStatus": "answered",
        "TransferCode": "200",
        "TransferAnsweredBy": "307",
    }


async def test_what_fails_is_sent_again_and_what_comes_later_waits(world):
    world.answers = [FetchFailed("timeout", "slow"), Fetched(500, b"")]
    story = world.begin()
    story.tell("leg.answered", leg="b1")
    story.tell("call.ended", by="caller")
    await true(lambda: len(world.sent) == 4)
    assert world.told() == ["answered", "answered", "answered", "ended"]
    assert len({request.id for request in world.sent}) == 2
    await true(lambda: not world.statuses._waiting)


async def test_it_is_given_up_in_the_end_and_told(world):
    world.answers = [Fetched(404, b"")] * 3
    with capture_logs() as lines:
        world.begin().tell("leg.ended", leg="b1", code=486, outcome="busy")
        await true(lambda: world.statuses.lost == 1)
    assert [(line["event"], line["reason"]) for line in lines] == [("status_url", "HTTP status 404")]
    assert world.told() == ["busy"] * 3


@pytest.mark.parametrize("outcome", ["too_large", "invalid"])
async def test_the_body_of_its_answer_does_not_matter(world, outcome):
    world.answers = [FetchFailed(outcome, "of a 2xx")]
    world.begin().tell("leg.ended", leg="b1", code=486, outcome="busy")
    await true(lambda: world.statuses.waiting == 0)
    assert (world.told(), world.statuses.lost) == (["busy"], 0)


async def test_a_transfer_without_a_status_url_tells_nobody(world):
    story = world.begin(url=None)
    story.tell("leg.answered", leg="b1")
    story.tell("call.ended")
    await asyncio.sleep(0.01)
    assert world.sent == []


async def test_each_transfer_is_told_once_and_by_an_id_of_its_own(world):
    story = world.begin()
    story.tell("leg.ended", leg="b1", code=486, outcome="busy")
    story.tell("leg.ended", leg="b1", code=486, outcome="busy")
    story.begin_transfer(URL, ("308",))
    story.tell("leg.started", leg="b2")
    story.tell("leg.ended", leg="b2", code=480, outcome="no_answer")
    story.tell("call.ended", by="caller")
    await true(lambda: len(world.sent) == 2)
    assert world.told() == ["busy", "no_answer"]
    assert len({request.id for request in world.sent}) == 2


async def test_W1_where_its_ivr_has_gone_nothing_unsigned_is_sent(world, monkeypatch):
    monkeypatch.setattr(world.statuses, "_ivr_of", lambda _number: None)
    story = world.begin(url="http://me:geheim@h/status")
    with capture_logs() as lines:
        story.tell("leg.answered", leg="b1")
        await true(lambda: world.statuses.lost == 1)
    assert world.sent == []
    assert [line["reason"] for line in lines] == ["ivr.yaml has no IVR 000*332 any more"]
    assert "geheim" not in repr(lines)


async def test_what_waits_is_bounded(world, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    for number in range(3):
        world.begin(number).tell("leg.answered", leg="b1")
    assert world.statuses.lost == 1
    await true(lambda: len(world.sent) == 2)


async def test_a_stopping_sidecar_waits_for_nothing(world):
    world.begin().tell("leg.answered", leg="b1")
    await world.statuses.close()
    await true(lambda: not world.statuses._waiting and not world.statuses._tasks)
    assert world.sent == []


async def test_H1_another_sidecar_tells_the_rest(world):
    there = World()
    story = there.begin()
    story.tell("leg.answered", leg="b1", by="307")
    heir = world.stories.begin(CallFacts(f"{0:032}", "1:x", "306", "Ann", "332", "000*332", 145), story.to_json())
    heir.tell("call.ended", by="caller", code=200)
    await true(lambda: bool(world.sent))
    assert world.told() == ["ended"]


def kept_in(folder: Path) -> KeptItems:
    return KeptItems(EventQueue(folder, 10**6))


async def test_E2_what_one_process_could_not_tell_the_next_one_does_in_order_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", (60.0,))
    before = World(kept_in(tmp_path))
    await before.statuses.open()
    before.answers = [FetchFailed("unreachable", "refused")]
    story = before.begin(url="http://me:geheim@h/status")
    story.tell("leg.answered", leg="b1", by="307")
    story.tell("call.ended", by="caller", code=200)
    await true(lambda: len(before.sent) == 1)
    await before.statuses.close()
    assert before.statuses.lost == 0
    after = World(kept_in(tmp_path))
    await after.statuses.open()
    await true(lambda: after.told() == ["answered", "ended"])
    assert after.sent[0] == before.sent[0]
    assert after.sent[0].authorization is not None
    await after.statuses.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_was_told_or_given_up_is_no_longer_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", (0.001,))
    world = World(kept_in(tmp_path))
    await world.statuses.open()
    world.answers = [Fetched(404, b"")] * 2
    story = world.begin()
    story.tell("leg.answered", leg="b1", by="307")
    await true(lambda: world.statuses.lost == 1)
    story.tell("call.ended", by="caller", code=200)
    await true(lambda: world.told()[-1:] == ["ended"] and world.statuses.waiting == 0)
    await world.statuses.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"call_id": 1}', b"\xff", b"[" * 5000])
async def test_a_file_that_is_no_request_is_removed_and_told(tmp_path, text):
    world = World(kept_in(tmp_path))
    EventQueue(tmp_path, 10**6).put(text or b" ", 1)
    with capture_logs() as lines:
        await world.statuses.open()
    assert [(line["event"], line["reason"]) for line in lines] == [("status_url", "a file of another release")]
    await world.statuses.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_request_that_cannot_be_sent_at_all_is_given_up_and_told(tmp_path, monkeypatch):
    """It was tried again at once and for ever."""
    monkeypatch.setattr(module, "PAUSES_S", (0.001, 0.001))
    asked = {"call_id": "c", "ivr": "000*332", "id": "i", "url": URL, "body": "é", "authorization": None, "at": 1.0}
    EventQueue(tmp_path, 10**6).put(json.dumps(asked).encode(), 1)
    world = World(kept_in(tmp_path))
    with capture_logs() as lines:
        await world.statuses.open()
        await true(lambda: world.statuses.lost == 1)
    assert [line["event"] for line in lines].count("a request failed") <= 3
    await true(lambda: world.statuses.waiting == 0)
    await world.statuses.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_read_keeps_no_other_from_being_sent(tmp_path):
    queue = EventQueue(tmp_path, 10**6)
    unreadable, readable = queue.put(b"{}", 1), StatusRequest("c", "000*332", "i", URL, "a=1", None, 1.0)
    queue.put(readable.to_json(), 1)
    (tmp_path / unreadable.name).unlink()
    (tmp_path / unreadable.name).mkdir()
    world = World(kept_in(tmp_path))
    with capture_logs() as lines:
        await world.statuses.open()
        await true(lambda: len(world.sent) == 1)
        await world.statuses.close()
    assert (lines[0]["event"], lines[0]["reason"]) == ("status_url", "a file that can't be read")
    assert all("disk" in line["change"] for line in lines)


async def test_a_folder_that_cannot_be_used_costs_only_safety(tmp_path):
    (tmp_path / "file").write_text("")
    world = World(kept_in(tmp_path / "file" / "folder"))
    with capture_logs() as lines:
        await world.statuses.open()
        world.begin().tell("leg.answered", leg="b1")
        await true(lambda: world.told() == ["answered"])
        await world.statuses.close()
    assert {line["event"] for line in lines} == {"status_url: requests are in memory only", "not kept on disk"}


async def test_while_the_application_is_not_there_it_is_tried_for_a_day(world, monkeypatch):
    monkeypatch.setattr(module, "LONG_PAUSE_S", 0.001)
    world.answers = [FetchFailed("breaker", "silent"), *[Fetched(502, b"")] * 10]
    world.begin(1).tell("leg.answered", leg="b1")
    await true(lambda: len(world.sent) == 12)
    await true(lambda: world.statuses.waiting == 0)
    assert world.statuses.lost == 0
    monkeypatch.setattr(module, "GIVE_UP_S", 0.0)
    world.answers = [Fetched(502, b"")]
    world.begin(2).tell("leg.answered", leg="b1")
    await true(lambda: world.statuses.lost == 1)


async def test_a_call_of_ours_tells_too(world):
    facts = CallFacts("d" * 32, "1:" + "d" * 32, "306", "", "4912", "000*332", 145, is_outgoing=True)
    story = world.stories.begin(facts)
    story.begin_transfer(URL, ("306",))
    story.tell("leg.answered", leg="b1", by="306")
    await true(lambda: bool(world.sent))
    assert ("CallFlow", "OUT") in parse_qsl(str(world.sent[0].body, "ascii"))
