"""`callinteractive check`: say what is wrong with configuration files and responses, and in which line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from callinteractive import charset, response
from callinteractive.actions import Action
from callinteractive.config import IVR_KEYS, SITE_KEYS, load_ivr_files, load_site, without_pool
from callinteractive.document import Document
from callinteractive.errors import Finding, ResponseError
from callinteractive.fleet import Edge
from callinteractive.model import IvrFile, Site
from callinteractive.request import is_url
from cli import certificates, store
from cli.files import decode, files_of, load, read_bytes, read_texts
from cli.kamailio import certificate_problems, tls_files
from cli.network import doubts
from cli.options import DEFAULTS, IVR_NAME, SITE_NAME
from cli.parts import has_address, here, not_here
from cli.surroundings import (
    Surroundings,
    jumps_nowhere,
    never_run,
    never_set,
    no_variables,
    read_sounds,
    unusable_sounds,
)
from sidecar.credentials import CredentialStore, reader

STDIN = "-"
EMPTY = (
    "nothing is in it. As an answer that means: go on with the next rule. If you expected more, is the web application "
    "running, and is that its URL? `curl -sSi` shows the status: a redirect or an error may have nothing in it"
)
NEITHER = (
    "there is neither site.yaml nor ivr.yaml in this folder: go to the folder of your IVR, or name files. "
    "`callinteractive new DIR` makes a folder that runs."
)
EMPTY_FILE = "the file is empty: `callinteractive new DIR` makes one to begin with"
A_SITE = "this is a site, and the folder is read as one of IVRs only: name the files, `check site.yaml ivr.yaml`"
YAML_SUFFIXES = (".yaml", ".yml")
SOUND_SUFFIXES = (".wav", ".mp3", ".ogg", ".opus", ".flac", ".m4a", ".aac", ".gsm", ".au", ".aiff")
"""By which a folder of sounds is told from an empty folder of IVRs."""


@dataclass
class _Checked:
    """What the files are, and what is wrong with them."""

    findings: list[Finding] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    site: tuple[Site, str] | None = None
    ivr_files: list[tuple[IvrFile, dict[str, str]]] = field(default_factory=list)  # with texts by name
    responses: list[tuple[str, list[tuple[int, Action]]]] = field(default_factory=list)  # with the actions by line


def run(files: Sequence[str]) -> int:
    """Print the findings, or what the files are where there are none. The exit status: 1 with findings, else 0."""
    if tuple(files) == DEFAULTS and not any(map(os.path.lexists, files)):
        click.echo(NEITHER)
        return 1
    checked = _Checked()
    for name in files:
        _check_file(name, checked)
    _check_together(checked)
    for warning in checked.warnings:
        click.echo(warning, err=True)
    for finding in checked.findings:
        click.echo(str(finding))
    if not checked.findings:
        for line in checked.summary:
            click.echo(line)
    return 1 if checked.findings else 0


def _check_together(checked: _Checked) -> None:
    """What no file shows alone."""
    for ivr_file, texts in checked.ivr_files:
        doubts_here = doubtful_rules(ivr_file, texts)
        checked.warnings += [f"{one.file}:{one.line}: warning: {one.path}: {one.reason}" for one in doubts_here]
        for name, actions in checked.responses:
            wrong = ((line, jumps_nowhere(action, ivr_file)) for line, action in actions)
            checked.findings += [Finding(name, line, "Response", reason) for line, reason in wrong if reason]
    if checked.site is None:
        return
    site, site_name = checked.site
    site_dir = Path(site_name).parent
    for ivr_file, texts in checked.ivr_files:
        checked.findings += cross_check(site, site_dir, ivr_file, texts)
        checked.findings += _check_wait_sounds(site, site_dir, ivr_file, texts)
        unread = CredentialStore(reader(site_dir)).learn(ivr_file)
        checked.warnings += [f"{next(iter(texts))}: warning: {reason}" for reason in unread]
        checked.warnings += [f"{site_name}: warning: {reason}" for reason in shadowed(site, ivr_file)]
        for name, actions in checked.responses:
            around = Surroundings(site, site_dir, ivr_file, (action for _, action in actions))
            wrong_here = ((line, reason) for line, action in actions for reason in around.wrong_with(action))
            checked.findings += [Finding(name, line, "Response", reason) for line, reason in wrong_here]
    checked.findings += _check_ringback(site, site_name)
    checked.findings += [
        Finding(site_name, 0, *line.split(": ", 1)) for line in certificate_problems(_edges_here(site), Path(site_name))
    ]
    machine = (*not_here(site), *store.doubts(site, site_dir))
    warnings = (*doubts(site), *machine, *_certificate_warnings(site, Path(site_name)))
    checked.warnings += [f"{site_name}: warning: {warning}" for warning in warnings]


def cross_check(site: Site, site_dir: Path, ivr_file: IvrFile, texts: Mapping[str, str]) -> list[Finding]:
    """Check what neither file shows alone: missing sounds and pools, transfers that lead nowhere (A6, A14).

    `texts` is what `ivr_file` was read from, by file name; the findings take their lines from it.
    """
    around = Surroundings(site, site_dir, ivr_file, (rule for _, rule in _rules(ivr_file)))
    wrong: list[tuple[str, Action | None, str]] = [
        (name, None, reason) for name, reason in without_pool(site, ivr_file).items()
    ]
    for name, rule in _rules(ivr_file):
        wrong += ((name, rule, reason) for reason in around.wrong_with(rule))
    return _placed(wrong, ivr_file, texts) if wrong else []


def _check_wait_sounds(site: Site, site_dir: Path, ivr_file: IvrFile, texts: Mapping[str, str]) -> list[Finding]:
    """What callers hear while the web application thinks must be there too."""
    names = {ivr.web.wait_sound for ivr in ivr_file.ivrs if ivr.web.wait_sound is not None}
    wrong = unusable_sounds(site_dir / site.sounds, names)
    return [Finding(next(iter(texts)), 0, "web.wait_sound", reason) for reason in wrong.values()]


def doubtful_rules(ivr_file: IvrFile, texts: Mapping[str, str]) -> list[Finding]:
    """Where a URL has a variable that no rule sets (R4), or what only looks like one; rules that never run.

    `texts`: as for `cross_check`.
    """
    known = {name for _, rule in _rules(ivr_file) for name in rule.sets()}
    found: list[tuple[str, Action | None, str]] = [
        (name, rule, reason)
        for name, rule in _rules(ivr_file)
        for reason in (*never_set(rule, known), *no_variables(rule))
    ]
    for name, context in ivr_file.contexts.items():
        for rules in context.options.values():
            found += ((name, rules[index], reason) for index, reason in never_run(rules))
    return _placed(found, ivr_file, texts) if found else []


def _placed(
    wrong: Sequence[tuple[str, Action | None, str]], ivr_file: IvrFile, texts: Mapping[str, str]
) -> list[Finding]:
    """What is wrong with contexts or their rules, with the place in its file. The files are valid, so every written
    rule has become one action. They are read anew: only findings need it."""
    documents = [Document(text, filename) for filename, text in texts.items()]
    contexts = {
        name: value
        for document in documents
        for name, value in document.root.section(*IVR_KEYS)["contexts"].entries().items()
    }
    for name in dict.fromkeys(name for name, _, _ in wrong):
        places = {
            id(rule): where
            for option, written in contexts[name].entries()["options"].entries().items()
            for where, rule in zip(written.items(), ivr_file.contexts[name].options[option], strict=True)
        }
        for other, rule, reason in wrong:
            if other == name:
                (places[id(rule)] if rule else contexts[name]).wrong(reason)
    return sorted(finding for document in documents for finding in document.findings)


def shadowed(site: Site, ivr_file: IvrFile) -> Iterator[str]:
    """IVRs whose number an extension has too: a new call finds the IVR, a transfer the phone (`kemi`)."""
    numbers = {ivr.number for ivr in ivr_file.ivrs}
    for extension in site.extensions:
        if extension.number in numbers:
            yield f"extensions: {extension.number} is an IVR too: who dials it gets the IVR; transfers ring the phone"


def _edges_here(site: Site) -> Sequence[Edge]:
    """Those whose certificates can be looked at: the only one, or those of this machine."""
    if len(site.edges) == 1:
        return site.edges
    return [edge for edge in site.edges if all(has_address(listen.host) for listen in edge.listen)]


def _certificate_warnings(site: Site, site_path: Path) -> Iterator[str]:
    for edge in _edges_here(site):
        secure = [listen for listen in edge.listen if listen.transport in ("tls", "wss")]
        hosts = dict.fromkeys(listen.advertised.host if listen.advertised else listen.host for listen in secure)
        if files := tls_files(edge, site_path):
            yield from certificates.warnings(files, tuple(hosts))


def _check_ringback(site: Site, site_name: str) -> list[Finding]:
    name = site.defaults.ringback
    unusable = unusable_sounds(Path(site_name).parent / site.sounds, {name} if name else set())
    return [Finding(site_name, 0, "defaults.ringback", reason) for reason in unusable.values()]


def _check_file(name: str, checked: _Checked) -> None:
    shown = "stdin" if name == STDIN else name
    if name != STDIN and not is_url(name) and Path(name).is_dir():
        if files_of(Path(name)) or not _has_sounds(Path(name)):
            texts, findings = read_texts(Path(name))
            sites = [file for file, text in texts.items() if _is_site(text)]
            findings += [Finding(file, 0, "", A_SITE) for file in sites]
            checked.findings += findings
            if not findings:
                _check_ivrs(texts, shown, checked)
        else:
            _check_sounds(Path(name), None, checked)
        return
    if name == STDIN:
        data: bytes | None = sys.stdin.buffer.read()
    else:
        data, findings = read_bytes(name if is_url(name) else Path(name))
        checked.findings += findings
    if data is None:
        return
    is_file = name != STDIN and not is_url(name)
    suffix = Path(name).suffix if is_file else ""
    if not data.strip():
        checked.findings.append(Finding(shown, 0, "", EMPTY_FILE if suffix in YAML_SUFFIXES else EMPTY))
    elif charset.is_markup(data) or suffix.lower() == ".xml":
        _check_response(data, shown, checked)
    elif b"\0" in data[:4096] and is_file and suffix not in YAML_SUFFIXES:
        _check_sounds(Path(name).parent, Path(name).name, checked)
    else:
        _check_text(data, shown, checked, may_be_answer=not is_file)


def _check_text(data: bytes, name: str, checked: _Checked, *, may_be_answer: bool) -> None:
    text, findings = decode(data, name)
    if text is not None and may_be_answer and not _is_ours(text):
        _check_response(data, name, checked)
        return
    checked.findings += findings
    if text is not None:
        _check_configuration(text, name, checked)


def _has_sounds(folder: Path) -> bool:
    return any(path.suffix.lower() in SOUND_SUFFIXES for path in folder.iterdir())


def _check_sounds(folder: Path, name: str | None, checked: _Checked) -> None:
    """One sound, or all of a folder."""
    names = {name} if name else {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    lengths, wrong = read_sounds(folder, names)
    checked.findings += [Finding(str(folder / other), 0, "sound", reason) for other, reason in sorted(wrong.items())]
    for other, seconds in sorted(lengths.items()):
        checked.summary.append(f"{folder / other}: a sound of {seconds:.1f} s")


def _check_response(data: bytes, name: str, checked: _Checked) -> None:
    try:
        parsed = response.parse(data)
    except ResponseError as error:
        checked.findings.append(Finding(name, error.line, "Response", error.reason))
        return
    lines = response.lines(data)
    checked.responses.append((name, list(zip(lines, parsed.actions, strict=True))))
    actions = ", ".join(action.NAME for action in parsed.actions) or "no action: the call goes on"
    checked.summary.append(f"{name}: a response: {actions}")
    checked.warnings += [f"{name}: warning: {warning}" for warning in parsed.warnings]
    for index, reason in never_run(parsed.actions):
        told = f"line {lines[index]}: <{parsed.actions[index].NAME}>: {reason}"
        checked.warnings.append(f"{name}: warning: {told}")


def _check_configuration(text: str, name: str, checked: _Checked) -> None:
    usual = Path(name).name  # `run` goes by these names, so what is in such a file must fit
    if usual == SITE_NAME or (usual != IVR_NAME and _is_site(text)):
        site, findings = load(lambda: load_site(text, name))
        checked.findings += findings
        if site:
            checked.site = (site, name)
            parts = [_count(site.trunks, "trunk"), _count(site.extensions, "extension")]
            if site.is_fleet:
                hosts = {sidecar.address.host for sidecar in site.sidecars}
                parts += [
                    _count(site.edges, "edge"),
                    f"{_count(site.sidecars, 'sidecar')} on {_count(tuple(hosts), 'host')}",
                    _count(site.rtpengines, "RTPengine"),
                ]
            checked.summary.append(f"{name}: a site: {', '.join(parts)}")
            if site.is_fleet:
                checked.summary.append(f"{name}: on this machine: {', '.join(here(site)) or 'no part of it'}")
    else:  # also where the text is no YAML: the loader then says where and why
        _check_ivrs({name: text}, name, checked)


def _check_ivrs(texts: dict[str, str], name: str, checked: _Checked) -> None:
    ivr_file, findings = load(lambda: load_ivr_files(texts))
    checked.findings += findings
    if ivr_file:
        checked.ivr_files.append((ivr_file, texts))
        checked.summary.append(f"{name}: {_count(ivr_file.ivrs, 'IVR')}, {_count(ivr_file.contexts, 'context')}")


def _is_ours(text: str) -> bool:
    """Whether it may be one of our files. What else a web server says is meant to be an answer: JSON, or a word."""
    return "ivrs" in text or "contexts" in text or _is_site(text)


def _is_site(text: str) -> bool:
    """Whether a key of site.yaml begins a line. A YAML error further down does not matter. Where keys of ivr.yaml do
    too, `node` decides: each site.yaml needs it."""
    keys = {line.partition(":")[0].strip("\"' ") for line in text.splitlines()}
    return "node" in keys or (not keys.isdisjoint(SITE_KEYS) and keys.isdisjoint(("ivrs", "contexts")))


def _count(things: Sequence[object] | Mapping[str, object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _rules(ivr_file: IvrFile) -> Iterator[tuple[str, Action]]:
    """Every rule with the name of its context."""
    for name, context in ivr_file.contexts.items():
        for rules in context.options.values():
            yield from ((name, rule) for rule in rules)
