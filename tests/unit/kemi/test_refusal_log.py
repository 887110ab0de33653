"""A refusal leaves one log line, and a stranger can't fill the log with them."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources

import pytest

from kemi import refusal_log
from kemi.ksr import COUNTED
from kemi.refusal import Outcome, Refused
from kemi.refusal_log import MOST_OF_ALL, MOST_OF_SOURCE, WINDOW_S, RefusalLog
from tests.unit.kemi.fake_ksr import FakeKsr


def lines(ksr: FakeKsr) -> list[str]:
    return [line for (line,) in ksr.called("notice")]


def test_line_says_who_what_why_and_what_to_change(ksr: FakeKsr) -> None:
    RefusalLog().write_refused(Refused(404, "Not Found"))
    [line] = lines(ksr)
    assert line == (
        "refused 404 Not Found: INVITE from 127.0.0.2:5060 for '332':"
        " no IVR has this number; see ivrs[].number and ivrs[].dids in ivr.yaml\n"
    )


@pytest.mark.parametrize("refused", [Refused(487, "Request Terminated"), Outcome(486, "Busy Here")])
def test_what_is_nobody_s_fault_is_no_refusal(ksr: FakeKsr, refused: Refused) -> None:
    RefusalLog().write_refused(refused)
    assert not lines(ksr)


def test_what_a_stranger_wrote_is_cut_and_printable(ksr: FakeKsr) -> None:
    ksr.message("INVITE", "1\r\n\x1b" + "9" * 500)
    RefusalLog().write(404, "Not Found")
    [line] = lines(ksr)
    assert line.rstrip("\n").isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(("unreadable", "shown"), [("method", "not UTF-8 from"), ("ruser", "for 'not UTF-8'")])
def test_what_is_not_utf8_costs_no_line(ksr: FakeKsr, unreadable: str, shown: str) -> None:
    ksr.results[f"kx.get_{unreadable}"] = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
    RefusalLog().write(400, "Not UTF-8")
    [line] = lines(ksr)
    assert shown in line


def test_every_refusal_is_counted_by_its_status(ksr: FakeKsr) -> None:
    log = RefusalLog()
    for code in (404, 404, 487, 699) + (403,) * 2 * MOST_OF_ALL:
        log.write(code, "No")
    counted = Counter(name for (name,) in ksr.called("counters.inc"))
    assert counted == {"refused.code_404": 2, "refused.code_other": 1, "refused.code_403": 2 * MOST_OF_ALL}


def test_kamailio_has_these_counters() -> None:
    text = (resources.files("kemi") / "kamailio.cfg").read_text()
    configured = re.findall(r'"script_counter", "refused\.code_(\w+) ', text)
    assert configured == [*map(str, sorted(COUNTED)), "other"]


def test_lines_are_limited(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(refusal_log.time, "monotonic", lambda: now)
    log = RefusalLog()
    for _ in range(100):
        log.write(404, "Not Found")
    assert len(lines(ksr)) == MOST_OF_SOURCE
    for host in range(200):
        ksr.message("INVITE", "9", (f"10.0.0.{host}", 5060))
        log.write(404, "Not Found")
    assert len(lines(ksr)) == MOST_OF_ALL
    now += WINDOW_S
    log.write(404, "Not Found")
    assert lines(ksr)[-1].endswith("refusals before it are not shown)\n")


def test_discarded_replies_are_limited_too(ksr: FakeKsr) -> None:
    log = RefusalLog()
    for _ in range(100):
        log.write_discarded("its length is wrong")
    assert lines(ksr) == ["a reply from 127.0.0.2:5060 is discarded: its length is wrong\n"] * MOST_OF_SOURCE
