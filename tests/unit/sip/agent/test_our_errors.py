"""A request that our own code fails on. Its failure is patched in, so it runs on sources only (Makefile, MOCKED)."""

import pytest

from sidecar.sip.agent import user_agent
from tests.unit.sip.world import Caller, World


def test_8_2_6_2_an_error_is_answered_with_a_to_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_agent, "find_refusal", lambda *_: 1 / 0)
    (refused,) = Caller(World()).invite()
    assert refused.status == 500
    assert refused.to_tag
