"""RTPengine's ports for sound: the other half after each start."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from callinteractive.database import Database
from callinteractive.model import RtpEngine
from cli.media_ports import Ports, halves, of_next_start


@pytest.mark.parametrize("first", [30000, 30001])
@pytest.mark.parametrize("last", [30015, 30016, 30017, 39999, 65535])
def test_halves_share_no_port_and_both_begin_with_one_for_rtp(first: int, last: int) -> None:
    lower, upper = halves(replace(RtpEngine(), port_min=first, port_max=last))
    if last - first < 15:
        assert lower == upper == Ports(first, last)
        return
    assert (lower.first, upper.last) == (first, last)
    assert lower.last + 1 == upper.first
    assert upper.first % 2 == 0
    assert abs((lower.last - lower.first) - (upper.last - upper.first)) <= 3


def test_a_start_has_the_half_that_the_one_before_had_not(tmp_path: Path) -> None:
    starts = [of_next_start(RtpEngine(), tmp_path) for _ in range(5)]
    assert set(starts) == set(halves(RtpEngine()))
    assert all(one != other for one, other in pairwise(starts))


def test_each_rtpengine_has_a_turn_of_its_own(tmp_path: Path) -> None:
    first = of_next_start(RtpEngine(name="a"), tmp_path)
    for _ in range(3):
        of_next_start(RtpEngine(name="b"), tmp_path)
    assert of_next_start(RtpEngine(name="a"), tmp_path) != first


@pytest.mark.parametrize("text", ["", "2", "x", "\0"])
def test_what_it_can_not_read_is_as_if_nothing_was_there(tmp_path: Path, text: str) -> None:
    (tmp_path / "rtpengine-rtpengine.half").write_text(text)
    one = of_next_start(RtpEngine(), tmp_path)
    assert of_next_start(RtpEngine(), tmp_path) != one


def test_it_starts_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert of_next_start(RtpEngine(), tmp_path / "missing") in halves(RtpEngine())


def test_with_redis_it_keeps_its_ports(tmp_path: Path) -> None:
    engine = replace(RtpEngine(), redis=Database("127.0.0.1", 6379, 0))
    assert of_next_start(engine, tmp_path) == of_next_start(engine, tmp_path) == Ports(engine.port_min, engine.port_max)
