"""Records told over HTTP: no more text at once than a sidecar has time for."""

from __future__ import annotations

from sidecar.live_stories import MOST_TEXT, bounded


def test_the_texts_of_the_newest_requests_are_told():
    text = "x" * 8192
    many = [{"event": "call.request", "seq": n, "request": text, "response": text} for n in range(200)]
    told = bounded(many)
    assert [record["seq"] for record in told] == list(range(200))
    has_text = ["request" in record for record in told]
    assert has_text == sorted(has_text), "the older ones have none"
    assert sum(has_text) == MOST_TEXT // len(text) // 2
    assert all(len(record) == 4 for record in many), "they stay as they are"
    few = many[:3]
    assert bounded(few) == few
