"""No callback lets an exception out, and every callback that can be armed exists."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from kemi import main
from kemi.facts import UnreadableError
from kemi.ksr import Route
from kemi.main import Callbacks
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import IVR, SITE

NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("boom"), 500), (UnreadableError("Unreadable Caller"), 400), (NOT_UTF8, 400)],
)
def test_exception_in_the_request_route_is_answered(ksr: FakeKsr, error: Exception, code: int) -> None:
    callbacks = Callbacks(Mock(route=Mock(side_effect=error)))
    assert callbacks.ksr_request_route(None) == 1
    assert ksr.replies == [code]
    assert len(ksr.called("err")) == (code == 500)


def test_exception_while_answering_is_logged(ksr: FakeKsr) -> None:
    ksr.results["sl.send_reply"] = RuntimeError("no memory")
    callbacks = Callbacks(Mock(route=Mock(side_effect=RuntimeError("boom"))))
    assert callbacks.ksr_request_route(None) == 1
    assert len(ksr.called("err")) == 2


def test_exception_in_the_reply_route_lets_the_reply_pass(ksr: FakeKsr) -> None:
    ksr.results["kx.get_msgbuf"] = RuntimeError("boom")
    assert Callbacks(Mock()).ksr_reply_route(None) == 1
    assert ksr.replies == []
    assert len(ksr.called("err")) == 1


def test_branch_without_its_headers_is_not_sent(ksr: FakeKsr) -> None:
    ksr.results["hdr.append"] = RuntimeError("boom")
    assert Callbacks(Mock()).to_sidecar(None) == 1
    assert ksr.called("set_drop")


def test_every_route_has_its_callback() -> None:
    assert all(callable(getattr(Callbacks, route)) for route in Route)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, name, text in (
        ("CALLINTERACTIVE_SITE", "site.yaml", SITE),
        ("CALLINTERACTIVE_IVR", "ivr.yaml", IVR),
    ):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


@pytest.mark.usefixtures("files")
def test_start() -> None:
    assert main.mod_init().child_init(1) == 0


@pytest.mark.parametrize("name", ["site.yaml", "ivr.yaml"])
def test_bad_configuration_refuses_to_start(
    files: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / name).write_text("node: x\n")
    monkeypatch.setattr(os, "_exit", Mock(side_effect=SystemExit))
    with pytest.raises(SystemExit):
        main.mod_init()
    os._exit.assert_called_once_with(main.EXIT_CONFIG)  # type: ignore[attr-defined]
    assert f"cannot start: {files / name}:1: " in capsys.readouterr().err
