"""Header values of the caller that is shown (A5): nothing a web application says can end a header early."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.identity import Identity
from kemi import identity
from kemi.identity import PresentedIdentity
from tests.unit.kemi.fake_ksr import FakeKsr

_NAME_ADDR = re.compile(r'(?:"(?:[^"\\\r\n]|\\[^\r\n])*" )?<sip:[^<>"\s]+@127\.0\.0\.1>')


HOST = "127.0.0.1"
IVAN = Identity.of("Иван", "000*306")
ADDRESS = '"Иван" <sip:000*306@127.0.0.1>'


def test_named_caller() -> None:
    seen = identity.present(IVAN, HOST, ("from", "pai"))
    assert seen.from_ == ('"Иван"', "sip:000*306@127.0.0.1")
    assert seen.lines == f"P-Asserted-Identity: {ADDRESS}\r\n"


def test_anonymous_caller() -> None:
    seen = identity.present(Identity.of("Secret", "anonymous"), HOST, ("from", "pai", "rpid"), keeps_from=True)
    assert seen.from_ == ('"Anonymous"', "sip:anonymous@anonymous.invalid")
    assert seen.lines == "Privacy: id\r\n"


@pytest.mark.parametrize("keeps_from", [True, False])
def test_peer_that_does_not_look_into_from_sees_nobody_there(keeps_from: bool) -> None:
    seen = identity.present(IVAN, HOST, ("rpid",), keeps_from=keeps_from)
    assert seen.from_ == identity.ANONYMOUS
    assert seen.lines == f"Remote-Party-ID: {ADDRESS};party=calling;privacy=off;screen=yes\r\n"


def test_caller_s_own_from_stays() -> None:
    assert identity.present(IVAN, HOST, ("from",), keeps_from=True) == PresentedIdentity(None, "")


def test_what_the_sender_claims_is_removed(ksr: FakeKsr) -> None:
    identity.remove_claims()
    assert {name for (name,) in ksr.called("hdr.remove")} >= {"P-Asserted-Identity", "Privacy", "Remote-Party-ID"}


@given(name=st.text(), number=st.text())
def test_any_caller_makes_well_formed_lines(name: str, number: str) -> None:
    seen = identity.present(Identity.of(name, number), HOST, ("from", "pai", "rpid"))
    assert seen.from_
    if seen.lines != "Privacy: id\r\n":
        asserted, remote, end = seen.lines.split("\r\n")
        assert _NAME_ADDR.fullmatch(f"{seen.from_.display_name} <{seen.from_.uri}>".lstrip())
        assert _NAME_ADDR.fullmatch(asserted.removeprefix("P-Asserted-Identity: "))
        assert _NAME_ADDR.fullmatch(remote.removeprefix("Remote-Party-ID: ").partition(";party=calling;")[0])
        assert not end


def test_reply_to_a_callee_keeps_the_to_that_it_wrote(ksr: FakeKsr) -> None:
    ksr.headers.update({"To": '"Shown" <sip:1@h>;tag=1'})
    identity.keep_callee_s_view()
    assert ksr.called("tm.t_on_reply") == [("in_dialog_replied",)]
    identity.on_in_dialog_reply()
    assert not ksr.called("hdr.rmappend")
    ksr.headers["To"] = '"Own" <sip:ivr@h>;tag=1'
    identity.on_in_dialog_reply()
    assert ksr.called("hdr.rmappend") == [("To", 'To: "Shown" <sip:1@h>;tag=1\r\n')]


def test_dialog_with_nothing_replaced_costs_nothing(ksr: FakeKsr) -> None:
    ksr.results["dialog.is_known_dlg"] = -1
    identity.keep_callee_s_view()
    assert not ksr.called("tm.t_on_reply")
