"""Read configuration files. What is wrong with one is a finding, never an exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from callinteractive.config import is_ivr_file, load_ivr_files, load_site, without_pool
from callinteractive.errors import ConfigError, Finding
from callinteractive.model import IvrFile, Site
from callinteractive.prepared import Prepared, Sources

T = TypeVar("T")


def read_site(path: Path) -> tuple[Site | None, list[Finding]]:
    """The site of a file; None and the findings where it is unusable."""
    texts, findings = read_texts(path)
    return (None, findings) if findings else load(lambda: load_site(texts[str(path)], str(path)))


def read_ivr_file(path: Path | str) -> tuple[IvrFile | None, list[Finding]]:
    """The IVRs of a file, a folder of files or a URL; None and the findings where they are unusable."""
    texts, findings = read_texts(path)
    return (None, findings) if findings else load(lambda: load_ivr_files(texts))


def read_both(site_path: Path, ivr_path: Path) -> tuple[Prepared | None, list[Finding]]:
    """The site and the IVRs, with the texts that they are made of; None and the findings where they are unusable."""
    site_texts, findings = read_texts(site_path)
    ivr_texts, more = read_texts(ivr_path)
    if findings or more:
        return None, findings + more
    # `reload` reads that path again, wherever it is called. A link stays one: it may lead elsewhere then.
    sources = Sources(str(site_path), site_texts[str(site_path)], str(ivr_path.absolute()), ivr_texts)
    loaded, findings = load(sources.load)
    if loaded is None:
        return None, read_site(site_path)[1] + read_ivr_file(ivr_path)[1]
    site, ivr_file = loaded
    wrong = without_pool(site, ivr_file)
    findings = [Finding(str(ivr_path), 0, f"contexts.{name}.pool", reason) for name, reason in wrong.items()]
    return (None, findings) if findings else (Prepared(sources, *loaded), [])


def read_texts(path: Path | str) -> tuple[dict[str, str], list[Finding]]:
    """The text of a file or URL, or of all *.yaml of a folder in the order of their names; and what can't be read."""
    texts: dict[str, str] = {}
    findings: list[Finding] = []
    for file in [path] if isinstance(path, str) else files_of(path):
        data, wrong = read_bytes(file)
        text, unreadable = (None, wrong) if data is None else decode(data, str(file))
        findings += unreadable
        if text is not None:
            texts[str(file)] = text
    if not texts and not findings:
        findings.append(Finding(str(path), 0, "folder", "there is no *.yaml in it"))
    return texts, findings


def read_bytes(source: Path | str) -> tuple[bytes | None, list[Finding]]:
    """What a file or a URL holds, or None and why that is not known."""
    try:
        return (_fetched(source) if isinstance(source, str) else source.read_bytes()), []
    except OSError as error:
        return None, [Finding(str(source), 0, "file", error.strerror or str(error))]


def _fetched(url: str) -> bytes | None:
    """Raises OSError."""
    from cli.source import SourceError, fetch  # noqa: PLC0415  a tenth of a second, which files need not wait for

    try:
        return fetch(url).data
    except SourceError as error:
        raise OSError(str(error)) from None


def files_of(path: Path) -> list[Path]:
    """The file itself; of a folder its *.yaml in the order of their names, without hidden ones (of editors)."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if is_ivr_file(file.name))


def decode(data: bytes, filename: str) -> tuple[str | None, list[Finding]]:
    """UTF-8 text (a byte order mark is dropped), or None and the line where it stops being UTF-8."""
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Finding(filename, line, "file", f"not UTF-8: byte 0x{data[error.start]:02x}; save it as UTF-8")]


def load(loader: Callable[[], T]) -> tuple[T | None, list[Finding]]:
    """What `loader` reads, or None and its findings."""
    try:
        return loader(), []
    except ConfigError as error:
        return None, error.findings
