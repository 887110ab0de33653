"""Whose dialog a Route is of, and which media is its."""

from __future__ import annotations

import pytest

from callinteractive.keys import ROUTES, derive
from kemi.record_route import RecordRoute
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import KEY as SITE_KEY
from tests.unit.kemi.test_ingress import MARK

KEY = derive(SITE_KEY, ROUTES)
MEDIA = "anchored-0123456789abcdef"


def parameters(ksr: FakeKsr) -> list[str]:
    return [written for (written,) in ksr.called("rr.record_route_params")]


def test_where_nothing_is_anchored_it_is_written_once_on_entry(ksr: FakeKsr) -> None:
    route = RecordRoute(KEY, anchors=False)
    route.on_entry()
    route.on_branch()
    assert parameters(ksr) == [f";ci={MARK}"]


def test_where_media_is_anchored_each_branch_has_its_own(ksr: FakeKsr) -> None:
    route = RecordRoute(KEY, anchors=True)
    route.on_entry()
    assert parameters(ksr) == []
    for media in ("", MEDIA, MEDIA + "-late"):
        route.on_branch(media)
        written = parameters(ksr)[-1]
        assert route.media_of(f"<sip:h;lr=on{written};ftag=1>") == media
        assert route.media_of(f"<sip:other;lr>, <sip:h{written}>") == media
    assert parameters(ksr)[0] == f";ci={MARK}"


def test_neither_left_out_nor_exchanged(ksr: FakeKsr) -> None:
    route = RecordRoute(KEY, anchors=True)
    route.on_branch(MEDIA)
    [written] = parameters(ksr)
    for forged in (
        written.replace("." + MEDIA, ""),
        written.replace("cdef", "cdee"),
        written + "-late",
        f";ci={'0' * 16}.{MEDIA}",
        "",
    ):
        assert route.media_of(f"<sip:h;lr{forged}>") is None
    ksr.results["kx.get_callid"] = "another-call-id"
    assert route.media_of(f"<sip:h;lr{written}>") is None
    assert RecordRoute(b"another key", anchors=True).media_of(f"<sip:h;lr{written}>") is None


@pytest.mark.parametrize("anchors", [True, False])
def test_call_id_cannot_be_written_so_that_it_names_media(ksr: FakeKsr, anchors: bool) -> None:
    """A Call-ID that ends like what is signed of an anchored dialog."""
    ksr.results["kx.get_callid"] = f"some-call-id.{MEDIA}"
    RecordRoute(KEY, anchors=anchors).on_branch()
    RecordRoute(KEY, anchors=anchors).on_entry()
    [plain] = parameters(ksr)
    ksr.results["kx.get_callid"] = "some-call-id"
    assert RecordRoute(KEY, anchors=True).media_of(f"<sip:h{plain}.{MEDIA}>") is None
