"""Header values of the caller that is shown (A5): nothing a web application says can end a header early."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callinteractive.headers import CallerHeader
from kemi import caller
from tests.unit.kemi.fake_ksr import FakeKsr

_NAME_ADDR = re.compile(r'(?:"(?:[^"\\\r\n]|\\[^\r\n])*" )?<sip:[^<>"\s]+@127\.0\.0\.1>')


def show(ksr: FakeKsr, name: str, number: str) -> tuple[tuple[str, str], str]:
    """What From is replaced with, and the lines appended."""
    ksr.calls.clear()
    ksr.results["kx.get_rcvip"] = "127.0.0.1"
    caller.show(CallerHeader(name, number))
    [shown] = ksr.called("uac.uac_replace_from")
    [(lines,)] = ksr.called("hdr.append")
    return (shown[0], shown[1]), lines


def test_named_caller(ksr: FakeKsr) -> None:
    shown, lines = show(ksr, "Иван", "000*306")
    assert shown == ('"Иван"', "sip:000*306@127.0.0.1")
    assert lines == 'P-Asserted-Identity: "Иван" <sip:000*306@127.0.0.1>\r\n'
    assert {name for (name,) in ksr.called("hdr.remove")} >= {"P-Asserted-Identity", "Privacy", "Remote-Party-ID"}


def test_anonymous_caller(ksr: FakeKsr) -> None:
    shown, lines = show(ksr, "Secret", "anonymous")
    assert shown == ('"Anonymous"', "sip:anonymous@anonymous.invalid")
    assert lines == "Privacy: id\r\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(), number=st.text())
def test_any_caller_makes_one_well_formed_line(ksr: FakeKsr, name: str, number: str) -> None:
    shown, lines = show(ksr, name, number)
    assert lines.count("\r\n") == 1
    assert lines.endswith("\r\n")
    if lines != "Privacy: id\r\n":
        assert _NAME_ADDR.fullmatch(f"{shown[0]} <{shown[1]}>".lstrip())
        assert _NAME_ADDR.fullmatch(lines.removeprefix("P-Asserted-Identity: ").removesuffix("\r\n"))


def test_reply_to_a_callee_keeps_the_to_that_it_wrote(ksr: FakeKsr) -> None:
    ksr.headers.update({"Route": "<sip:h;lr=on;did=1.2>", "To": '"Shown" <sip:1@h>;tag=1'})
    caller.keep_callee_s_view()
    assert ksr.called("tm.t_on_reply") == [("in_dialog_replied",)]
    caller.on_in_dialog_reply()
    assert not ksr.called("hdr.rmappend")
    ksr.headers["To"] = '"Own" <sip:ivr@h>;tag=1'
    caller.on_in_dialog_reply()
    assert ksr.called("hdr.rmappend") == [("To", 'To: "Shown" <sip:1@h>;tag=1\r\n')]


def test_dialog_with_nothing_replaced_costs_nothing(ksr: FakeKsr) -> None:
    ksr.headers["Route"] = "<sip:h;lr=on;ci=1>"
    caller.keep_callee_s_view()
    assert ksr.calls == []
