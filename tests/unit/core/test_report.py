"""Kamailio's report of a call: its JSON, read by a sidecar that may not believe it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.errors import HeaderError
from callinteractive.report import (
    MOST_LEGS,
    MOST_REPORTS,
    EndReport,
    LegReport,
    Report,
    is_genuine,
    joined,
    reports_in,
    sign,
)

KEY = bytes(range(32))
LEG = LegReport("k1", "000*306", "sip:306@192.0.2.36", "", 1000, 1200, 1500, 0, 200, "answered")
REPORT = Report("5f" * 16, (LEG,), EndReport("callee", 200, 9000, 'Q.850;cause=16;text="ß"'))
NUMBERS = st.integers(0, 10**14)
LEGS = st.builds(
    LegReport, st.text(), st.text(), st.text(), st.text(), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.text()
)
ENDS = st.builds(EndReport, st.sampled_from(["caller", "callee", "system"]), NUMBERS, NUMBERS, st.text())


@given(st.builds(Report, st.text(), st.lists(LEGS, max_size=3).map(tuple), st.none() | ENDS))
def test_it_is_read_as_it_was_written(report: Report) -> None:
    text = report.to_text()
    assert text.isascii()
    assert text.isprintable()
    assert Report.from_text(text) == report


def test_what_is_empty_is_not_written() -> None:
    assert Report("5f", (LegReport("k1", began_ms=1),)).to_text() == (
        '{"call_id":"5f","legs":[{"name":"k1","began_ms":1}],"end":null}'
    )


def changed(**values: object) -> str:
    return json.dumps(json.loads(REPORT.to_text()) | values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "1",
        '"text"',
        "[" * 10_000,
        "9" * 20_000,
        changed(call_id=7),
        changed(legs=[{}] * (MOST_LEGS + 1)),
        changed(legs=[{"code": -1}]),
        changed(legs=[{"code": 1e99}]),
        changed(legs=[{"code": True}]),
        changed(legs=[7]),
        changed(legs=7),
        changed(end={}),
        changed(end={"by": "nobody", "code": 200, "at_ms": 1, "cause": ""}),
        changed(end={"by": [], "code": 200, "at_ms": 1, "cause": ""}),
        changed(end={"by": "caller", "code": 200, "at_ms": 10**400, "cause": ""}),
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(HeaderError):
        Report.from_text(text)


def test_the_signature_covers_all_of_it() -> None:
    now, text = time.time(), REPORT.to_text()
    header = sign(KEY, int(now), "id", "facts", text)
    assert is_genuine(header, KEY, now, "id", "facts", text)
    assert not is_genuine(header, KEY, now, "id", "", text)
    assert not is_genuine(header, KEY, now, "id", "facts", text + " ")
    assert not is_genuine(header, KEY, now, "other", "facts", text)
    assert not is_genuine(header, bytes(32), now, "id", "facts", text)
    assert not is_genuine(header, KEY, now + 100, "id", "facts", text)


REPORTS = st.builds(Report, st.text(), st.lists(LEGS, max_size=2).map(tuple), st.none() | ENDS)


@given(st.lists(st.tuples(REPORTS, st.text()), max_size=5))
def test_several_are_read_as_they_were_written(reports: list[tuple[Report, str]]) -> None:
    text = joined((report.to_text(), facts) for report, facts in reports)
    assert text.isascii()
    assert text.isprintable()
    assert reports_in(text, "of no use") == reports


def test_one_alone_has_the_facts_of_its_message() -> None:
    """So it comes from another release, or where there is nothing else to tell."""
    assert reports_in(REPORT.to_text(), "facts") == [(REPORT, "facts")]


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "1",
        "[1]",
        "[[]]",
        "[null]",
        '["text"]',
        f"[{REPORT.to_text()}]",
        f"[{changed(facts=7)}]",
        f"[{changed(facts='', call_id=7)}]",
        f"[{','.join([changed(facts='', legs=[])] * 20)},7]",
        f"[{','.join([json.dumps({'call_id': '', 'legs': [], 'end': None, 'facts': ''})] * (MOST_REPORTS + 1))}]",
        "[" * 10_000,
        "[" + " " * 20_000 + "]",
    ],
)
def test_several_that_can_t_be_read(text: str) -> None:
    with pytest.raises(HeaderError):
        reports_in(text, "")
