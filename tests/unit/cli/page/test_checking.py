"""The editor's findings, and the lines that they point at."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.page.checking import check_answer, check_ivr

IVR = """\
ivrs:
  - {number: "000*100", id: 1, entry_context: 1}
contexts:
  1:
    options:
      start:
        - hangup
"""
SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


def test_a_good_file_is_said_to_be_good(site: Path) -> None:
    said = check_ivr(site, {"/etc/ivr.yaml": IVR}, "ivr.yaml")
    assert said == {"findings": [], "warnings": [], "summary": "No mistakes: 1 IVR, 1 context."}


def test_a_finding_has_its_line(site: Path) -> None:
    said = check_ivr(site, {"/etc/ivr.yaml": IVR.replace("- hangup", "- hang_up")}, "ivr.yaml")
    assert [finding["line"] for finding in said["findings"]] == [7]
    assert "hang_up" in said["findings"][0]["text"]
    assert said["summary"] == ""


def test_a_sound_that_is_missing_is_found_by_the_site(site: Path) -> None:
    said = check_ivr(site, {"/etc/ivr.yaml": IVR.replace("- hangup", "- play_sound: {file: no.wav}")}, "ivr.yaml")
    assert [finding["line"] for finding in said["findings"]] == [7]
    assert "there is no no.wav" in said["findings"][0]["text"]


def test_a_broken_site_is_a_warning_only(site: Path) -> None:
    site.write_text("sip: 5\n")
    said = check_ivr(site, {"/etc/ivr.yaml": IVR}, "ivr.yaml")
    assert said["findings"] == []
    assert len(said["warnings"]) == 1
    assert "site.yaml has mistakes" in said["warnings"][0]


def test_a_finding_in_another_file_names_it(site: Path) -> None:
    ivrs, contexts = IVR.split("contexts:\n")
    texts = {"/etc/ivr.d/1.yaml": ivrs, "/etc/ivr.d/2.yaml": "contexts:\n" + contexts.replace("hangup", "nonsense")}
    (finding,) = check_ivr(site, texts, "1.yaml")["findings"]
    assert finding["line"] == 0
    assert finding["text"].startswith("2.yaml:5: ")


def test_a_variable_that_nothing_sets_is_a_warning(site: Path) -> None:
    text = IVR.replace("- hangup", '- call_interactive: {url: "http://127.0.0.1/?n=$nobody"}')
    said = check_ivr(site, {"/etc/ivr.yaml": text}, "ivr.yaml")
    assert said["findings"] == []
    (warning,) = said["warnings"]
    assert warning.startswith("line 7: ")
    assert "nobody" in warning


def test_an_answer_is_read_as_a_call_reads_it(site: Path) -> None:
    texts = {"/etc/ivr.yaml": IVR}
    assert check_answer(site, texts, "<Response><Hangup/></Response>")["summary"] == "A good answer: Hangup."
    assert "no action" in check_answer(site, texts, "")["summary"]
    (finding,) = check_answer(site, texts, "<Response>\n  <Hangup/>\n  <Nonsense/>\n</Response>")["findings"]
    assert finding["line"] == 3
    assert check_answer(site, texts, '<Response><Hangup now="1"/></Response>')["warnings"]
    named = '<?xml version="1.0" encoding="windows-1251"?>\n<Response><SetVar name="a">\u043f</SetVar></Response>'
    assert check_answer(site, texts, named)["summary"] == "A good answer: SetVar."


def test_an_answer_is_held_against_the_site_and_the_ivr(site: Path) -> None:
    answer = '<Response>\n<PlaySound>no.wav</PlaySound>\n<Jump context="7"/></Response>'
    said = check_answer(site, {"/etc/ivr.yaml": IVR}, answer)
    assert [finding["line"] for finding in said["findings"]] == [2, 3]
    assert said["summary"] == ""
    assert check_answer(site, {}, answer)["findings"] == [], "there is nothing to hold it against"
