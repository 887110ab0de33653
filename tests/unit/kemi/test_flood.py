"""Whose packets are left unread (S14)."""

from __future__ import annotations

import time

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.numbers import Directory
from kemi import flood
from kemi.flood import MOST_PER_S, Floods
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import IVR, SITE

EDGES = """
node: 1
edges:
  - {name: a, listen: ["udp:10.0.0.7:5060"], peer: "10.0.0.1:5066"}
  - {name: b, listen: ["udp:10.0.0.8:5060"], peer: "10.0.0.2:5066"}
"""


@pytest.fixture
def floods(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> Floods:
    ksr.results["htable.sht_get"] = None
    monkeypatch.setattr(flood.time, "monotonic", lambda: 1000.0)
    site = load_site(SITE, "site.yaml")
    return Floods(site, Directory(site, load_ivr_file(IVR, "ivr.yaml")))


def unread(ksr: FakeKsr, floods: Floods, source: str, packets: int = 3 * MOST_PER_S) -> int:
    ksr.tags["$rcv(srcip)"] = source
    return sum(floods.is_too_much() for _ in range(packets))


def test_stranger(ksr: FakeKsr, floods: Floods, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unread(ksr, floods, "192.0.2.1") == 2 * MOST_PER_S
    assert len(ksr.called("warn")) == 1
    assert ksr.called("htable.sht_seti") == []
    assert unread(ksr, floods, "192.0.2.2", MOST_PER_S) == 0
    monkeypatch.setattr(flood.time, "monotonic", lambda: 1001.0)
    assert unread(ksr, floods, "192.0.2.1", MOST_PER_S) == 0


def test_strangers_in_turn_fill_no_memory(ksr: FakeKsr, floods: Floods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "_MOST_SOURCES", 2)
    for source in range(1, 5):
        unread(ksr, floods, f"192.0.2.{source}", 1)
    assert len(floods._packets) == 2
    assert unread(ksr, floods, "192.0.2.1", MOST_PER_S) == 1  # it is still counted


def test_other_edges_are_no_strangers(ksr: FakeKsr) -> None:
    site = load_site(EDGES, "site.yaml")
    floods = Floods(site, Directory(site, load_ivr_file(IVR, "ivr.yaml")))
    assert [unread(ksr, floods, f"10.0.0.{last}") > 0 for last in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
def test_trunk_phone_sidecar(ksr: FakeKsr, floods: Floods, source: str) -> None:
    assert unread(ksr, floods, source) == 0
    assert set(ksr.called("htable.sht_seti")) == {("ours", source, 1)}  # Kamailio need not ask again


def test_registered_phones_behind_one_nat(ksr: FakeKsr, floods: Floods) -> None:
    ksr.results["htable.sht_get"] = int(time.time()) + 60
    assert unread(ksr, floods, "192.0.2.1") == 0
