"""What a transaction remembers comes back as it was, and is empty before."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kemi.ksr import From
from kemi.transaction import Branch, BranchPlan, Exchange, Redirection, Transaction, transaction
from tests.unit.kemi.fake_ksr import FakeKsr

FROMS = st.builds(From, st.text(), st.text())
WORDS = st.text("abcdef0123456789-", max_size=20)
AGAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


RECORDS = ("plans", "branches", "challenges", "legs")


@pytest.mark.usefixtures("ksr")
def test_nothing_is_remembered_at_first() -> None:
    fields = [name for name in vars(Transaction) if not name.startswith("_") and name not in RECORDS]
    assert len(fields) > 15
    assert not any(getattr(transaction, name) for name in fields)
    assert transaction.branches.get(0) is None
    assert transaction.challenges[0] == ""
    with pytest.raises(KeyError):
        transaction.plans["sip:306@h"]


@pytest.mark.usefixtures("ksr")
@pytest.mark.parametrize("said", [Redirection(), Redirection("to=1", "", "zlib=%0A", "ivr=1"), Redirection(entry="a")])
def test_what_a_302_said_comes_back(said: Redirection) -> None:
    transaction.redirection = said
    assert transaction.redirection == said


@pytest.mark.usefixtures("ksr")
def test_fields_do_not_share_a_key(ksr: FakeKsr) -> None:
    transaction.user, transaction.call, transaction.teller, transaction.reported = "a", "b", "c", "d"
    transaction.returns, transaction.branches_used, transaction.is_busy = 1, 2, True
    assert (transaction.user, transaction.call, transaction.teller, transaction.reported) == ("a", "b", "c", "d")
    assert (transaction.returns, transaction.branches_used, transaction.is_busy) == (1, 2, True)
    assert len(ksr.memory) == 7


@AGAIN
@given(st.builds(BranchPlan, st.none() | FROMS, st.text(), st.text(), st.booleans(), st.booleans()))
def test_plan(ksr: FakeKsr, plan: BranchPlan) -> None:
    transaction.plans["sip:306@h"] = plan
    assert transaction.plans["sip:306@h"] == plan


@pytest.mark.usefixtures("ksr")
def test_a_plan_is_read_once_until_it_changes() -> None:
    plan = BranchPlan(From("", "sip:7@h"), "", "", False, False)
    transaction.plans["sip:306@h"] = plan
    assert transaction.plans["sip:306@h"] is transaction.plans["sip:306@h"]
    transaction.plans["sip:306@h"] = plan._replace(shift=1)
    assert transaction.plans["sip:306@h"].shift == 1


@AGAIN
@given(st.builds(Branch, st.text(), WORDS), st.integers(0, 29))
def test_branch(ksr: FakeKsr, branch: Branch, index: int) -> None:
    transaction.branches[index] = branch
    assert transaction.branches[index] == branch


@AGAIN
@given(st.builds(Exchange, WORDS, st.booleans(), st.booleans()), FROMS, st.sets(st.integers(0, 29)))
def test_other_records(ksr: FakeKsr, exchange: Exchange, presented: From, ringing: set[int]) -> None:
    transaction.exchange, transaction.presented, transaction.ringing = exchange, presented, ringing
    assert (transaction.exchange, transaction.presented, transaction.ringing) == (exchange, presented, ringing)
