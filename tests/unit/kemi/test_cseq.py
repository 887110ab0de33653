"""The CSeq and RAck of a dialog whose INVITE was sent again."""

from __future__ import annotations

import pytest

from kemi import cseq
from tests.unit.kemi.fake_ksr import FakeKsr


@pytest.mark.parametrize(
    ("written", "by", "sent"),
    [
        ("7 INFO", 2, "9 INFO"),
        ("7\t INFO", 2, "9 INFO"),
        ("9  INFO", -2, "7 INFO"),
        ("1 INFO", -2, "0 INFO"),
        ("x INFO", 2, None),
        ("", 2, None),
    ],
)
def test_cseq(ksr: FakeKsr, written: str, by: int, sent: str | None) -> None:
    ksr.headers["CSeq"] = written
    cseq.shift(by)
    assert ksr.called("hdr.rmappend") == ([("CSeq", f"CSeq: {sent}\r\n")] if sent else [])


@pytest.mark.parametrize("blank", [" ", "\t", "  "])
def test_prack_names_the_invite_as_the_callee_knows_it(ksr: FakeKsr, blank: str) -> None:
    ksr.headers |= {"CSeq": f"8{blank}PRACK", "RAck": blank.join(("1", "7", "INVITE"))}
    cseq.shift(1)
    assert ksr.called("hdr.rmappend")[1:] == [("RAck", "RAck: 1 8 INVITE\r\n")]
