"""What is wrong with what stands in the editor, by line: the findings of `callinteractive check`."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from callinteractive import response
from callinteractive.config import load_ivr_files
from callinteractive.errors import Finding, ResponseError
from callinteractive.model import IvrFile, Site
from cli.check import cross_check, doubtful_rules
from cli.files import load, read_site
from cli.surroundings import Surroundings, jumps_nowhere


def check_ivr(site_path: Path, texts: dict[str, str], name: str) -> dict[str, Any]:
    """The findings in the files with these texts, by path; those of `name` have a line in the editor.

    With a good site.yaml, sounds, pools and transfers are checked too, as `callinteractive check` does.
    """
    ivr_file, findings = load(lambda: load_ivr_files(texts))
    site, site_findings = read_site(site_path)
    warnings = []
    if site is None:
        warnings.append(f"sounds and transfers are not checked, since site.yaml has mistakes: {site_findings[0]}")
    if ivr_file is not None:
        unset = (_shown(finding, name) for finding in doubtful_rules(ivr_file, texts))
        warnings += [f"line {each['line']}: {each['text']}" if each["line"] else str(each["text"]) for each in unset]
    if ivr_file is not None and site is not None:
        findings = cross_check(site, site_path.parent, ivr_file, texts)
    summary = _summary(ivr_file) if ivr_file and not findings else ""
    return {"findings": [_shown(finding, name) for finding in findings], "warnings": warnings, "summary": summary}


def check_answer(site_path: Path, texts: dict[str, str], text: str) -> dict[str, Any]:
    """The findings in an answer of the web application (X2, X3), and the actions that it has.

    Where site.yaml and ivr.yaml (`texts`) are good, its sounds, numbers and jumps are held against them.
    """
    body = codecs.BOM_UTF8 + text.encode()  # a text in a browser is UTF-8, whatever its XML declaration says
    try:
        parsed = response.parse(body)
    except ResponseError as error:
        return {"findings": [_place(error.line, error.reason)], "warnings": [], "summary": ""}
    loaded = load_both(site_path, texts)
    findings = []
    if isinstance(loaded, tuple):
        site, ivr_file = loaded
        around = Surroundings(site, site_path.parent, ivr_file, parsed.actions)
        for line, action in zip(response.lines(body), parsed.actions, strict=True):
            wrong = (*around.wrong_with(action), *filter(None, [jumps_nowhere(action, ivr_file)]))
            findings += [_place(line, reason) for reason in wrong]
    names = ", ".join(action.NAME for action in parsed.actions)
    summary = f"A good answer: {names}." if names else "A good answer. It has no action: the call goes on."
    return {"findings": findings, "warnings": list(parsed.warnings), "summary": "" if findings else summary}


def load_both(site_path: Path, texts: dict[str, str]) -> tuple[Site, IvrFile] | list[Finding]:
    """The site and the IVRs with these texts, or what is wrong with them."""
    if not texts:
        return [Finding("ivr.yaml", 0, "", "there is none")]
    ivr_file, findings = load(lambda: load_ivr_files(texts))
    site, more = read_site(site_path)
    return findings + more if ivr_file is None or site is None else (site, ivr_file)


def _shown(finding: Finding, name: str) -> dict[str, Any]:
    where = f"{finding.path}: " if finding.path else ""
    if (file := Path(finding.file).name) != name:
        return _place(0, f"{file}:{finding.line}: {where}{finding.reason}")
    return _place(finding.line, f"{where}{finding.reason}")


def _place(line: int, text: str) -> dict[str, Any]:
    return {"line": line, "text": text}


def _summary(ivr_file: IvrFile) -> str:
    ivrs, contexts = len(ivr_file.ivrs), len(ivr_file.contexts)
    return f"No mistakes: {ivrs} IVR{'s'[: ivrs != 1]}, {contexts} context{'s'[: contexts != 1]}."
