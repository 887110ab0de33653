"""Which sidecar is asked next, and when no more."""

from __future__ import annotations

import pytest

from callinteractive.headers import CallHeader, EntryHeader
from callinteractive.model import Ivr, SidecarPool
from callinteractive.request import CallFacts
from kemi import jump
from kemi.jump import Sidecars
from tests.unit.kemi.fake_ksr import FakeKsr

POOL = SidecarPool(2, "127.0.0.1", 5070)
IVR = Ivr("000*332", 145, "3")
FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "7", "N", "332", "000*332", 145)


def test_headers_are_the_branch_s_only(ksr: FakeKsr) -> None:
    Sidecars(POOL).enter(IVR, FACTS)
    assert not ksr.called("hdr.append")
    jump.on_branch()
    [(lines,)] = ksr.called("hdr.append")
    call, entry, end = lines.split("\r\n")
    assert CallHeader.parse(call.removeprefix("X-CI-Call: ")).facts == FACTS
    assert EntryHeader.parse(entry.removeprefix("X-CI-Entry: ")) == EntryHeader("000*332", "3", "start")
    assert end == ""


def test_none_alive_asks_one_all_the_same(ksr: FakeKsr) -> None:
    ksr.results["dispatcher.ds_select_domain"] = -1
    Sidecars(POOL).enter(IVR, FACTS)
    [(uri,)] = ksr.called("seturi")
    assert uri in ("sip:332@127.0.0.1:5070", "sip:332@127.0.0.1:5071")
    assert ksr.called("tm.t_relay")


def test_nothing_could_be_sent(ksr: FakeKsr) -> None:
    ksr.results["tm.t_relay"] = -1
    Sidecars(POOL).enter(IVR, FACTS)
    assert ksr.replies == [503]


@pytest.mark.parametrize(
    ("cancelled", "timed_out", "code", "asks_next", "marks"),
    [
        (False, True, 408, True, True),
        (False, False, 503, True, False),
        (False, False, 408, False, False),
        (False, False, 500, False, False),
        (False, False, 486, False, False),
        (False, False, 302, False, False),
        (True, True, 408, False, False),
        (True, False, 503, False, False),
    ],
)
def test_failure(ksr: FakeKsr, cancelled: bool, timed_out: bool, code: int, asks_next: bool, marks: bool) -> None:
    ksr.results["tm.t_is_canceled"] = 1 if cancelled else -1
    ksr.results["tm.t_branch_timeout"] = 1 if timed_out else -1
    ksr.results["tm.t_get_status_code"] = code
    jump.on_failure()
    assert bool(ksr.called("tm.t_relay")) is asks_next
    assert bool(ksr.called("dispatcher.ds_mark_dst_state")) is marks
    assert ksr.replies == []
    if asks_next:
        assert ksr.called("tm.t_on_failure") == [("sidecar_failed",)]
        assert ksr.called("tm.t_on_branch") == [("to_sidecar",)]


def test_all_were_tried(ksr: FakeKsr) -> None:
    ksr.results.update({"tm.t_get_status_code": 503, "dispatcher.ds_next_domain": -1})
    jump.on_failure()
    assert ksr.replies == [503]
    assert ksr.called("hdr.append_to_reply") == [("Retry-After: 5\r\n",)]
