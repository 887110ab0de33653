"""What follows the last rule of an option; how a number is dialled there is in test_script.py (C3)."""

from __future__ import annotations

import pytest

from callinteractive.errors import ConfigError, ResponseError
from callinteractive.response import parse
from tests.unit.core.call import menu


def test_nobody_can_write_it():
    with pytest.raises(ConfigError, match="unknown rule 'await_choice'"):
        menu("- await_choice")
    with pytest.raises(ResponseError, match="unknown element <AwaitChoice>"):
        parse(b"<Response><AwaitChoice/></Response>")
