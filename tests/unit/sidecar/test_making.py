"""What may be ordered of a sidecar, and when it makes no call."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import pytest

from callinteractive.config import load_ivr_file
from sidecar import making
from sidecar.call.dialled import Order
from sidecar.http_api import ApiError
from sidecar.live import NOT_HERE
from sidecar.making import make, read_order
from sidecar.media.errors import MediaUnavailable

ONE = """
ivrs: [{number: "000*332", id: 145, entry_context: 1, dids: ["+15550199"]}]
contexts: {1: {options: {start: [hangup]}}, 3: {options: {start: [hangup], "1": [hangup]}, pool: vip}}
"""
TWO = """
ivrs: [{number: "000*332", id: 145, entry_context: 1}, {number: "000*333", id: 146, entry_context: 3}]
contexts: {1: {options: {start: [hangup]}}, 3: {options: {start: [hangup]}}, 4: {options: {start: [hangup]}}}
"""
FILE, OTHER = load_ivr_file(ONE, "ivr.yaml"), load_ivr_file(TWO, "ivr.yaml")


def test_the_least_that_an_order_needs():
    assert read_order({"to": "306", "context": 3}, FILE) == Order(
        "306", FILE.ivrs[0], "3", "start", "+15550199", "", None, {}
    )


def test_all_that_an_order_may_have():
    body = {
        "to": "+15550123", "context": "3", "option": 1, "ivr": "000*332", "caller_number": "+15550100",
        "caller_name": "Алиса", "timeout_s": 30, "variables": {"site": "Depot", "_2": ""},
    }  # fmt: skip
    assert read_order(body, FILE) == Order(
        "+15550123", FILE.ivrs[0], "3", "1", "+15550100", "Алиса", 30, {"site": "Depot", "_2": ""}
    )


def test_nobody_need_be_seen_calling():
    assert read_order({"to": "306", "context": "1", "caller_number": ""}, FILE).caller_number == ""


@pytest.mark.parametrize(("context", "ivr", "named"), [("1", 145, None), ("3", 146, None), ("4", 146, "000*333")])
def test_whose_call_it_is(context: str, ivr: int, named: str | None):
    body = {"to": "306", "context": context, **({"ivr": named} if named else {})}
    assert read_order(body, OTHER).ivr.id == ivr


def test_a_call_that_may_be_of_several_ivrs():
    with pytest.raises(ApiError, match=r"ivr, one of 000\*332, 000\*333"):
        read_order({"to": "306", "context": "4"}, OTHER)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to": None}, "to is missing"),
        ({"to": "sip:a@b"}, "to: 'sip:a@b' is no number"),
        ({"to": "306,307"}, "is no number"),
        ({"to": "306\r\nX: y"}, "is no number"),
        ({"to": True}, "to must be a text"),
        ({"context": "9"}, "no context '9'"),
        ({"option": "9"}, "context '1' has no option '9'"),
        ({"ivr": "000*999"}, "no IVR '000*999'"),
        ({"caller_number": "Ann <x>"}, "caller_number: "),
        ({"caller_name": "a\r\nb"}, "caller_name: "),
        ({"caller_name": "a" * 81}, "caller_name: "),
        ({"timeout_s": 0}, "timeout_s: "),
        ({"timeout_s": 601}, "timeout_s: "),
        ({"timeout_s": True}, "timeout_s: "),
        ({"timeout_s": "5"}, "timeout_s: "),
        ({"variables": []}, "variables: "),
        ({"variables": {"a b": ""}}, "variables: 'a b' is no variable name"),
        ({"variables": {"1a": ""}}, "is no variable name"),
        ({"variables": {"a" * 65: ""}}, "at most 64 letters"),
        ({"variables": {"a": 1}}, "variables: a must be a text"),
        ({"variables": {"a": "x" * 4097}}, "variables: a must be a text"),
        ({"variables": {f"a{n}": "" for n in range(201)}}, "at most 200"),
        ({"number": "306"}, "unknown field 'number'; known are to, context"),
    ],
)
def test_an_order_that_can_t_be_carried_out(changes: dict[str, Any], says: str):
    with pytest.raises(ApiError) as caught:
        read_order({"to": "306", "context": "1", **changes}, FILE)
    assert caught.value.status == 422
    assert says in str(caught.value)


class Services:
    ivr_file = FILE
    pool: str | None = None


async def test_a_context_of_another_pool_is_for_another_sidecar(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "dial", dialling := AsyncMock())
    with pytest.raises(ApiError, match="another pool") as caught:
        await make(Services(), 1, {"to": "306", "context": "3"}, list)  # type: ignore[arg-type]
    assert caught.value.status == NOT_HERE
    dialling.assert_not_awaited()
    services = Services()
    services.pool = "vip"
    await make(services, 1, {"to": "306", "context": "3"}, list)  # type: ignore[arg-type]
    dialling.assert_awaited_once()


async def test_a_sidecar_that_takes_no_calls_makes_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "dial", dialling := AsyncMock())
    with pytest.raises(ApiError, match="no sidecar takes calls now: it drains") as caught:
        await make(Services(), 1, {"to": "306", "context": "1"}, lambda: ["it drains", "it is full"])  # type: ignore[arg-type]
    assert caught.value.status == 503
    dialling.assert_not_awaited()


async def test_without_rtpengine_there_is_no_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "dial", AsyncMock(side_effect=MediaUnavailable("no RTPengine answers")))
    with pytest.raises(ApiError, match="no RTPengine answers") as caught:
        await make(Services(), 1, {"to": "306", "context": "1"}, list)  # type: ignore[arg-type]
    assert caught.value.status == 503
