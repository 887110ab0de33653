"""The header traceparent."""

from __future__ import annotations

import re

import pytest

from callinteractive.trace_context import span_id, trace_id, traceparent

CALL = "5205dc5cc5a411e5ab9eb3691b90ea15"


def test_it_names_the_call_and_the_request():
    first, second = traceparent(f"{CALL}-1", is_sampled=True), traceparent(f"{CALL}-2", is_sampled=True)
    assert re.fullmatch(f"00-{CALL}-[0-9a-f]{{16}}-01", first), "W3C Trace Context 3.2.2"
    assert first != second
    assert first.split("-")[2] == f"{span_id(f'{CALL}-1'):016x}"
    assert trace_id(CALL) == int(CALL, 16)


def test_what_is_not_recorded_is_told():
    assert traceparent(f"{CALL}-1", is_sampled=False).endswith("-00")


@pytest.mark.parametrize("wrong", ["", "x", CALL, f"{CALL.upper()}-1", f"{CALL}-1\r\nX: y", f"{'0' * 32}-1", "a-1"])
def test_what_is_no_id_of_a_request_gets_no_header(wrong: str):
    assert traceparent(wrong, is_sampled=True) == ""


@pytest.mark.parametrize("wrong", ["", "x" * 32, "0" * 32, CALL[1:], "0x" + CALL[2:], " " + CALL[1:]])
def test_what_is_no_id_of_a_call_is_no_trace(wrong: str):
    assert trace_id(wrong) == 0
