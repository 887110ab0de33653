"""
| attribute | meaning |
|---|---|
| name | ``[A-Za-z_][A-Za-z0-9_]*``, required |
| text | the value, up to 4096 characters |
"""

from __future__ import annotations

import pytest

from callinteractive.actions.set_var import SetVar
from callinteractive.commands import Fetch, Hangup
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.response import parse
from tests.unit.core.call import asked, menu, started


def read(xml: str) -> tuple[object, ...]:
    return parse(f"<Response>{xml}</Response>".encode()).actions


def test_A3_the_example_of_the_protocol():
    assert read('<SetVar name="transferDestination">09897987</SetVar>') == (SetVar("transferDestination", "09897987"),)


def test_A3_the_value_is_trimmed_and_may_be_empty():
    assert read('<SetVar name="_a1">\n  x y  </SetVar>') == (SetVar("_a1", "x y"),)
    assert read('<SetVar name="a"/><SetVar name="b"></SetVar>') == (SetVar("a", ""), SetVar("b", ""))


def test_A3_a_value_has_at_most_4096_characters():
    assert read(f'<SetVar name="a">{"Ж" * 4096}</SetVar>') == (SetVar("a", "Ж" * 4096),)
    with pytest.raises(ResponseError, match="4097 characters, 4096 are allowed"):
        read(f'<SetVar name="a">{"Ж" * 4097}</SetVar>')


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "$a", "имя", "a" * 65, "a\n"])
def test_A3_a_name_that_no_url_could_use_is_an_error(name: str):
    with pytest.raises(ResponseError, match="is no variable name: at most 64 letters, digits and _"):
        read(f'<SetVar name="{name}">x</SetVar>')


def test_A3_the_name_is_required():
    with pytest.raises(ResponseError, match="line 1: <SetVar>: name is missing"):
        read("<SetVar>x</SetVar>")


def test_A3_R4_the_variable_is_in_later_requests():
    call, command = started('- set_var: {name: lang, value: "ru RU"}\n- call_interactive: {url: "http://h/?l=$lang"}')
    assert isinstance(command, Fetch)
    assert command.request.url.startswith("http://h/?l=ru%20RU&")
    assert call.variables == {"lang": "ru RU"}


def test_A3_a_later_value_replaces_an_earlier_one():
    call = asked()
    assert isinstance(call.answer('<SetVar name="a">1</SetVar><SetVar name="a">2</SetVar>'), Hangup)
    assert call.variables == {"a": "2"}


@pytest.mark.parametrize("value", ["yes", "[a, b]"])
def test_A3_yaml_values_that_are_no_text_are_told_to_be_quoted(value: str):
    with pytest.raises(ConfigError, match="must be one text; put it in quotes"):
        menu(f"- set_var: {{name: a, value: {value}}}")
