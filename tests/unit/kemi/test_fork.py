"""The branches of a transfer: their time, their early media, who stands in, which final code is told (A11-A13)."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from callinteractive.config import load_site
from kemi import fork
from kemi.ksr import Route
from kemi.limits import Limits
from kemi.outcome import outcome
from kemi.transaction import transaction
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_transfer import FORKS, SITE, enter_branch, start


@pytest.mark.parametrize(("timeout_s", "milliseconds"), [(None, 60_000), (7, 7_000)])
def test_time_to_answer(ksr: FakeKsr, timeout_s: int | None, milliseconds: int) -> None:
    start(ksr, "306", timeout_s=timeout_s)
    assert ksr.called("tm.t_set_fr") == [(milliseconds, fork.SILENT_MS)]
    assert ksr.called("tm.t_set_max_lifetime") == [(milliseconds, 0)]


def fail_branch(ksr: FakeKsr, index: int, code: int, timed_out: bool = False, replied: bool = True) -> list[str]:
    """Run a branch's failure route; returns the URIs that are tried next."""
    before = len(ksr.called("seturi"))
    ksr.results.update(
        {
            "tm.t_get_branch_index": index,
            "tm.t_get_status_code": code,
            "tm.t_branch_timeout": 1 if timed_out else -1,
            "tm.t_branch_replied": 1 if replied else -1,
        }
    )
    FORKS.on_branch_failure()
    return [uri for (uri,) in ksr.called("seturi")[before:]]


@pytest.mark.parametrize(
    ("code", "timed_out", "replied", "next_trunk"),
    [
        (503, False, True, True),
        (500, False, True, True),
        (408, True, False, True),
        (408, True, True, False),
        (408, False, True, False),
        (486, False, True, False),
        (404, False, True, False),
        (603, False, True, False),
    ],
)
def test_failing_trunk(ksr: FakeKsr, code: int, timed_out: bool, replied: bool, next_trunk: bool) -> None:
    phone, external = start(ksr, "306", "+7495")
    enter_branch(ksr, 0, phone)
    enter_branch(ksr, 1, external)
    tried = fail_branch(ksr, 1, code, timed_out, replied)
    assert tried == (["sip:+7495@127.0.0.3:5080;transport=tcp"] if next_trunk else [])
    if next_trunk:
        assert ksr.called("tm.t_on_branch_failure")[-1] == (Route.TARGET_FAILED,)
        enter_branch(ksr, 2, tried[0])
        assert fail_branch(ksr, 2, code, timed_out, replied) == []  # that was the last
    assert fail_branch(ksr, 0, 503) == []  # a phone has nobody to stand in


def test_what_cannot_be_sent_is_passed_over(ksr: FakeKsr) -> None:
    """Nobody is answered: others may still ring."""
    third = '  - {name: third, to: "sip:127.0.0.6:5080"}\nextensions:'
    phone, external = start(ksr, "306", "+7495", site=SITE.replace("extensions:", third))
    enter_branch(ksr, 0, phone)
    enter_branch(ksr, 1, external)
    sent = iter((-1, 1))
    ksr.results["tm.t_relay"] = lambda: next(sent)
    assert fail_branch(ksr, 1, 503) == ["sip:+7495@127.0.0.3:5080;transport=tcp", "sip:+7495@127.0.0.6:5080"]
    ksr.results["tm.t_relay"] = -1
    assert fail_branch(ksr, 0, fork.NOT_ACCEPTABLE) == [phone]
    assert ksr.replies == []


def test_what_a_peer_refuses_is_offered_otherwise(ksr: FakeKsr) -> None:
    """Once, with a CSeq one higher (RFC 3261 8.2.2.2): RTPengine converts."""
    ksr.results["textops.has_body"] = -1
    [phone] = start(ksr, "306")
    enter_branch(ksr, 0, phone)
    assert not ksr.called("rtpengine.rtpengine_offer")
    assert fail_branch(ksr, 0, fork.NOT_ACCEPTABLE) == [phone]
    assert transaction.is_anchored
    assert transaction.plans[phone].sides == "ps"
    enter_branch(ksr, 1, phone)
    assert transaction.branches[1].media.endswith("-ps-late")
    assert transaction.branches[1].shift == 1
    assert fail_branch(ksr, 1, fork.NOT_ACCEPTABLE) == []


def test_password_and_another_offer(ksr: FakeKsr) -> None:
    """A new offer is challenged anew: its nonce is another, and the password counts as not refused yet."""
    ksr.results["textops.has_body"] = -1
    [uri, *_] = start(ksr, "+7495")
    index = 0
    for status in (407, 407, fork.NOT_ACCEPTABLE, 407):
        enter_branch(ksr, index, uri)
        asks = f'Digest realm="r", nonce="{index}"' + (", stale=true" if index == 1 else "")
        ksr.results["hdr.get_idx"] = lambda _, at, asks=asks: asks if at == 0 else None
        reply(ksr, index, status)
        assert fail_branch(ksr, index, status) == [uri]
        index += 1
        lines = transaction.plans[uri].lines
        assert lines.count("Proxy-Authorization: ") == (0 if status == fork.NOT_ACCEPTABLE else 1)
        assert "\r\n\r\n" not in lines
    enter_branch(ksr, index, uri)
    assert transaction.branches[index].shift == index
    reply(ksr, index, 407)
    assert fail_branch(ksr, index, 407) == ["sip:+7495@127.0.0.3:5080;transport=tcp"]  # that was wrong


def test_challenge_that_goes_on_in_the_next_line(ksr: FakeKsr) -> None:
    """RFC 3261 7.3.1."""
    [uri, *_] = start(ksr, "+7495")
    enter_branch(ksr, 0, uri)
    ksr.results["hdr.get_idx"] = lambda _, at: 'Digest realm="r",\r\n\tnonce="n"' if at == 0 else None
    reply(ksr, 0, 401)
    assert fail_branch(ksr, 0, 401) == [uri]
    assert 'Authorization: Digest username="we", realm="r", nonce="n"' in transaction.plans[uri].lines


def test_branches_that_lose_count_no_longer(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    """tm runs no failure route for one that ends after another has answered."""
    trunk = replace(load_site(SITE, "site.yaml").trunks[0], max_calls_out=3)
    monkeypatch.setattr(FORKS, "_limits", Limits([trunk]))
    phone, *external = start(ksr, "306", "+7495", "+7496", "+7497")
    for index, uri in enumerate((phone, *external)):
        enter_branch(ksr, index, uri)
    counted = {key: text for _, key, text in ksr.called("htable.sht_sets")}
    ksr.results["htable.sht_get"] = lambda _, key: counted.get(key)
    reply(ksr, 2, 200)
    ended = [key[-2:] for _, key in ksr.called("htable.sht_rm")]
    assert ended == [" 2", " 1", " 3"]  # the winner's counts with its call from now on
    assert ksr.called("htable.sht_dec") == [("counts", "out first")] * 2


def test_nothing_is_tried_for_a_caller_who_has_gone(ksr: FakeKsr) -> None:
    [uri] = start(ksr, "+7495")
    enter_branch(ksr, 0, uri)
    ksr.results["tm.t_is_canceled"] = 1
    assert fail_branch(ksr, 0, 503) == []


def reply(ksr: FakeKsr, index: int, status: int, body: bool = False) -> None:
    ksr.results.update({"tm.t_get_branch_index": index, "kx.get_status": status, "textops.has_body": 1 if body else -1})
    FORKS.on_reply()


@pytest.mark.parametrize(
    ("why", "status", "is_cancelled"),
    [
        ("answered", 180, True),
        ("answered", 200, False),
        ("cancelled", 183, True),
        ("cancelled", 486, False),
        ("", 180, False),
    ],
)
def test_who_rings_when_all_is_over_is_cancelled(
    ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch, why: str, status: int, is_cancelled: bool
) -> None:
    """tm did not know its 1xx yet when another one answered, or the caller gave up. Not who has answered or refused."""
    steps: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: steps.append("waits" if 0 < seconds <= 0.01 else "too long"))
    for index, uri in enumerate(start(ksr, "306", "+7495")):
        enter_branch(ksr, index, uri)
    if why == "answered":
        reply(ksr, 1, 200)
    elif why == "cancelled":
        ksr.results["tm.t_is_canceled"] = 1

    def cancel(which: str) -> int:
        steps.append(f"cancels {which}")
        return 1

    ksr.results["tmx.t_cancel_branches"] = cancel
    ksr.results["pv.get"] = lambda variable: status if variable == "$T_reply_last" else None
    reply(ksr, 0, 180)
    # Before the wait, too: tm may have decided already. Between both, tm decides.
    assert steps == (["cancels this", "waits", "cancels this"] if is_cancelled else [])


@pytest.mark.parametrize("early_media", [True, False])
def test_early_media(ksr: FakeKsr, early_media: bool) -> None:
    ksr.results["kx.get_msgbuf"] = "INVITE sip:306@h SIP/2.0\r\nSupported: 100Rel\r\n\r\n"
    start(ksr, "306", early_media=early_media)
    reply(ksr, 0, 183, body=True)
    assert bool(ksr.called("textopsx.remove_body")) is not early_media
    assert bool(ksr.called("textopsx.exclude_hf_value")) is not early_media


def test_nothing_is_taken_out_of_an_invite_that_has_none_of_it(ksr: FakeKsr) -> None:
    ksr.results["kx.get_msgbuf"] = "INVITE sip:306@h SIP/2.0\r\nSupported: timer\r\n\r\n"
    start(ksr, "306", early_media=False)
    assert not ksr.called("textopsx.exclude_hf_value")


@pytest.mark.parametrize(("status", "body"), [(180, False), (200, True), (100, False)])
def test_other_replies_pass_as_they_are(ksr: FakeKsr, status: int, body: bool) -> None:
    start(ksr, "306")
    reply(ksr, 0, status, body)
    assert not ksr.called("textopsx.change_reply_status")


@pytest.mark.parametrize(
    ("replies", "picked", "told"),
    [
        ([(0, 486), (1, 404)], 404, [486]),
        ([(0, 486), (1, 486)], 486, []),
        ([(0, 180), (1, 486)], 486, [408]),
        ([(0, 180), (1, 180)], 408, []),
        ([(0, 180), (0, 486), (1, 404)], 404, [486]),
        ([(0, 180), (1, 180), (0, 486)], 486, [408]),
        ([(0, 302)], 302, [480]),
        ([(0, 302), (1, 486)], 302, [486]),
        ([(0, 180), (1, 603)], 603, []),
        ([(0, 404)], 404, []),
    ],
)
def test_final_code(ksr: FakeKsr, replies: list[tuple[int, int]], picked: int, told: list[int]) -> None:
    start(ksr, "306", "001*306")
    for index, status in replies:
        reply(ksr, index, status)
    ksr.results["tm.t_get_status_code"] = picked
    assert outcome()[0] == (told or [picked])[0]


def test_each_branch_that_fails_is_one_line_of_the_log(ksr: FakeKsr) -> None:
    start(ksr, "000*306", "001*306", "+15550100")
    for index, uri in enumerate(["sip:306@127.0.0.4:5090", "sip:306@127.0.0.5:5090", "sip:+15550100@127.0.0.2:5080"]):
        ksr.results.update({"tm.t_get_branch_index": index, "kx.get_ruri": uri})
        FORKS.on_branch()
    ksr.results["textops.has_body"] = -1
    for index, status, phrase in [(0, 180, "Ringing"), (0, 486, "Busy Here"), (1, 404, "Not Found"), (2, 200, "OK")]:
        ksr.results.update({"tm.t_get_branch_index": index, "kx.get_status": status, "pv.get": phrase})
        FORKS.on_reply()
    assert [text for (text,) in ksr.called("notice")] == [
        f"transfer of call {'a' * 32}: 000*306 at sip:306@127.0.0.4:5090: rang, refused: 486 Busy Here\n",
        f"transfer of call {'a' * 32}: 001*306 at sip:306@127.0.0.5:5090: failed: 404 Not Found\n",
    ]


@pytest.mark.parametrize(
    ("contact", "named"),
    [
        ("", True),
        ("*", True),
        ("<", True),
        ("<tel:306>", True),
        ("<sip:#31#306@127.0.0.4:5090>", False),
        ("<sip:a@name>", False),
    ],
)
def test_a_200_whose_contact_leads_nowhere_gets_one(ksr: FakeKsr, contact: str, named: bool) -> None:
    start(ksr, "000*306")
    ksr.results.update({"kx.get_srcip": "127.0.0.4", "kx.get_srcport": 5090, "pv.get": "UDP"})
    ksr.headers["Contact"] = contact
    reply(ksr, 0, 200, body=True)
    added = [lines for (lines,) in ksr.called("hdr.append") if lines.startswith("Contact")]
    assert added == (["Contact: <sip:127.0.0.4:5090>\r\n"] if named else [])
