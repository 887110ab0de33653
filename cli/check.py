"""`callinteractive check`: say what is wrong with configuration files and responses, and in which line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from callinteractive import charset, response
from callinteractive.actions import Action
from callinteractive.config import SITE_KEYS, load_ivr_files, load_site, without_pool
from callinteractive.document import Document
from callinteractive.errors import Finding, ResponseError
from callinteractive.fleet import Edge
from callinteractive.model import IvrFile, Site
from callinteractive.numbers import Directory
from callinteractive.request import is_url
from cli import certificates, store
from cli.files import decode, load, read_bytes, read_texts
from cli.kamailio import certificate_problems, tls_files
from cli.network import doubts
from cli.parts import has_address, here, not_here

STDIN = "-"


@dataclass
class _Checked:
    """What the files are, and what is wrong with them."""

    findings: list[Finding] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    site: tuple[Site, str] | None = None
    ivr_files: list[tuple[IvrFile, dict[str, str]]] = field(default_factory=list)  # with texts by name


def run(files: Sequence[str]) -> int:
    """Print the findings, or what the files are where there are none. The exit status: 1 with findings, else 0."""
    checked = _Checked()
    for name in files:
        _check_file(name, checked)
    if checked.site:
        site, site_name = checked.site
        for ivr_file, texts in checked.ivr_files:
            checked.findings += cross_check(site, Path(site_name).parent, ivr_file, texts)
        checked.findings += _check_ringback(site, site_name)
        checked.findings += [
            Finding(site_name, 0, *line.split(": ", 1))
            for line in certificate_problems(_edges_here(site), Path(site_name))
        ]
        machine = (*not_here(site), *store.doubts(site, Path(site_name).parent))
        for warning in (*exposed(site), *doubts(site), *machine, *_certificate_warnings(site, Path(site_name))):
            click.echo(f"{site_name}: warning: {warning}", err=True)
    for finding in checked.findings:
        click.echo(str(finding))
    if not checked.findings:
        for line in checked.summary:
            click.echo(line)
    return 1 if checked.findings else 0


def cross_check(site: Site, site_dir: Path, ivr_file: IvrFile, texts: Mapping[str, str]) -> list[Finding]:
    """Check what neither file shows alone: missing sounds and pools, transfers that lead nowhere (A6, A14).

    `texts` is what `ivr_file` was read from, by file name; the findings take their lines from it.
    """
    unusable = _unusable_sounds(site_dir / site.sounds, _all_sounds(ivr_file))
    directory = Directory(site, ivr_file)
    has_trunk = any(trunk.to for trunk in site.trunks)
    wrong: list[tuple[str, Action | None, str]] = [
        (name, None, reason) for name, reason in without_pool(site, ivr_file).items()
    ]
    for name, rule in _rules(ivr_file):
        wrong += ((name, rule, unusable[sound]) for sound in rule.plays() if sound in unusable)
        for number in rule.rings():
            if not (has_trunk or directory.find_extension(number) or directory.find_ivr(number)):
                wrong.append((name, rule, f"{number} is no extension, no IVR, and no trunk has a `to`"))
    return _placed(wrong, ivr_file, texts) if wrong else []


def _placed(
    wrong: Sequence[tuple[str, Action | None, str]], ivr_file: IvrFile, texts: Mapping[str, str]
) -> list[Finding]:
    """What is wrong with contexts or their rules, with the place in its file. The files are valid, so every written
    rule has become one action. They are read anew: only findings need it."""
    documents = [Document(text, filename) for filename, text in texts.items()]
    contexts = {
        name: value
        for document in documents
        for name, value in document.root.section("contexts", "ivrs")["contexts"].entries().items()
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


def exposed(site: Site) -> Iterator[str]:
    """Control addresses that others than our own hosts may reach."""
    wants = "a loopback or private address"
    for engine in site.rtpengines:
        if _is_public(engine.ng.host):
            yield f"rtpengine.ng: who reaches {engine.ng} controls the sound of all calls; give it {wants}"
        if engine.http_port is not None:
            yield "rtpengine.http_port: one GET to it ends all calls; sidecar 0 shows RTPengine's figures without it"
    for host in dict.fromkeys(sidecar.address.host for sidecar in site.sidecars):
        if _is_public(host):
            yield f"sidecars.host: only Kamailio and your monitoring should reach {host}; give it {wants}"


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


def _is_public(host: str) -> bool:
    """Whether it is an address that strangers may reach. A name can't be judged here."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_unspecified or not address.is_private


def _check_ringback(site: Site, site_name: str) -> list[Finding]:
    name = site.defaults.ringback
    unusable = _unusable_sounds(Path(site_name).parent / site.sounds, {name} if name else set())
    return [Finding(site_name, 0, "defaults.ringback", reason) for reason in unusable.values()]


def _unusable_sounds(directory: Path, names: Set[str]) -> dict[str, str]:
    """Opens each of these sounds as a sidecar does; what is wrong with each that cannot be heard, or not whole (A6)."""
    from sidecar.media.sounds import SoundLibrary, cache_of_user  # noqa: PLC0415  not for a response alone

    if not names:
        return {}
    try:
        library = SoundLibrary.load(directory, cache_of_user(), names=names)
    except OSError:  # no cache: convert for this once
        with TemporaryDirectory() as cache:
            library = SoundLibrary.load(directory, Path(cache), names=names)
    wrong = {problem.file: f"{problem.file}: {problem.reason}" for problem in library.findings}
    missing = {name: f"there is no {name} in {directory}" for name in names if not library.find(name)}
    return missing | {name: reason for name, reason in wrong.items() if name in names}


def _check_file(name: str, checked: _Checked) -> None:
    shown = "stdin" if name == STDIN else name
    if name != STDIN and not is_url(name) and Path(name).is_dir():
        texts, findings = read_texts(Path(name))
        checked.findings += findings
        if not findings:
            _check_ivrs(texts, shown, checked)
        return
    if name == STDIN:
        data: bytes | None = sys.stdin.buffer.read()
    else:
        data, findings = read_bytes(name if is_url(name) else Path(name))
        checked.findings += findings
    if data is None:
        return
    # An empty answer is a response too: it means "go on" (X1).
    if charset.is_markup(data):
        _check_response(data, shown, checked)
        return
    text, findings = decode(data, shown)
    checked.findings += findings
    if text is not None:
        _check_configuration(text, shown, checked)


def _check_response(data: bytes, name: str, checked: _Checked) -> None:
    try:
        parsed = response.parse(data)
    except ResponseError as error:
        checked.findings.append(Finding(name, error.line, "Response", error.reason))
        return
    actions = ", ".join(action.NAME for action in parsed.actions) or "no action: the call goes on"
    checked.summary.append(f"{name}: a response: {actions}")
    for warning in parsed.warnings:
        click.echo(f"{name}: warning: {warning}", err=True)


def _check_configuration(text: str, name: str, checked: _Checked) -> None:
    if _is_site(text):
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


def _is_site(text: str) -> bool:
    """Whether a key of site.yaml stands at the left margin. A YAML error further down does not matter."""
    return any(line.partition(":")[0].strip("\"' ") in SITE_KEYS for line in text.splitlines())


def _count(things: Sequence[object] | Mapping[str, object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _all_sounds(ivr_file: IvrFile) -> Set[str]:
    options = (rules for context in ivr_file.contexts.values() for rules in context.options.values())
    return {sound for rules in options for rule in rules for sound in rule.plays()}


def _rules(ivr_file: IvrFile) -> Iterator[tuple[str, Action]]:
    """Every rule with the name of its context."""
    for name, context in ivr_file.contexts.items():
        for rules in context.options.values():
            yield from ((name, rule) for rule in rules)
