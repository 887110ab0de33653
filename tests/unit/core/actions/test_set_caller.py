"""
| attribute | meaning | default |
|---|---|---|
| name | the display name | stays |
| number | the number | stays |
"""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from callinteractive.actions.set_caller import LONGEST, SetCaller
from callinteractive.commands import Fetch, Transfer
from callinteractive.errors import ResponseError
from callinteractive.headers import CallerHeader
from callinteractive.response import parse
from tests.unit.core.call import ASK, asked, started


def read(xml: str) -> tuple[object, ...]:
    return parse(f"<Response>{xml}</Response>".encode()).actions


def test_A5_the_example_of_the_protocol():
    assert read('<SetCaller name="callerName" number="92992"/>') == (SetCaller("callerName", "92992"),)


def test_A5_SetCallerId_is_the_same_element():
    assert read('<SetCallerId name="n" number="1"/>') == (SetCaller("n", "1"),)


def test_A5_one_of_the_two_is_enough_and_the_other_stays():
    call = asked()
    command = call.answer('<SetCaller name="Иван"/><SimpleTransfer>1</SimpleTransfer>')
    assert isinstance(command, Transfer)
    assert (command.caller_name, command.caller_number) == ("Иван", "000*306")
    call = asked()
    command = call.answer('<SetCaller number="92992"/><SimpleTransfer>1</SimpleTransfer>')
    assert isinstance(command, Transfer)
    assert (command.caller_name, command.caller_number) == ("000*306", "92992")


def test_A5_an_empty_one_hides_the_caller():
    command = asked().answer('<SetCaller name="" number=""/><SimpleTransfer>1</SimpleTransfer>')
    assert isinstance(command, Transfer)
    assert (command.caller_name, command.caller_number) == ("", "")


def test_A5_one_of_the_two_is_required():
    with pytest.raises(ResponseError, match="<SetCaller>: name or number is missing"):
        read("<SetCaller/>")


def test_A5_each_is_bounded():
    assert read(f'<SetCaller name="{"Ж" * 512}"/>') == (SetCaller("Ж" * 512, None),)
    for attribute in ("name", "number"):
        with pytest.raises(ResponseError, match="at most 512 characters"):
            read(f'<SetCaller {attribute}="{"1" * 513}"/>')


def test_R6_later_requests_have_the_changed_caller():
    call, _ = started(f"- set_caller: {{name: Иван, number: '92992'}}\n{ASK.replace('}', ', method: POST}')}\n{ASK}")
    first, second = call.script, call.answer("")
    assert isinstance(second, Fetch)
    sent = parse_qs(second.request.url.partition("?")[2])
    assert (sent["CallerIDName"], sent["CallerIDNum"]) == (["Иван"], ["92992"])
    assert sent["CallerExtension"] == ["000*306"]
    assert first.caller_name == "Иван"


def test_A5_the_longest_caller_fits_into_its_header():
    longest = "\U0001f355" * LONGEST
    assert CallerHeader.parse(str(CallerHeader(longest, longest))).name == longest
