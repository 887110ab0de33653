"""Header values of the caller that is shown (A5): nothing a web application says can end a header early."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.identity import Identity
from kemi import identity
from kemi.identity import PresentedIdentity
from kemi.ksr import From
from kemi.seal import Views
from tests.unit.kemi.fake_ksr import FakeKsr

_NAME_ADDR = re.compile(r'(?:"(?:[^"\\\r\n]|\\[^\r\n])*" )?<sip:[^<>"\s]+@127\.0\.0\.1>')


NEEDED = ["Via", "v", "f", "FROM", "To", "m", "Call-ID", "c", "Content-Type", "l", "Record-Route", "Session-Expires"]
HEADERS = [
    *NEEDED,
    *("P-Asserted-Identity", "p-charge-info", "P-Early-Media", "Privacy", "Diversion", "History-Info", "Identity", "y"),
    *("Accept-Contact", "Call-Info", "X-Caller", "Referred-By", "b", "s"),
]
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
    ksr.results["kx.get_msgbuf"] = "INVITE sip:1@h SIP/2.0\r\np-asserted-identity: <sip:1@h>\r\n\r\n"
    identity.remove_claims(tells_from=True)
    assert ksr.called("hdr.remove") == [("Remote-Party-ID",), ("Privacy",)]
    [(all_, but)] = ksr.called("textops.remove_hf_exp")
    stays = [name for name in HEADERS if not re.search(all_, name) or re.search(but, name, re.IGNORECASE)]
    assert stays == [name for name in HEADERS if not name.lower().startswith("p-") or name == "P-Early-Media"]


@pytest.mark.parametrize("name", ["P-Asserted-Identity", "p-charging-vector", "PRIVACY", "Remote-Party-ID"])
def test_each_claim_is_noticed_by_itself_in_what_comes_later(ksr: FakeKsr, name: str) -> None:
    ksr.results["kx.get_msgbuf"] = f"SIP/2.0 200 OK\r\n{name}: x\r\n\r\n"
    identity.remove_later_claims()
    assert ksr.called("hdr.remove") == [("Remote-Party-ID",), ("Privacy",)]
    assert bool(ksr.called("textops.remove_hf_exp")) is name.lower().startswith("p-")


def test_what_comes_later_without_claims_stays_as_it_is(ksr: FakeKsr) -> None:
    ksr.results["kx.get_msgbuf"] = "SIP/2.0 200 OK\r\nSupported: privacy, p-x\r\n\r\n"
    identity.remove_later_claims()
    assert not ksr.called("hdr.remove")


def test_where_another_caller_is_shown_only_what_an_invite_needs_stays(ksr: FakeKsr) -> None:
    identity.remove_claims(tells_from=False)
    [(_, but)] = ksr.called("textops.remove_hf_exp")
    assert [name for name in HEADERS if re.search(but, name, re.IGNORECASE)] == NEEDED


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


VIEWS = Views(From('"Own"', "sip:ivr@h"), From('"Shown"', "sip:1@h"))


@pytest.mark.parametrize("is_from_caller", [True, False])
def test_each_side_keeps_its_view_in_the_dialog(ksr: FakeKsr, is_from_caller: bool) -> None:
    ksr.headers.update({"From": '"Own" <sip:ivr@h>;tag=1', "To": '"Shown" <sip:1@h>;tag=1'})
    identity.on_in_dialog_request(VIEWS, is_from_caller=is_from_caller)
    assert ksr.called("tm.t_on_reply") == [("in_dialog_replied",)]
    assert ksr.called("uac.uac_replace_from") == ([tuple(VIEWS.shown)] if is_from_caller else [])
    assert ksr.called("uac.uac_replace_to") == ([] if is_from_caller else [tuple(VIEWS.own)])
    identity.on_in_dialog_reply()
    name = "From" if is_from_caller else "To"
    assert ksr.called("hdr.rmappend") == [(name, f"{name}: {ksr.headers[name]}\r\n")]


def test_a_from_too_long_to_keep_is_not_put_back(ksr: FakeKsr) -> None:
    identity.on_in_dialog_request(VIEWS._replace(own=From("", "")), is_from_caller=False)
    assert not ksr.called("uac.uac_replace_to")
    assert not ksr.called("tm.t_on_reply")
