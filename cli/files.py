"""Read configuration files. What is wrong with one is a finding, never an exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from callinteractive.config import load_ivr_file, load_site
from callinteractive.errors import ConfigError, Finding
from callinteractive.model import IvrFile, Site

T = TypeVar("T")


def read_site(path: Path) -> tuple[Site | None, list[Finding]]:
    """The site of a file; None and the findings where it is unusable."""
    return _read(path, load_site)


def read_ivr_file(path: Path) -> tuple[IvrFile | None, list[Finding]]:
    """The IVRs of a file; None and the findings where it is unusable."""
    return _read(path, load_ivr_file)


def decode(data: bytes, filename: str) -> tuple[str | None, list[Finding]]:
    """UTF-8 text (a byte order mark is dropped), or None and the line where it stops being UTF-8."""
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Finding(filename, line, "file", f"not UTF-8: byte 0x{data[error.start]:02x}")]


def load(text: str, filename: str, loader: Callable[[str, str], T]) -> tuple[T | None, list[Finding]]:
    """What `loader` makes of the text, or None and its findings."""
    try:
        return loader(text, filename), []
    except ConfigError as error:
        return None, error.findings


def _read(path: Path, loader: Callable[[str, str], T]) -> tuple[T | None, list[Finding]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, [Finding(str(path), 0, "file", error.strerror or str(error))]
    text, findings = decode(data, str(path))
    return load(text, str(path), loader) if text is not None else (None, findings)
