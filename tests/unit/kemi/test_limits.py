"""How many calls a trunk and an IVR may have at once, and how many may start in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from callinteractive.config import load_ivr_file, load_site
from kemi import limits
from kemi.limits import RECOUNT_S, Limits, TooManyCalls
from tests.unit.kemi.fake_ksr import FakeKsr

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks: [{name: a, from: ["127.0.0.2/32"], max_calls: 2, max_setups_per_s: 3}]
"""
IVR = """
ivrs: [{number: "000*332", id: 145, entry_context: 1, max_calls: 1}]
contexts: {1: {options: {start: [hangup]}}}
"""
TRUNK = load_site(SITE, "site.yaml").trunks[0]
ENTERED = load_ivr_file(IVR, "ivr.yaml").ivrs[0]


class Tables:
    """Kamailio's shared memory, and the clock."""

    def __init__(self, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[str, dict[str, Any]] = {"calls": {}, "counts": {}, "setups": {}}
        self.now = 1000.0
        self._ksr = ksr
        self._left: list[Any] = []
        monkeypatch.setattr(limits.time, "time", lambda: self.now)
        monkeypatch.setattr(limits.time, "monotonic", lambda: self.now)
        ksr.results |= {
            "htable.sht_get": lambda table, key: self.of[table].get(key),
            "htable.sht_sets": self._set,
            "htable.sht_seti": self._set,
            "htable.sht_inc": lambda table, key: self._add(table, key, 1),
            "htable.sht_dec": lambda table, key: self._add(table, key, -1),
            "htable.sht_rm": lambda table, key: 1 if self.of[table].pop(key, None) else 0,
            "htable.sht_iterator_start": self._start,
            "htable.sht_iterator_next": lambda _: 1 if self._left else -1,
            "pv.get": lambda _: self._left.pop(),
        }

    def _set(self, table: str, key: str, value: Any) -> int:
        self.of[table][key] = value
        return 1

    def _add(self, table: str, key: str, more: int) -> int:
        self.of[table][key] = self.of[table].get(key, 0) + more
        return int(self.of[table][key])

    def _start(self, _: str, table: str) -> int:
        self._left = list(self.of[table].values())
        return 1

    def call_of(self, tag: str) -> None:
        """The INVITE at hand is another one."""
        self._ksr.tags["$ft"] = tag

    def count(self, name: str) -> int:
        return int(self.of["counts"].get(name, 0))


@pytest.fixture
def tables(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> Tables:
    return Tables(ksr, monkeypatch)


def test_as_many_calls_as_are_allowed_and_no_more(tables: Tables) -> None:
    counted = Limits([TRUNK])
    for tag in ("1", "2"):
        tables.call_of(tag)
        counted.begin(TRUNK)
    tables.call_of("3")
    with pytest.raises(TooManyCalls, match=r"503") as caught:
        counted.begin(TRUNK)
    assert caught.value.advice == "more than 2 calls at once; trunks, name a.max_calls allows more"
    assert tables.count("trunk a") == 2, "the refused one does not count"
    for _ in range(2):  # its end may be said twice
        counted.end("2")
    assert tables.count("trunk a") == 1
    tables.now += 1
    counted.begin(TRUNK)


@pytest.mark.parametrize("kind", ["caller", "ivr", "out"])
def test_a_call_that_there_is_no_memory_for_does_not_count(tables: Tables, ksr: FakeKsr, kind: str) -> None:
    """Its end could not be noticed: the trunk would seem to be full for as long as nobody counts anew."""
    trunk = replace(TRUNK, max_calls_out=2)
    counted = Limits([trunk])
    if kind == "ivr":
        counted.begin(trunk)
    before = dict(tables.of["counts"])
    ksr.results |= {"htable.sht_sets": -1, "pv.get": 1}
    count: dict[str, Callable[[], None]] = {
        "caller": lambda: counted.begin(trunk),
        "ivr": lambda: counted.enter(ENTERED),
        "out": lambda: counted.begin_out(trunk.name, 0),
    }
    with pytest.raises(MemoryError):
        count[kind]()
    assert {name: count for name, count in tables.of["counts"].items() if count} == before


def test_a_call_that_cannot_be_marked_as_counted_does_not_count(tables: Tables, ksr: FakeKsr) -> None:
    """Nobody would take it back: its end is looked for only where it is marked."""
    ksr.results["pvx.xavp_seti"] = -1
    with pytest.raises(MemoryError):
        Limits().begin(TRUNK)
    assert tables.count("trunk a") == 0
    assert not tables.of["calls"]


def test_as_many_in_a_second_as_are_allowed(tables: Tables) -> None:
    counted, many = Limits(), replace(TRUNK, max_calls=100)
    for _ in range(3):
        counted.begin(many)
    with pytest.raises(TooManyCalls) as caught:
        counted.begin(many)
    assert "more than 3 new calls in a second" in (caught.value.advice or "")
    tables.now += 1
    counted.begin(many)


def test_a_call_to_an_ivr_counts_for_both_and_ends_for_both(tables: Tables) -> None:
    counted = Limits([TRUNK])
    counted.begin(TRUNK)
    counted.enter(ENTERED)
    assert (tables.count("trunk a"), tables.count("ivr 000*332")) == (1, 1)
    tables.call_of("2")
    counted.begin(TRUNK)
    with pytest.raises(TooManyCalls):
        counted.enter(ENTERED)
    counted.end("2")
    counted.end("1")
    assert (tables.count("trunk a"), tables.count("ivr 000*332")) == (0, 0)


def test_a_wrong_count_is_mended_where_the_limit_is_reached_but_not_at_each_call(tables: Tables) -> None:
    counted = Limits([TRUNK])
    counted.begin(TRUNK)
    for wrong_at in (tables.now, tables.now + RECOUNT_S):
        tables.now = wrong_at
        tables.of["counts"]["trunk a"] = 7
        with pytest.raises(TooManyCalls):
            counted.begin(TRUNK)
        assert tables.count("trunk a") == 1
    tables.now += RECOUNT_S - 1
    tables.of["counts"]["trunk a"] = 7
    with pytest.raises(TooManyCalls):
        counted.begin(TRUNK)
    assert tables.count("trunk a") == 7, "milliseconds, which each refused call would cost"


def test_room_of_a_trunk_to_call_out(tables: Tables) -> None:
    narrow = replace(TRUNK, max_calls_out=2)
    counted = Limits([narrow])
    tables.of["calls"]["x"] = "out a"
    tables.of["counts"]["out a"] = 1
    assert [counted.has_room(narrow, planned) for planned in (0, 1, 2)] == [True, False, False]
    tables.of["counts"]["out a"] = 2
    tables.now += RECOUNT_S
    assert counted.has_room(narrow), "counted anew there is one"
    assert Limits().has_room(TRUNK, 1000)
