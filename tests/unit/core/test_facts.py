"""The facts of a call (R2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.facts import (
    CallFacts,
    facts_of_new_call,
    facts_of_outgoing_call,
    facts_of_transferred_call,
)
from callinteractive.headers import CallHeader
from callinteractive.model import Extension, Ivr
from callinteractive.numbers import FoundIvr
from callinteractive.script_state import State
from tests.unit.core.call import FACTS

TEXTS = st.text(max_size=40)
ANY_FACTS = st.builds(
    CallFacts,
    *[TEXTS] * 6,
    st.integers(0, 2**63),
    *[st.none() | TEXTS] * 2,
    st.none() | st.integers(0, 2**63),
    st.booleans(),
    st.booleans(),
)
ID = "c" * 32


def test_R2_facts_of_an_internal_call() -> None:
    found = FoundIvr(Ivr("000*332", 145, "1"))
    facts = facts_of_new_call(ID, 7, found, "332", name="N", number="306", extension=Extension("000*306", 134))
    assert facts == CallFacts(ID, f"7:{ID}", "306", "N", "332", "000*332", 145, None, "000*306", 134)


def test_R2_facts_of_an_external_call_to_a_did() -> None:
    found = FoundIvr(Ivr("000*332", 145, "1"), "+7812")
    facts = facts_of_new_call(ID, 7, found, "7812", name="N", number="8", extension=None)
    assert facts == CallFacts(ID, f"7:{ID}", "8", "N", "7812", "000*332", 145, "+7812", None, None)


def test_R2_a_call_that_is_transferred_to_another_ivr_keeps_its_api_id_and_who_really_calls() -> None:
    facts = facts_of_transferred_call(FACTS, ID, FoundIvr(Ivr("000*400", 2, "1")), "400", name="X", number="9")
    assert facts == CallFacts(ID, FACTS.call_api_id, "9", "X", "400", "000*400", 2, None, "000*306", 134)


@given(ANY_FACTS)
def test_facts_survive_being_written_down(facts: CallFacts) -> None:
    assert CallFacts.from_dict(facts.to_dict()) == facts


@pytest.mark.parametrize("wrong", [{}, {"unknown": "1"}, FACTS.to_dict() | {"called_extension_id": "x"}])
def test_facts_that_are_none_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises((ValueError, KeyError)):
        CallFacts.from_dict(wrong)


def test_R2_facts_of_a_call_that_we_make() -> None:
    facts = facts_of_outgoing_call(ID, 7, Ivr("000*332", 145, "1"), "+1555", name="Alarm", caller="+1444")
    assert facts == CallFacts(ID, f"7:{ID}", "+1444", "Alarm", "+1555", "000*332", 145, is_outgoing=True)
    assert facts.parameters("Alarm", "+1444")["CallFlow"] == "OUT"
    assert facts.shown()["direction"] == "out"
    other = facts_of_transferred_call(facts, "d" * 32, FoundIvr(Ivr("000*400", 2, "1")), "400", name="A", number="9")
    assert other.parameters("A", "9")["CallFlow"] == "IN", "to the other IVR it comes in"


def test_E1_a_record_has_the_did() -> None:
    assert replace(FACTS, called_did="+7812").shown()["called_did"] == "+7812"
    assert "called_did" not in FACTS.shown()


def test_what_a_newer_release_knows_of_a_call_is_left_out() -> None:
    """While a fleet is upgraded: else its calls would be refused."""
    assert CallFacts.from_dict(FACTS.to_dict() | {"more": "1"}) == FACTS


def test_E1_a_call_is_found_by_its_sip_call_id() -> None:
    facts = replace(FACTS, sip_call_id='"<b>\r\n' + 300 * "x")
    assert facts.sip_call_id == '"<b>\r\n' + 194 * "x"
    assert facts.shown()["sip_call_id"] == facts.sip_call_id
    assert CallHeader.parse(str(CallHeader(facts))).facts == facts
    assert str(CallHeader(facts)).isprintable()
    assert "sip_call_id" not in FACTS.shown() | FACTS.to_dict() | State(FACTS, "", "").to_dict()["facts"]


def test_the_release_before_reads_calls_that_have_come_in() -> None:
    assert "is_outgoing" not in State(FACTS, "", "").to_dict()["facts"]
    assert "is_outgoing" not in FACTS.to_dict()
    assert State(replace(FACTS, is_outgoing=True), "", "").to_dict()["facts"]["is_outgoing"] is True
    assert "is_hidden" not in State(FACTS, "", "").to_dict()["facts"] | FACTS.to_dict()
    assert State(replace(FACTS, is_hidden=True), "", "").to_dict()["facts"]["is_hidden"] is True


@pytest.mark.parametrize(("number", "is_hidden"), [(FACTS.caller_number, True), ("9", False)])
def test_a_hidden_caller_stays_so_unless_an_ivr_shows_another_number(number: str, is_hidden: bool) -> None:
    hidden = replace(FACTS, is_hidden=True)
    found = FoundIvr(Ivr("000*400", 2, "1"))
    assert facts_of_transferred_call(hidden, ID, found, "400", name="X", number=number).is_hidden is is_hidden
