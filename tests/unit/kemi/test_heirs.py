"""Which sidecars get a request of a dialog whose own sidecar fails."""

from __future__ import annotations

import pytest

from callinteractive.model import Address, sidecars_of_host
from kemi.heirs import FIRST_MS, HEIRS_MS, Heirs
from kemi.transaction import transaction
from tests.unit.kemi.fake_ksr import FakeKsr

SECOND = Address("127.0.0.1", 5071)


@pytest.fixture
def heirs() -> Heirs:
    return Heirs(sidecars_of_host("127.0.0.1", 4, 5070, pools={"vip": (3,)}))


@pytest.mark.parametrize(
    ("method", "target", "is_watched"),
    [
        ("BYE", SECOND, True),
        ("INVITE", SECOND, True),
        ("ACK", SECOND, False),
        ("BYE", Address("127.0.0.3", 5060), False),
        ("BYE", Address("127.0.0.1", 5079), False),
    ],
)
def test_requests_to_sidecars_are_watched(
    heirs: Heirs, ksr: FakeKsr, method: str, target: Address, is_watched: bool
) -> None:
    ksr.message(method)
    heirs.watch(target)
    assert ksr.called("tm.t_on_failure") == ([("heirs_wanted",)] if is_watched else [])
    assert ksr.called("tm.t_set_fr") == ([(120_000, FIRST_MS)] if is_watched else [])


@pytest.mark.parametrize(
    ("timed_out", "code", "is_asked"), [(True, 408, True), (False, 481, True), (False, 488, False), (False, 500, False)]
)
def test_all_of_its_pool_are_asked_if_it_is_silent_or_does_not_know_the_dialog(
    heirs: Heirs, ksr: FakeKsr, timed_out: bool, code: int, is_asked: bool
) -> None:
    ksr.message("BYE")
    heirs.watch(SECOND)
    ksr.calls.clear()
    ksr.results.update({"tm.t_branch_timeout": 1 if timed_out else -1, "tm.t_get_status_code": code})
    heirs.ask()
    uris = [uri for (uri,) in ksr.called("corex.append_branch_uri")]
    others = ["sip:127.0.0.1:5070", "sip:127.0.0.1:5072"]
    asked = sorted([*others, f"sip:{SECOND}"]) if timed_out else others
    assert uris == (asked if is_asked else [])
    assert ksr.called("tm.t_set_fr") == ([(120_000, HEIRS_MS)] if is_asked else [])
    assert len(ksr.called("tm.t_relay")) == is_asked
    assert ksr.called("tm.t_on_failure") == [], "once"


def test_one_that_is_alone_and_does_not_know_the_dialog_is_not_asked_again(ksr: FakeKsr) -> None:
    heirs = Heirs(sidecars_of_host("127.0.0.1", 1, 5071))
    ksr.message("BYE")
    heirs.watch(SECOND)
    ksr.results.update({"tm.t_branch_timeout": -1, "tm.t_get_status_code": 481})
    heirs.ask()
    assert not ksr.called("tm.t_relay")


def test_an_ipv6_sidecar(ksr: FakeKsr) -> None:
    heirs = Heirs(sidecars_of_host("fd00::1", 1, 5070))
    ksr.message("BYE")
    heirs.watch(Address("fd00::1", 5070))
    assert transaction.sidecar == "[fd00::1]:5070"
    ksr.results["tm.t_branch_timeout"] = 1
    heirs.ask()
    assert ksr.called("corex.append_branch_uri") == [("sip:[fd00::1]:5070",)]
