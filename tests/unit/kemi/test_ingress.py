"""Which request is followed, answered, refused or left alone."""

from __future__ import annotations

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader, EntryHeader
from callinteractive.limits import DRAINING_RETRY_S
from callinteractive.report import EndReport, Report
from kemi.main import Callbacks, compose
from kemi.refusal import NO_MEMORY
from kemi.transaction import transaction
from tests.unit.kemi.fake_ksr import FakeKsr

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks: [{name: carrier, from: ["127.0.0.2/32"]}]
extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]
"""
IVR = """
ivrs: [{number: "000*332", id: 145, dids: ["+78123210001"], entry_context: 1}]
contexts: {1: {name: main, options: {start: [hangup]}}}
"""
KEY = b"0123456789abcdef"


@pytest.fixture
def routing() -> Callbacks:
    return compose(load_site(SITE, "site.yaml"), load_ivr_file(IVR, "ivr.yaml"), KEY)


def test_invite_goes_to_a_sidecar(routing: Callbacks, ksr: FakeKsr) -> None:
    routing.ksr_request_route(None)
    assert ksr.replies == []
    routing.to_sidecar(None)
    assert len(ksr.called("rr.record_route_params")) == 1
    assert not ksr.called("textops.remove_hf_re")
    assert not [name for (name,) in ksr.called("hdr.remove") if name.startswith("x-ci-")]
    assert CallHeader.NAME in transaction.sidecar_headers


BY_NAME = [("hdr.remove", ("x-ci-call",)), ("hdr.remove", ("x-ci-entry",))]
BY_PATTERN = [("textops.remove_hf_re", ("^X-CI-",))]


@pytest.mark.parametrize(
    ("message", "removal"),
    [
        ("INVITE ...\r\nx-Ci-call: 1\r\nX-CI-ENTRY: 2\r\nA: b\r\nX-CI-Call:3\r\n", BY_NAME),
        ("INVITE ...\nx-Ci-call: 1\nX-CI-Entry: 2\n", BY_NAME),
        # What is not plain.
        ("INVITE ...\r\nx-Ci-call : 1\r\n", BY_PATTERN),
        ("INVITE ...\r\nx-Ci-call\r\n : 1\r\n", BY_PATTERN),
        ("INVITE ...\r\nx-Ci-call: X-CI-Entry\r\n", BY_PATTERN),
        ("INVITE ...\rx-Ci-call: 1\r", BY_PATTERN),
        ("INVITE ...\r\nx-Ci-call: 1\r\nA: \N{SNOWMAN}\r\n", BY_PATTERN),
        (f"INVITE ...\r\nx-Ci-{'c' * 99}: 1\r\n", BY_PATTERN),
        ("INVITE ...\r\nx-Ci-call", BY_PATTERN),
        ("x-Ci-call: 1\r\n", BY_PATTERN),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, ""), BY_PATTERN),
    ],
)
def test_private_headers_of_outsiders_are_removed(
    routing: Callbacks, ksr: FakeKsr, message: str | UnicodeDecodeError, removal: list[tuple[str, tuple[str]]]
) -> None:
    ksr.results["kx.get_msgbuf"] = message
    routing.ksr_request_route(None)
    before = ksr.calls[: [name for name, _ in ksr.calls].index("tm.t_relay")]
    assert sorted(call for call in before if call in BY_NAME + BY_PATTERN) == removal


@pytest.mark.parametrize("method", ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"])
def test_what_tm_has_dealt_with_is_left_alone(routing: Callbacks, ksr: FakeKsr, method: str) -> None:
    ksr.message(method)
    ksr.results["tm.t_check_trans"] = 0
    routing.ksr_request_route(None)
    assert [name for name, _ in ksr.calls] == ["tm.t_check_trans"]


@pytest.mark.parametrize(
    ("method", "source", "status"),
    [
        ("INVITE", "127.0.0.9", 403),
        ("OPTIONS", "127.0.0.9", 200),
        ("OPTIONS", "127.0.0.2", 200),
        ("MESSAGE", "127.0.0.2", 405),
        ("MESSAGE", "127.0.0.9", 405),
        ("CANCEL", "127.0.0.9", 481),
        *(
            (method, source, 481)
            for method in ("BYE", "INFO", "UPDATE", "PRACK", "REFER")
            for source in ("127.0.0.2", "127.0.0.9")
        ),
    ],
)
def test_answers(routing: Callbacks, ksr: FakeKsr, method: str, source: str, status: int) -> None:
    ksr.message(method, "332", (source, 5060))
    routing.ksr_request_route(None)
    assert ksr.replies == [status]
    assert not ksr.called("tm.t_relay")


@pytest.mark.parametrize(
    ("method", "source", "replies"),
    [
        ("INVITE", "127.0.0.2", [503]),
        ("INVITE", "127.0.0.9", [503]),
        ("OPTIONS", "127.0.0.9", [503]),
        ("REGISTER", "127.0.0.9", [403]),
        ("BYE", "127.0.0.2", [481]),
    ],
)
def test_an_edge_that_drains_takes_no_new_calls(
    routing: Callbacks, ksr: FakeKsr, method: str, source: str, replies: list[int]
) -> None:
    ksr.results["htable.sht_get"] = 1
    ksr.message(method, "332", (source, 5060))
    routing.ksr_request_route(None)
    assert ksr.replies == replies
    assert not ksr.called("tm.t_relay")
    retry = ("hdr.append_to_reply", (f"Retry-After: {DRAINING_RETRY_S}\r\n",))
    assert (retry in ksr.calls) is (replies == [503])


@pytest.mark.parametrize("port", [5070, 5060])
def test_an_edge_that_drains_goes_on_for_its_own_calls(routing: Callbacks, ksr: FakeKsr, port: int) -> None:
    """Of a sidecar: a transfer of an answered call. Of itself: OPTIONS of its dispatcher."""
    ksr.results["htable.sht_get"] = 1
    ksr.message("OPTIONS", "332", ("127.0.0.1", port))
    routing.ksr_request_route(None)
    assert ksr.replies == [200]


def test_where_refer_is_off_it_is_neither_taken_nor_named(ksr: FakeKsr) -> None:
    routing = compose(load_site(SITE + "refer: no\n", "site.yaml"), load_ivr_file(IVR, "ivr.yaml"), KEY)
    ksr.message("OPTIONS", "332", ("127.0.0.9", 5060))
    routing.ksr_request_route(None)
    assert "REFER" not in str(ksr.calls)
    assert "PRACK" in str(ksr.calls)


def test_cancel_of_an_invite_is_relayed(routing: Callbacks, ksr: FakeKsr) -> None:
    ksr.message("CANCEL")
    ksr.results["tm.t_check_trans"] = 1
    routing.ksr_request_route(None)
    assert (ksr.replies, len(ksr.called("tm.t_relay"))) == ([], 1)


@pytest.mark.parametrize(("protocol", "copies"), [(1, [[], [481]]), (2, [[481], [481]])])
def test_a_cancel_by_udp_that_may_have_overtaken_its_invite_has_no_answer_at_first(
    routing: Callbacks, ksr: FakeKsr, protocol: int, copies: list[list[int]]
) -> None:
    for count, replies in enumerate(copies, 1):
        ksr.calls.clear()
        ksr.message("CANCEL")
        ksr.results |= {"kx.get_protoid": protocol, "htable.sht_inc": count}
        routing.ksr_request_route(None)
        assert ksr.replies == replies


def test_rfc_3261_9_2_an_invite_that_was_cancelled_before_it_could_be_sent_is_not_refused(
    routing: Callbacks, ksr: FakeKsr
) -> None:
    ksr.message("INVITE", "332")
    ksr.results |= {"tm.t_relay": -1, "tm.t_is_canceled": 1}
    routing.ksr_request_route(None)
    assert ksr.replies == []  # tm has sent 487
    ((_, end),) = reported(ksr)
    assert end is not None
    assert (end.by, end.code, end.cause) == ("caller", 487, "")


@pytest.mark.parametrize("dialled", ["999", "", "x%20y", "000*306", "%0D%0A332"])
def test_unknown_number_is_404(routing: Callbacks, ksr: FakeKsr, dialled: str) -> None:
    ksr.message("INVITE", dialled)
    routing.ksr_request_route(None)
    assert ksr.replies == [404]


def reported(ksr: FakeKsr) -> list[tuple[CallFacts, EndReport | None]]:
    """What the sidecars are told: of which call, and its end."""
    found = []
    bodies = [arguments[1] for name, arguments in ksr.calls if name == "pv.sets" and arguments[0] == "$uac_req(body)"]
    lines = [arguments[1] for name, arguments in ksr.calls if name == "pv.sets" and arguments[0] == "$uac_req(hdrs)"]
    for body, headers in zip(bodies, lines, strict=True):
        facts = next(line for line in headers.split("\r\n") if line.startswith(CallHeader.NAME)).partition(": ")[2]
        found.append((CallHeader.parse(facts).facts, Report.from_text(body).end))
    return found


def test_E1_a_refused_call_of_somebody_known_has_one_record(routing: Callbacks, ksr: FakeKsr) -> None:
    for _ in range(2):  # the second is the same INVITE, sent again
        ksr.message("INVITE", "999")
        routing.ksr_request_route(None)
    first, second = reported(ksr)
    assert first[0] == second[0]
    facts, end = first
    assert (facts.called_number, facts.called_extension, len(facts.call_id)) == ("999", "", 32)
    assert facts.sip_call_id == "some-call-id"
    assert end is not None
    assert (end.by, end.code) == ("system", 404)


@pytest.mark.parametrize("what", ["pvx.xavp_seti", "pvx.xavp_sets", "htable.sht_sets"])
def test_E1_a_call_that_there_is_no_memory_for_has_a_record(routing: Callbacks, ksr: FakeKsr, what: str) -> None:
    ksr.results[what] = -1
    ksr.message("INVITE", "332")
    routing.ksr_request_route(None)
    ((_, end),) = reported(ksr)
    assert ksr.replies == [503]
    assert end is not None
    assert (end.code, end.cause) == (503, NO_MEMORY)


def test_E1_a_stranger_s_call_has_no_record(routing: Callbacks, ksr: FakeKsr) -> None:
    ksr.message("INVITE", "999", ("127.0.0.9", 5060))
    routing.ksr_request_route(None)
    assert (ksr.replies, reported(ksr)) == ([403], [])


def test_flooding_stranger_gets_silence_and_a_trunk_is_not_counted(routing: Callbacks, ksr: FakeKsr) -> None:
    ksr.results["pike.pike_check_req"] = -1
    ksr.message("INVITE", "332", ("127.0.0.9", 5060))
    routing.ksr_request_route(None)
    assert ksr.replies == []
    assert len(ksr.called("pike.pike_check_req")) == 1
    ksr.message("INVITE", "332")
    routing.ksr_request_route(None)
    assert len(ksr.called("pike.pike_check_req")) == 1
    assert len(ksr.called("tm.t_relay")) == 1


def test_max_forwards_and_sanity(routing: Callbacks, ksr: FakeKsr) -> None:
    ksr.results["maxfwd.process_maxfwd"] = -1
    ksr.headers["Max-Forwards"] = "0"
    routing.ksr_request_route(None)
    assert ksr.replies == [483]
    ksr.results.update({"maxfwd.process_maxfwd": 1, "sanity.sanity_check": -1})
    routing.ksr_request_route(None)
    assert ksr.replies == [483]
    assert len(ksr.called("sanity.sanity_reply")) == 1
    assert not ksr.called("tm.t_relay")


SIDECAR = "sip:127.0.0.1:5070"


def in_dialog(routing: Callbacks, ksr: FakeKsr, method: str, mark: str | None = None, target: str = SIDECAR) -> None:
    """A request of the caller within its call; `mark` replaces the mark that its Route carries."""
    if mark is None:
        ksr.results["kx.get_ruri"] = SIDECAR
        routing.to_sidecar(None)
        mark = ksr.called("rr.record_route_params")[-1][0].removeprefix(";ci=")
        ksr.calls.clear()
    ksr.message(method)
    ksr.results.update({"siputils.has_totag": 1, "kx.get_ruri": target})
    ksr.tags["$tt"] = "x"
    ksr.headers["Route"] = f"<sip:127.0.0.1:5060;lr=on;ci={mark}>"


@pytest.mark.parametrize("method", ["ACK", "BYE", "INVITE", "INFO"])
def test_in_dialog_request_of_ours_is_followed(routing: Callbacks, ksr: FakeKsr, method: str) -> None:
    in_dialog(routing, ksr, method)
    routing.ksr_request_route(None)
    assert (ksr.replies, len(ksr.called("tm.t_relay"))) == ([], 1)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("sip:7@127.0.0.3:5090", 403),
        ("sip:127.0.0.1:5060", 403),
        ("sip:127.0.0.1:22222", 403),
        ("sip:+900@192.0.2.1", 403),
        ("sip:7@slow.example.invalid", 478),
        ("tel:+900", 478),
    ],
)
def test_request_of_a_dialog_leads_to_its_own_parties_only_s6_s9(
    routing: Callbacks, ksr: FakeKsr, target: str, status: int
) -> None:
    in_dialog(routing, ksr, "INVITE", target=target)
    routing.ksr_request_route(None)
    assert ksr.replies == [status]
    assert not ksr.called("tm.t_relay")


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "REGISTER", "PUBLISH", "BREW"])
def test_what_belongs_to_no_dialog_is_not_passed_in_one_s9(routing: Callbacks, ksr: FakeKsr, method: str) -> None:
    in_dialog(routing, ksr, method)
    routing.ksr_request_route(None)
    assert ksr.replies == [405]


@pytest.mark.parametrize(("method", "replies"), [("ACK", []), ("BYE", [481]), ("INVITE", [481])])
@pytest.mark.parametrize("mark", ["", "0" * 16, "0" * 8 + "." + "0" * 8 + "." + "0" * 8 + "." + "0" * 16])
def test_forged_dialog_is_not_followed(
    routing: Callbacks, ksr: FakeKsr, method: str, replies: list[int], mark: str
) -> None:
    in_dialog(routing, ksr, method, mark)
    routing.ksr_request_route(None)
    assert ksr.replies == replies
    assert not ksr.called("rr.loose_route")
    assert not ksr.called("tm.t_relay")


def test_route_of_ours_in_a_new_request_is_not_followed(routing: Callbacks, ksr: FakeKsr) -> None:
    in_dialog(routing, ksr, "INVITE")
    ksr.results.update({"siputils.has_totag": -1, "kx.get_ruser": "999"})
    routing.ksr_request_route(None)
    assert ksr.replies == [404]


def test_dialog_that_leads_nowhere_is_answered(routing: Callbacks, ksr: FakeKsr) -> None:
    in_dialog(routing, ksr, "BYE")
    ksr.results["tm.t_relay"] = -1
    routing.ksr_request_route(None)
    ksr.results["rr.loose_route"] = -1
    routing.ksr_request_route(None)
    assert ksr.replies == [503, 481]


@pytest.mark.parametrize(("relayed", "replies"), [(1, []), (-1, [503])])
def test_E1_a_bye_is_reported_also_where_the_other_side_has_gone(
    routing: Callbacks, ksr: FakeKsr, relayed: int, replies: list[int]
) -> None:
    ksr.results["kx.get_ruri"] = SIDECAR
    routing.record_route.on_branch(reported="0a1b" + "5f" * 16)
    mark = ksr.called("rr.record_route_params")[-1][0].removeprefix(";ci=")
    in_dialog(routing, ksr, "BYE", mark)
    ksr.results["tm.t_relay"] = relayed
    routing.ksr_request_route(None)
    assert ksr.replies == replies
    assert len(ksr.called("uac.uac_req_send")) == 1


@pytest.mark.parametrize(
    ("uri", "trusted", "entry", "replies"),
    [
        ("sip:332;context=2;option=%2A@h", True, ("2", "*"), []),
        ("sip:332@h:5060;context=2", True, ("2", "start"), []),
        ("sip:332;context=2@h", False, ("1", "start"), []),
        ("sip:332;option=start@h", True, ("1", "start"), []),
        ("sip:332@h", True, ("1", "start"), []),
        ("sip:332;context=9@h", True, None, [404]),
        ("sip:332;context=2;option=7@h", True, None, [404]),
        ("sip:332;context=%FF@h", True, None, [400]),
    ],
)
def test_entry_that_a_trusted_trunk_chooses(
    ksr: FakeKsr, uri: str, trusted: bool, entry: tuple[str, str] | None, replies: list[int]
) -> None:
    site = load_site(SITE.replace("name: carrier", f"name: carrier, trusted: {str(trusted).lower()}"), "site.yaml")
    ivr_file = load_ivr_file(
        IVR.rstrip().removesuffix("}") + ', 2: {name: b, options: {start: [hangup], "*": [hangup]}}}', "i"
    )
    routing = compose(site, ivr_file, KEY)
    ksr.results["kx.get_ruri"] = uri
    routing.ksr_request_route(None)
    assert ksr.replies == replies
    if entry:
        [line] = [line for line in transaction.sidecar_headers.split("\r\n") if line.startswith("X-CI-Entry")]
        got = EntryHeader.parse(line.partition(": ")[2])
        assert (got.context, got.option) == entry


def test_our_own_invite_with_nothing_private_is_a_loop(routing: Callbacks, ksr: FakeKsr) -> None:
    ksr.message("INVITE", "332", ("127.0.0.1", 5060))
    routing.ksr_request_route(None)
    assert ksr.replies == [482]
