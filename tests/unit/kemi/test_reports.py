"""What Kamailio reports of the calls that sidecars have left to it: when, what, and to whom."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader, ResultHeader
from callinteractive.model import Address, Sidecar
from callinteractive.report import Report, is_genuine, joined, reports_in
from callinteractive.signature import SignatureHeader
from kemi.lost_media import REASON
from kemi.reports import AGAIN_S, MOST_BODY, MOST_REFUSED, SPIRALS_ON, Reports, batches_of, name_of
from kemi.spool import SPAN_S, Spool
from kemi.transaction import Branch, BranchPlan, transaction
from tests.unit.kemi.fake_ksr import FakeKsr

KEY = bytes(range(32))
CALL_ID = "5f" * 16
FIRST, SECOND = Address("192.0.2.1", 5070), Address("192.0.2.2", 5070)
CALL = name_of(SECOND) + CALL_ID
CODES = {
    486: "busy", 600: "busy", 603: "rejected", 480: "no_answer", 503: "failed", 487: "stopped",
}  # fmt: skip


@pytest.fixture
def reports(ksr: FakeKsr) -> Reports:
    transaction.reported, transaction.call = CALL, "call=facts"
    return Reports([Sidecar(0, FIRST, FIRST), Sidecar(1, SECOND, SECOND)], KEY)


def rings(reports: Reports, *numbers: str) -> None:
    """A branch for each: the first of an INVITE is the sidecar's."""
    for index, number in enumerate(numbers, 1):
        uri = f"sip:{number}@192.0.2.3;alias=192.0.2.4~5060~1"
        transaction.plans[uri] = BranchPlan(None, "", "", False, False, f"{CALL_ID}: {number}")
        transaction.branches[index] = Branch(uri)
        transaction.branches_used = index + 1
        reports.on_branch(index)


def sent(ksr: FakeKsr) -> list[dict[str, str]]:
    """Each request of our own, as the fields that were set before it."""
    found, fields = [], {}
    for name, arguments in ksr.calls:
        if name == "pv.sets" and arguments[0].startswith("$uac_req("):
            fields[arguments[0][9:-1]] = arguments[1]
        elif name == "uac.uac_req_send":
            found.append(fields)
            fields = {}
    return found


def told(ksr: FakeKsr) -> Report:
    (message,) = sent(ksr)
    return Report.from_text(message["body"])


def legs(report: Report) -> list[tuple[Any, ...]]:
    return [(leg.name, leg.number, leg.code, leg.outcome) for leg in report.legs]


def test_one_answers(ksr: FakeKsr, reports: Reports) -> None:
    rings(reports, "306", "307", "308")
    reports.on_ringing(1)
    reports.on_ringing(2)
    reports.on_branch_over(3, 486)
    reports.on_answer(2)
    reports.on_answer(2)  # its 2xx is sent again
    report = told(ksr)
    assert report.call_id == CALL_ID
    assert report.end is None
    assert legs(report) == [
        ("k1", "306", 487, "stopped"), ("k2", "307", 200, "answered"), ("k3", "308", 486, "busy"),
    ]  # fmt: skip
    first, second, third = report.legs
    assert second.target == "sip:307@192.0.2.3"
    assert 0 < second.began_ms <= second.rang_ms <= second.answered_ms <= time.time() * 1000
    assert second.ended_ms == 0
    assert first.ended_ms == second.answered_ms
    assert third.rang_ms == 0 < third.ended_ms


@pytest.mark.parametrize(("code", "outcome"), CODES.items())
def test_all_fail(ksr: FakeKsr, reports: Reports, code: int, outcome: str) -> None:
    rings(reports, "306")
    reports.on_branch_over(1, code)
    reports.on_failed(code, "callee")
    report = told(ksr)
    assert legs(report) == [("k1", "306", code, outcome)]
    assert report.end is not None
    assert (report.end.by, report.end.code) == ("callee", code)


@pytest.mark.parametrize(("does_ring", "outcome"), [(True, "no_answer"), (False, "failed")])
def test_silence(ksr: FakeKsr, reports: Reports, does_ring: bool, outcome: str) -> None:
    rings(reports, "306")
    if does_ring:
        reports.on_ringing(1)
    reports.on_branch_over(1, 0)
    reports.on_branch_over(1, 487)  # of our CANCEL
    reports.on_failed(408, "callee")
    assert legs(told(ksr)) == [("k1", "306", 0, outcome)]


def test_the_caller_gives_up(ksr: FakeKsr, reports: Reports) -> None:
    rings(reports, "306")
    reports.on_ringing(1)
    reports.on_branch_over(1, 487)
    reports.on_failed(487, "caller")
    assert legs(told(ksr)) == [("k1", "306", 487, "stopped")]


def test_it_comes_back_to_a_sidecar(ksr: FakeKsr, reports: Reports) -> None:
    """Which gets the legs so far. Those of the next transfer are told by the next report."""
    rings(reports, "306")
    reports.on_branch_over(1, 486)
    report = Report.from_text(reports.on_return())
    assert (report.call_id, report.end) == (CALL[4:], None)
    assert legs(report) == [("k1", "306", 486, "busy")]
    reports.on_returned()
    reports.on_failed(486, "callee")
    assert reports.on_return() == ""
    reports.on_returned()
    assert sent(ksr) == []
    transaction.reported = CALL
    transaction.branches_used = 3  # the sidecar's
    uri = "sip:307@192.0.2.3"
    transaction.plans[uri], transaction.branches[3] = BranchPlan(None, "", "", False, False), Branch(uri)
    transaction.branches_used = 4
    reports.on_branch(3)
    reports.on_answer(3)
    assert legs(told(ksr)) == [("k3", "", 200, "answered")]


@pytest.mark.parametrize(
    ("reason", "from_caller", "by"),
    [("", True, "caller"), ("Q.850;cause=16", False, "callee"), (REASON, True, "system")],
)
def test_a_bye(ksr: FakeKsr, reports: Reports, reason: str, from_caller: bool, by: str) -> None:
    ksr.headers["Reason"] = reason
    reports.on_bye(CALL, is_from_caller=from_caller)
    end = told(ksr).end
    assert end is not None
    assert (end.by, end.code, end.cause) == (by, 200, reason)
    assert "X-CI-Call" not in sent(ksr)[0]["hdrs"]


def test_what_is_sent(ksr: FakeKsr, reports: Reports) -> None:
    rings(reports, "306")
    reports.on_failed(404, "system")
    (message,) = sent(ksr)
    headers = dict(line.split(": ", 1) for line in message["hdrs"].split("\r\n") if line)
    assert (message["method"], message["ruri"]) == ("MESSAGE", f"sip:{SECOND}")
    assert headers["X-CI-Call"] == "call=facts"
    assert headers["Content-Type"] == "application/json"
    header = SignatureHeader.parse(headers["X-CI-Signature"])
    assert is_genuine(header, KEY, time.time(), message["callid"], "call=facts", message["body"])
    assert json.loads(message["body"])


def test_many_legs_are_told_in_several_messages(ksr: FakeKsr, reports: Reports) -> None:
    """Kamailio's uac has room for 4,086 octets of a body, and for 2,048 of header lines."""
    transaction.call = "f" * 2000
    numbers = [f"{number:058}\N{GREEK SMALL LETTER PHI}" for number in range(29)]
    rings(reports, *numbers)
    reports.on_failed(408, "callee")
    messages = sent(ksr)
    told = [Report.from_text(message["body"]) for message in messages]
    assert [report.end is not None for report in told] == [False] * (len(told) - 1) + [True]
    assert [leg.number for report in told for leg in report.legs] == numbers
    assert len(messages) > 1
    assert all(len(message["body"]) < 4086 and len(message["hdrs"]) < 2048 for message in messages)
    header = SignatureHeader.parse(messages[0]["hdrs"].partition(": ")[2].partition("\r\n")[0])
    assert is_genuine(header, KEY, time.time(), messages[0]["callid"], "", messages[0]["body"])


@pytest.mark.parametrize("number", ["000*306", "%" * 64, "\N{GREEK SMALL LETTER PHI}" * 64])
def test_what_comes_back_to_a_sidecar_fits_its_header(reports: Reports, number: str) -> None:
    """A header that is too long would end the call."""
    rings(reports, *[f"{number}{at}" for at in range(29)])
    for at in range(29):
        reports.on_ringing(at + 1)
        reports.on_branch_over(at + 1, 486)
    text = reports.on_return()
    header = ResultHeader.parse(str(ResultHeader(486, text)))
    assert len(Report.from_text(header.legs).legs) > (28 if number == "000*306" else 2)


def test_another_one_is_told_where_its_sidecar_is_dead(ksr: FakeKsr, reports: Reports) -> None:
    ksr.results["dispatcher.ds_is_active_uri"] = lambda _group, uri: 1 if uri == f"sip:{FIRST}" else -1
    reports.on_bye(CALL, is_from_caller=True)
    ksr.results["dispatcher.ds_is_active_uri"] = -1  # it may be back
    reports.on_bye(CALL, is_from_caller=True)
    reports.on_bye("0000" + CALL_ID, is_from_caller=True)  # of a sidecar that has left the site
    assert [message["ruri"] for message in sent(ksr)] == [f"sip:{each}" for each in (FIRST, SECOND, FIRST)]


def test_calls_of_others_are_not_reported(ksr: FakeKsr, reports: Reports) -> None:
    transaction.reported = ""
    rings(reports, "306")
    reports.on_ringing(1)
    reports.on_branch_over(1, 486)
    reports.on_answer(1)
    assert reports.on_return() == ""
    reports.on_returned()
    reports.on_failed(486, "callee")
    assert sent(ksr) == []
    assert transaction.legs[1] == ""


def test_no_call_fails_for_its_report(ksr: FakeKsr, reports: Reports) -> None:
    ksr.results["uac.uac_req_send"] = RuntimeError("boom")
    reports.on_bye(CALL, is_from_caller=True)
    assert "boom" in ksr.called("err")[0][0]


def test_no_call_fails_for_a_report_that_cannot_be_made(ksr: FakeKsr, reports: Reports) -> None:
    rings(reports, "306")
    transaction.legs[1] = "not four numbers"
    reports.on_answer(1)
    assert reports.on_return() == ""
    reports.on_failed(486, "callee")
    assert sent(ksr) == []
    assert len(ksr.called("err")) == 3


def test_a_call_that_no_sidecar_takes_back_is_told_with_its_legs(ksr: FakeKsr, reports: Reports) -> None:
    rings(reports, "306")
    reports.on_branch_over(1, 486)
    assert reports.on_return()
    reports.on_failed(503, "system")  # before `on_returned`
    report = told(ksr)
    assert legs(report) == [("k1", "306", 486, "busy")]
    assert report.end is not None


FACTS = CallFacts(CALL_ID, "1:" + CALL_ID, "306", "Ann", "307", "000*307", 135, None, "000*306", 134)


def test_C8_a_call_between_phones_is_followed(ksr: FakeKsr, reports: Reports) -> None:
    transaction.reported = transaction.call = ""
    reports.follow(FACTS)
    rings(reports, "307")
    reports.on_answer(1)
    (message,) = sent(ksr)
    assert legs(Report.from_text(message["body"])) == [("k1", "307", 200, "answered")]
    assert f"X-CI-Call: {CallHeader(FACTS)}" in message["hdrs"]
    assert reports.ending_with_it() in (name_of(FIRST) + CALL_ID, name_of(SECOND) + CALL_ID)


def test_a_refused_call_has_its_end_and_a_flood_does_not(
    ksr: FakeKsr, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("kemi.reports.time.monotonic", lambda: now[0])
    for _ in range(2 * MOST_REFUSED):
        reports.on_refused(FACTS, 404, "no such number")
    assert len(sent(ksr)) == MOST_REFUSED
    now[0] += 1
    reports.on_refused(FACTS, 404, "no such number")
    assert len(sent(ksr)) == MOST_REFUSED + 1
    report = Report.from_text(sent(ksr)[0]["body"])
    assert (report.call_id, report.legs) == (CALL_ID, ())
    assert report.end is not None
    assert (report.end.by, report.end.code, report.end.cause) == ("system", 404, "no such number")


def test_a_site_without_sidecars_tells_nobody(ksr: FakeKsr) -> None:
    nobody = Reports([], KEY)
    nobody.follow(FACTS)
    nobody.on_refused(FACTS, 404, "no such number")
    assert (sent(ksr), transaction.reported) == ([], "")


@pytest.mark.parametrize(
    ("code", "timed_out", "teller", "is_told"),
    [
        (503, False, name_of(SECOND), True),  # it had begun the call
        (503, False, "", True),
        (408, True, "", True),
        (302, False, name_of(SECOND), True),
        (486, False, name_of(SECOND), False),  # the sidecar has told that itself
        (408, False, "", False),
    ],
)
def test_E1_who_tells_the_end_of_a_call_that_no_sidecar_has_taken(
    ksr: FakeKsr, reports: Reports, code: int, timed_out: bool, teller: str, is_told: bool
) -> None:
    transaction.reported, transaction.call, transaction.teller = "", str(CallHeader(FACTS)), teller
    ksr.results["tm.t_get_status_code"] = code
    ksr.results["tm.t_branch_timeout"] = 1 if timed_out else -1
    reports.on_sidecar_failed(503, "system")
    if not is_told:
        assert sent(ksr) == []
        return
    (message,) = sent(ksr)
    report = Report.from_text(message["body"])
    assert report.call_id == CALL_ID
    assert report.end is not None
    assert (report.end.by, report.end.code) == ("system", 503)
    if teller:
        assert message["ruri"] == f"sip:{SECOND}"


def test_E1_a_call_that_comes_back_and_is_not_taken_has_all_its_legs(ksr: FakeKsr, reports: Reports) -> None:
    transaction.call, transaction.teller, transaction.reported_branches = str(CallHeader(FACTS)), name_of(SECOND), 1
    rings(reports, "306")
    reports.on_branch_over(1, 486)
    reports.on_returned()
    ksr.results["tm.t_get_status_code"] = 503
    reports.on_sidecar_failed(503, "system")
    report = told(ksr)
    assert legs(report) == [("k1", "306", 486, "busy")]
    assert report.end is not None


def test_one_bye_ends_all_calls_that_led_to_its_dialog(ksr: FakeKsr, reports: Reports) -> None:
    around = name_of(FIRST) + "6a" * 16
    transaction.reported_around = around
    assert reports.ending_with_it() == CALL + around
    reports.on_bye(reports.ending_with_it(), is_from_caller=True)
    assert [(message["ruri"], Report.from_text(message["body"]).call_id) for message in sent(ksr)] == [
        (f"sip:{SECOND}", CALL_ID), (f"sip:{FIRST}", "6a" * 16),
    ]  # fmt: skip
    transaction.reported_around = around * 9
    assert len(reports.ending_with_it()) == 4 * 36


def test_an_ivr_of_ours_that_answers_is_named(ksr: FakeKsr, reports: Reports) -> None:
    for index, uri in enumerate(("sip:000%2A333@h", f"sip:{SPIRALS_ON}@h"), 1):
        transaction.plans[uri] = BranchPlan(None, "", "", True, False)
        transaction.branches[index] = Branch(uri)
        transaction.branches_used = index + 1
        reports.on_branch(index)
    reports.on_answer(1)
    assert [leg.number for leg in told(ksr).legs] == ["000*333", ""]


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spooled(ksr: FakeKsr, tmp_path: Path, clock: Clock) -> Reports:
    """With a place where reports wait."""
    transaction.reported, transaction.call = CALL, str(CallHeader(FACTS))
    spool = Spool(tmp_path / "reports", clock)
    spool.make_ready()
    return Reports([Sidecar(0, FIRST, FIRST), Sidecar(1, SECOND, SECOND)], KEY, spool)


def test_what_waits_is_sent_together(ksr: FakeKsr, spooled: Reports, clock: Clock) -> None:
    """To each sidecar its own, the answer of a call before its end."""
    rings(spooled, "306")
    spooled.on_answer(1)
    spooled.on_bye(name_of(FIRST) + "6a" * 16, is_from_caller=True)
    spooled.on_bye(CALL, is_from_caller=False)
    spooled.deliver()
    assert sent(ksr) == []
    clock.now_s += 2 * SPAN_S
    spooled.deliver()
    messages = {message["ruri"]: message for message in sent(ksr)}
    assert len(messages) == len(sent(ksr)) == 2
    several = messages[f"sip:{SECOND}"]
    (answer, facts), (end, none) = reports_in(several["body"], "")
    assert (legs(answer), facts, none) == ([("k1", "306", 200, "answered")], str(CallHeader(FACTS)), "")
    assert end.end is not None
    assert (end.call_id, end.end.by) == (CALL_ID, "callee")
    assert CallHeader.NAME not in several["hdrs"]
    header = SignatureHeader.parse(several["hdrs"].partition(": ")[2].partition("\r\n")[0])
    assert is_genuine(header, KEY, time.time(), several["callid"], "", several["body"])
    assert Report.from_text(messages[f"sip:{FIRST}"]["body"]).call_id == "6a" * 16  # alone, as one release before
    spooled.deliver()
    assert len(sent(ksr)) == 2


def test_one_that_waits_alone_has_its_facts_in_a_header(ksr: FakeKsr, spooled: Reports, clock: Clock) -> None:
    rings(spooled, "306")
    spooled.on_answer(1)
    clock.now_s += 2 * SPAN_S
    spooled.deliver()
    assert legs(told(ksr)) == [("k1", "306", 200, "answered")]
    assert f"X-CI-Call: {CallHeader(FACTS)}\r\n" in sent(ksr)[0]["hdrs"]


def test_what_waits_for_a_dead_sidecar_goes_to_another_one(ksr: FakeKsr, spooled: Reports, clock: Clock) -> None:
    """It may have died meanwhile."""
    spooled.on_bye(CALL, is_from_caller=True)
    ksr.results["dispatcher.ds_is_active_uri"] = lambda _group, uri: 1 if uri == f"sip:{FIRST}" else -1
    clock.now_s += 2 * SPAN_S
    spooled.deliver()
    assert [message["ruri"] for message in sent(ksr)] == [f"sip:{FIRST}"]


def test_what_cannot_be_sent_stops_nothing_else(ksr: FakeKsr, spooled: Reports, clock: Clock) -> None:
    def fail_once() -> int:
        ksr.results["uac.uac_req_send"] = 1
        raise RuntimeError("boom")

    ksr.results["uac.uac_req_send"] = fail_once
    spooled.on_bye(CALL, is_from_caller=True)
    spooled.on_bye(name_of(FIRST) + "6a" * 16, is_from_caller=True)
    clock.now_s += 2 * SPAN_S
    spooled.deliver()
    assert "1 reports of calls for" in ksr.called("err")[0][0]
    assert len(sent(ksr)) == 2  # the first of them in vain


def test_what_there_is_no_memory_for_waits(
    ksr: FakeKsr, spooled: Reports, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its order. It was lost, and nothing said so."""
    monkeypatch.setattr("kemi.reports.time.monotonic", clock)
    ksr.results["uac.uac_req_send"] = -1
    rings(spooled, "306")
    spooled.on_answer(1)
    clock.now_s += 2 * SPAN_S
    with pytest.raises(MemoryError):
        spooled.deliver()
    assert len(sent(ksr)) == 1
    spooled.on_bye(CALL, is_from_caller=True)
    clock.now_s += AGAIN_S / 2
    spooled.deliver()  # not yet
    assert len(sent(ksr)) == 1
    clock.now_s += AGAIN_S
    with pytest.raises(MemoryError):
        spooled.deliver()
    ksr.results["uac.uac_req_send"] = 1
    clock.now_s += AGAIN_S
    spooled.deliver()
    *_, answer, end = sent(ksr)
    assert legs(Report.from_text(answer["body"])) == [("k1", "306", 200, "answered")]
    assert f"X-CI-Call: {CallHeader(FACTS)}\r\n" in answer["hdrs"]
    assert Report.from_text(end["body"]).end is not None
    spooled.deliver()
    assert len(sent(ksr)) == 4


def test_where_nothing_can_wait_it_is_sent_at_once(ksr: FakeKsr, tmp_path: Path, clock: Clock) -> None:
    reports = Reports([Sidecar(0, FIRST, FIRST)], KEY, Spool(tmp_path / "no folder", clock))
    reports.on_bye(CALL, is_from_caller=True)
    assert told(ksr).call_id == CALL_ID


@pytest.mark.parametrize("size", [1, 100, 700, 2000, MOST_BODY])
def test_messages_are_no_longer_than_kamailio_can_send(size: int) -> None:
    text = Report("5f" * 16, ()).to_text()
    reports = [(text, "f" * max(size - len(text), 0))] * 25
    batches = list(batches_of(reports))
    assert [report for batch in batches for report in batch] == reports
    assert all(len(joined(batch)) <= 4086 for batch in batches if len(batch) > 1)
    assert len(batches) <= max(1, -(-25 * size // 2000))
