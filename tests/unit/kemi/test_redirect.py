"""What becomes of a call that a sidecar leaves to Kamailio."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import Mock, create_autospec

import pytest

from callinteractive.actions import Context
from callinteractive.headers import (
    AttemptHeader,
    CallerHeader,
    EntryHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from callinteractive.model import Address, IvrFile, RtpEngine, sidecars_of_host
from kemi.anchor import MediaAnchor
from kemi.engines import Engines
from kemi.redirect import MOST_RETURNS, Redirects
from kemi.refusal import Refused
from kemi.reports import Reports, name_of
from kemi.sidecars import MOST_EARLIER, Sidecars
from kemi.transaction import Redirection, transaction
from kemi.transfer import NoRoute, Transfer
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused
from tests.unit.kemi.test_sidecars import CALL

IVRS = IvrFile((), {"3": Context("3", "main", {})}, "00aa")
GENERATION = "X-CI-Generation"
ENTRY = EntryHeader("000*332", "3", "start")
STATE = StateHeader("{}")
SIDECAR = Address("127.0.0.1", 5070)
PLAN = TransferHeader(("300",), 5)
CALLER = CallerHeader("N", "7")


LEGS = '{"call_id":"c","legs":[],"end":null}'


def _reports() -> Mock:
    made: Mock = create_autospec(Reports, instance=True)
    made.on_return.return_value = LEGS
    return made


@pytest.fixture
def transfer() -> Mock:
    made: Mock = create_autospec(Transfer, instance=True)
    return made


@pytest.fixture
def redirects(ksr: FakeKsr, transfer: Mock) -> Redirects:
    media = MediaAnchor(Engines([RtpEngine()]))
    made = Redirects(
        Sidecars(sidecars_of_host("127.0.0.1", 3, 5070), IVRS, b"key", media), transfer, media, _reports(), anchors=True
    )
    made.enter("332", CALL, ENTRY, caller_anchors=False)
    ksr.calls.clear()
    return made


def fail(ksr: FakeKsr, redirects: Redirects, code: int, *headers: object, **results: int) -> None:
    """The sidecar answers with this status and these headers."""
    for header in headers:
        ksr.headers[type(header).NAME] = str(header)  # type: ignore[attr-defined]
    ksr.results.update({"kx.get_status": code, "tm.t_get_status_code": code, "tm.t_check_trans": 1} | results)
    ksr.results["kx.get_msgbuf"] = "".join(f"{type(header).NAME}: {header}\r\n" for header in headers)  # type: ignore[attr-defined]
    if headers:
        redirects.read_reply()
    redirects.on_reply()
    redirects.on_sidecar_failure()


def entered() -> list[str]:
    """The names of the header lines that the next sidecar gets."""
    return [line.partition(":")[0] for line in transaction.sidecar_headers.split("\r\n") if line]


@pytest.mark.parametrize("code", [404, 408, 486, 500, 603])
def test_other_replies_are_the_caller_s(ksr: FakeKsr, redirects: Redirects, code: int) -> None:
    fail(ksr, redirects, code)
    assert ksr.replies == []
    assert not ksr.called("tm.t_relay")


def test_transfer_is_carried_out(ksr: FakeKsr, redirects: Redirects, transfer: Mock) -> None:
    fail(ksr, redirects, 302, PLAN, CALLER)
    assert transfer.carry_out.call_args.args[:3] == (PLAN, CALL, CALLER)


def test_transfer_to_nobody(ksr: FakeKsr, redirects: Redirects, transfer: Mock) -> None:
    transfer.carry_out.side_effect = NoRoute
    with refused(404):
        fail(ksr, redirects, 302, PLAN, CALLER)
    fail(ksr, redirects, 302, PLAN, CALLER, STATE, ENTRY)
    assert entered() == [GENERATION, "X-CI-Call", "X-CI-State", "X-CI-Result", "X-CI-Entry", "X-CI-Signature"]


def test_jump_brings_the_script_and_no_result(ksr: FakeKsr, redirects: Redirects, transfer: Mock) -> None:
    fail(ksr, redirects, 302, STATE, ENTRY)
    assert entered() == [GENERATION, "X-CI-Call", "X-CI-State", "X-CI-Entry", "X-CI-Signature"]
    assert ksr.called("tm.t_relay")
    assert not transfer.carry_out.called


def test_failed_transfer_comes_back_with_its_result(ksr: FakeKsr, redirects: Redirects) -> None:
    fail(ksr, redirects, 302, PLAN, CALLER, STATE, ENTRY)
    ksr.results["tm.t_get_status_code"] = 486
    redirects.on_transfer_failure()
    assert f"X-CI-Result: {ResultHeader(486, LEGS)}" in transaction.sidecar_headers
    assert ksr.replies == []


def test_final_transfer_s_code_is_the_caller_s(ksr: FakeKsr, redirects: Redirects) -> None:
    fail(ksr, redirects, 302, PLAN, CALLER)
    ksr.results["tm.t_get_status_code"] = 486
    redirects.on_transfer_failure()
    assert ksr.replies == []
    ksr.results["tm.t_get_status_code"] = 302
    with refused(480):
        redirects.on_transfer_failure()


def test_call_that_never_ends_is_given_up_with_a_log_line(ksr: FakeKsr, redirects: Redirects) -> None:
    for _ in range(MOST_RETURNS):
        fail(ksr, redirects, 302, STATE, ENTRY)
    with refused(480):
        fail(ksr, redirects, 302, STATE, ENTRY)
    [(text,)] = ksr.called("err")
    assert "given up" in text


def test_context_that_is_not_ours(ksr: FakeKsr, redirects: Redirects) -> None:
    with refused(480):
        fail(ksr, redirects, 302, STATE, EntryHeader("000*332", "9", "start"))


@pytest.mark.parametrize("code", [302, 408, 486, 503])
def test_cancelled_call_gets_487(ksr: FakeKsr, redirects: Redirects, code: int) -> None:
    with refused(487):
        fail(ksr, redirects, code, PLAN, CALLER, **{"tm.t_is_canceled": 1})
    with refused(487):
        redirects.on_transfer_failure()
    assert not ksr.called("tm.t_relay")


def test_silent_or_draining_sidecar_is_replaced(ksr: FakeKsr, redirects: Redirects) -> None:
    fail(ksr, redirects, 503)
    fail(ksr, redirects, 408, **{"tm.t_branch_timeout": 1})
    assert [uri[-4:] for (uri,) in ksr.called("seturi")] == ["5071", "5072"]
    assert len(ksr.called("dispatcher.ds_mark_dst_state")) == 1


def test_what_one_302_said_is_not_another_s(ksr: FakeKsr, redirects: Redirects) -> None:
    """The first 302 belongs to no transaction of ours, so tm runs no reply route for it."""
    for header in (PLAN, CALLER):
        ksr.headers[header.NAME] = str(header)
    ksr.results.update({"kx.get_status": 302, "kx.get_msgbuf": "SIP/2.0 302 Moved Temporarily"})
    redirects.read_reply()
    assert ksr.called("textopsx.change_reply_status") == [(503, "Service Unavailable")]
    redirects.on_reply()
    assert transaction.redirection == Redirection()


def test_sign_of_life_starts_the_wait_anew(ksr: FakeKsr, redirects: Redirects) -> None:
    ksr.results["kx.get_status"] = 100
    redirects.on_reply()
    assert ksr.called("tm.t_set_fr") == [(3_000, 300)]


def test_302_with_nothing_in_it_is_our_fault(ksr: FakeKsr, redirects: Redirects) -> None:
    with pytest.raises(ValueError, match="neither"):
        fail(ksr, redirects, 302)


def test_a_call_that_comes_back_keeps_the_generation_that_it_began_with(ksr: FakeKsr, transfer: Mock) -> None:
    """Its context may have gone by a reload: it still goes to a sidecar of that context's pool."""
    media = MediaAnchor(Engines([RtpEngine()]))
    hosts = sidecars_of_host("127.0.0.1", 3, 5070, pools={"vip": (2,)})
    old = Sidecars(hosts, IvrFile((), {"3": Context("3", "main", {}, pool="vip")}, "00aa"), b"key", media)
    before = Redirects(old, transfer, media, _reports(), anchors=True)
    before.enter("332", CALL, ENTRY, caller_anchors=False)
    assert "X-CI-Generation: ivr=00aa\r\n" in transaction.sidecar_headers
    now = Sidecars(hosts, IvrFile((), {"4": Context("4", "main", {})}, "00bb"), b"key", media, old)
    after = Redirects(now, transfer, media, Mock(), anchors=True)
    fail(ksr, after, 302, STATE, ENTRY)
    assert "X-CI-Generation: ivr=00aa\r\n" in transaction.sidecar_headers
    assert ksr.called("seturi")[-1] == ("sip:332@127.0.0.1:5072",)
    after.enter("332", CALL, EntryHeader("000*332", "4", "start"), caller_anchors=False)
    assert "X-CI-Generation: ivr=00bb\r\n" in transaction.sidecar_headers


def test_a_context_of_long_ago_is_forgotten(ksr: FakeKsr, transfer: Mock) -> None:
    media = MediaAnchor(Engines([RtpEngine()]))
    sidecars = None
    for number in range(MOST_EARLIER + 2):
        files = IvrFile((), {str(number): Context(str(number), "main", {})}, str(number))
        sidecars = Sidecars(sidecars_of_host(), files, b"key", media, sidecars)
    assert sidecars
    assert [sidecars.has_context(str(number)) for number in range(3)] == [False, True, True]


@pytest.mark.parametrize(("headers", "teller"), [((), ""), ((AttemptHeader(0),), name_of(SIDECAR))])
def test_E1_a_sidecar_that_gives_a_call_back_is_told_its_end(
    ksr: FakeKsr, redirects: Redirects, headers: tuple[object, ...], teller: str
) -> None:
    ksr.results["kx.get_srcip"], ksr.results["kx.get_srcport"] = SIDECAR
    with suppress(Refused):
        fail(ksr, redirects, 503, *headers)
    assert transaction.teller == teller
