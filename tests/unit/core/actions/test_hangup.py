"""
| attribute | meaning |
|---|---|
| – | none |
"""

from __future__ import annotations

from callinteractive.commands import Hangup
from tests.unit.core.call import asked, started


def test_A1_hangup_ends_the_call_at_once():
    call = asked()
    assert isinstance(call.answer("<Hangup/><PlaySound>never.wav</PlaySound>"), Hangup)
    assert call.script.is_over


def test_A1_in_yaml_it_may_be_bare():
    for rule in ("hangup", "hangup:", "hangup: {}", "hangup: null"):
        _, command = started(f"- {rule}")
        assert isinstance(command, Hangup)
        assert command.code is None
