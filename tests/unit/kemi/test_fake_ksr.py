"""The fake has the interface of the real thing: what Kamailio would not take fails here too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.kemi.fake_ksr import FakeKsr


@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        ("tm", "t_relay", (1,)),
        ("tm", "t_on_reply", ()),
        ("pvx", "xavp_seti", ("name", "1")),
        ("pvx", "xavp_sets", ("name", 1)),
    ],
)
def test_wrong_call(ksr: FakeKsr, module: str, function: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError, match="take"):
        getattr(getattr(ksr, module), function)(*arguments)


def test_function_that_is_not_there(ksr: FakeKsr) -> None:
    with pytest.raises(AttributeError):
        _ = ksr.tm.t_relai
    with pytest.raises(AttributeError):
        _ = ksr.rtpengin


def test_result_that_never_comes(ksr: FakeKsr) -> None:
    ksr.results["tm.t_relay"] = "yes"
    with pytest.raises(AssertionError, match="never returns"):
        ksr.tm.t_relay()
