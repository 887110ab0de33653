"""RTPengine's counts of a call's sound, from its reply to a query."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.media.counters import counted


def stream(packets: Any) -> dict[str, Any]:
    stats = {"packets": packets, "bytes": 172 * 3, "errors": 1}
    return {"medias": [{"streams": [{"stats": stats}, {"stats": {"packets": 99}}]}]}


PARTIES = [("a", "caller"), ("b", "callee")]


def test_each_party_is_counted_by_its_rtp():
    tags = {"b": stream(2), "a": stream(3), "ivr": stream(7)}
    assert counted(tags, PARTIES) == [
        {"who": "caller", "packets": 3, "octets": 516, "errors": 1},
        {"who": "callee", "packets": 2, "octets": 516, "errors": 1},
    ]


@pytest.mark.parametrize(
    "a", [None, {}, {"medias": []}, {"medias": [{"streams": []}]}, stream("many"), stream(None), 5]
)
def test_what_is_not_there_is_not_counted(a: Any):
    assert [each["who"] for each in counted({"a": a, "b": stream(2)}, PARTIES)] == ["callee"]


@pytest.mark.parametrize("tags", [None, [], "x", {}])
def test_a_reply_without_parties_counts_nothing(tags: Any):
    assert counted(tags, PARTIES) == []
