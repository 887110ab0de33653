"""New calls are refused before Kamailio's memory is used up."""

from __future__ import annotations

import pytest

from callinteractive.config import load_ivr_file, load_site
from kemi import memory
from kemi.main import Callbacks, compose
from kemi.refusal import NO_MEMORY, Unsent
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import IVR, KEY, SITE, reported
from tests.unit.kemi.test_transfer import start


@pytest.fixture
def routing() -> Callbacks:
    return compose(load_site(SITE, "site.yaml"), load_ivr_file(IVR, "ivr.yaml"), KEY)


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "left", lambda: -1)


def test_outside_kamailio_there_is_memory() -> None:
    assert memory.left() >= 0


def test_a_new_call_is_refused_before_it_takes_any(routing: Callbacks, ksr: FakeKsr, scarce: None) -> None:
    routing.ksr_request_route(None)
    ((_, end),) = reported(ksr)
    assert ksr.replies == [503]
    assert end is not None
    assert (end.code, end.cause) == (503, NO_MEMORY)
    assert not ksr.called("htable.sht_inc")


@pytest.mark.parametrize(
    ("free", "length", "replies"),
    [(99, 1_501, [503]), (99, 1_500, []), (100, 1_501, [])],
    ids=["long", "short", "enough"],
)
def test_a_long_one_is_refused_earlier(
    routing: Callbacks,
    ksr: FakeKsr,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    length: int,
    replies: list[int],
) -> None:
    """It takes more for each branch, and all that ring may be refused at once."""
    monkeypatch.setattr(memory, "left", lambda: free)
    monkeypatch.setattr(memory, "not_for_long", 100)
    ksr.results["kx.get_msglen"] = length
    routing.ksr_request_route(None)
    assert ksr.replies == replies


def test_a_call_that_has_begun_is_not(routing: Callbacks, ksr: FakeKsr, scarce: None) -> None:
    start(ksr, "306")
    assert ksr.replies == []
    assert ksr.called("tm.t_relay")


def test_what_can_t_be_sent_names_the_memory(ksr: FakeKsr, scarce: None) -> None:
    ksr.results["tm.t_relay"] = -1
    with pytest.raises(Unsent) as unsent:
        start(ksr, "306")
    assert unsent.value.advice == NO_MEMORY
