"""What is written down of an anchored call, and the BYEs that are made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kemi.anchored import FOLDER, LAST_CSEQ, AnchoredCall, AnchoredCalls, Side, target_of
from kemi.record_route import LONGEST_S, Addition

CARRIER_S, OURS, OURS_TOO, PHONE_S = (
    "sip:proxy.carrier.example;lr",
    "sip:192.0.2.1;r2=on;lr;ftag=a;ci=1.2",
    "sip:192.0.2.1:5061;transport=tls;r2=on;lr;ftag=a;ci=1.2",
    "sip:proxy.phone.example;lr",
)
CALL = AnchoredCall(
    "some-call-id",
    Side("sip:7@caller.example", "a", "sip:7@192.0.2.7;alias=198.51.100.7~5060~1"),
    Side("sip:306@callee.example", "b", "sip:306@192.0.2.36"),
    (PHONE_S, OURS_TOO, OURS, CARRIER_S),
)


def lines(*, to_caller: bool) -> list[str]:
    return (
        CALL.bye("SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-1", "SIP;cause=503", to_caller=to_caller)
        .decode()
        .split("\r\n")
    )


def test_the_callee_gets_it_as_if_the_caller_hung_up() -> None:
    assert lines(to_caller=False) == [
        "BYE sip:306@192.0.2.36 SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-1",
        "Max-Forwards: 70",
        f"Route: <{OURS}>,<{OURS_TOO}>,<{PHONE_S}>",  # the carrier's proxy is not between us and the callee
        "From: <sip:7@caller.example>;tag=a",
        "To: <sip:306@callee.example>;tag=b",
        "Call-ID: some-call-id",
        f"CSeq: {LAST_CSEQ} BYE",
        "Reason: SIP;cause=503",
        "Content-Length: 0",
        "",
        "",
    ]


def test_the_caller_gets_it_as_if_the_callee_hung_up() -> None:
    said = lines(to_caller=True)
    assert said[0] == f"BYE {CALL.caller.target} SIP/2.0"
    assert f"Route: <{OURS_TOO}>,<{OURS}>,<{CARRIER_S}>" in said
    assert {"From: <sip:306@callee.example>;tag=b", "To: <sip:7@caller.example>;tag=a"} <= set(said)


def test_a_file_from_the_answer_to_the_bye(tmp_path: Path) -> None:
    calls, others = AnchoredCalls(tmp_path), AnchoredCalls(tmp_path)
    assert list(calls.names("anchored-")) == []
    open_before = os.listdir("/proc/self/fd")
    calls.keep("anchored-1", CALL)
    calls.keep("anchored-2", CALL)
    calls.keep("anchored-2", CALL)  # its 2xx is sent again
    assert others.read("anchored-1") == CALL
    assert sorted(others.names("anchored-")) == ["anchored-1", "anchored-2"]
    assert list(others.names("anchored-2")) == ["anchored-2"]
    assert os.listdir("/proc/self/fd") == open_before
    others.forget("anchored-2")
    others.forget("anchored-2")
    assert list(calls.names("anchored-")) == ["anchored-1"]
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


def test_octets_that_are_no_text_stay(tmp_path: Path) -> None:
    calls = AnchoredCalls(tmp_path)
    call = CALL._replace(call_id="\udcff")
    calls.keep("anchored-1", call)
    assert calls.read("anchored-1") == call
    assert b"\r\nCall-ID: \xff\r\n" in call.bye("v", "r", to_caller=True)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2, 3, 4]", '["a", ["b"], ["c"], []]', "nonsense"])
def test_what_cannot_be_read_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "anchored-1").write_text(text)
    assert AnchoredCalls(tmp_path).read("anchored-1") is None


def test_no_dialog_lives_for_ever(tmp_path: Path) -> None:
    calls = AnchoredCalls(tmp_path)
    calls.keep("anchored-1", CALL)
    file = tmp_path / FOLDER / "anchored-1"
    old = file.stat().st_mtime - LONGEST_S - 1
    os.utime(file, (old, old))
    assert list(calls.names("anchored-")) == []
    assert not file.exists()


def test_a_call_that_ends_while_they_are_listed_hides_no_other(tmp_path: Path) -> None:
    calls = AnchoredCalls(tmp_path)
    for number in range(10):
        calls.keep(f"anchored-{number}", CALL)
    *others, last = calls.names("anchored-")
    found = calls.names("anchored-")
    next(found)  # the folder has been read, in one piece
    for name in others:
        calls.forget(name)
    assert list(found) == [last]


def test_without_a_disk_calls_go_on(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    calls = AnchoredCalls(tmp_path)
    calls.keep("anchored-1", CALL)
    assert calls.read("anchored-1") is None


@pytest.mark.parametrize(
    ("contact", "source", "target"),
    [
        ("<sip:7@192.0.2.7>;expires=9", "", "sip:7@192.0.2.7"),
        ('"a, b" <sip:7@10.0.0.7>', "sip:198.51.100.7:5061", "sip:7@10.0.0.7;alias=198.51.100.7~5061~1"),
        ("<sip:7@10.0.0.7>", "sip:[2001:db8::7]:9;transport=tls", "sip:7@10.0.0.7;alias=[2001:db8::7]~9~3"),
        ("<sip:7@h\r\n Route: x>", "", "sip:7@hRoute:x"),
        ("", "sip:198.51.100.7:5061", "sip:198.51.100.7:5061"),
    ],
)
def test_where_the_requests_of_the_other_side_lead(contact: str, source: str, target: str) -> None:
    assert target_of(contact, source) == target


def test_what_was_added_for_a_carrier_s_contact() -> None:
    routes = "<sip:192.0.2.1;lr;ci=1.2.3.anchored-1;cf=x>,<sip:192.0.2.1:5061;lr;ci=1.2.3.anchored-1;cf=x>"
    added = Addition(";ci=1.2", ";cx=4.5").add_to(routes)
    assert added == routes.replace("anchored-1", "anchored-1;cx=4.5")
