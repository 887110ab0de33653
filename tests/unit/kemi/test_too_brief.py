"""For how long a carrier wants us to register at least."""

from __future__ import annotations

import pytest

from kemi import too_brief
from tests.unit.kemi.fake_ksr import FakeKsr


@pytest.mark.parametrize("said", ["1", "60", "086400"])
def test_what_can_be_used_stays(ksr: FakeKsr, said: str) -> None:
    ksr.results["kx.get_method"] = "REGISTER"
    ksr.headers["Min-Expires"] = said
    too_brief.mend()
    assert ksr.calls == []


@pytest.mark.parametrize("said", ["", "0", "-1", "86401", "4294967296", "9" * 5000, "60;a=b", "soon", "\u0663"])
def test_what_can_t_becomes_an_hour(ksr: FakeKsr, said: str) -> None:
    ksr.results["kx.get_method"] = "REGISTER"
    ksr.headers["Min-Expires"] = said
    too_brief.mend()
    assert ksr.called("hdr.rmappend") == [("Min-Expires", "Min-Expires: 3600\r\n")]
    assert ksr.called("textopsx.msg_apply_changes")


def test_other_requests_are_their_sender_s_matter(ksr: FakeKsr) -> None:
    ksr.results["kx.get_method"] = "SUBSCRIBE"
    too_brief.mend()
    assert ksr.calls == []
