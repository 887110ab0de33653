"""The sound library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that RTPengine can play. path is the converted file; duration_ms is computed, not claimed."""

    name: str
    path: Path
    duration_ms: int


@dataclass(frozen=True, slots=True)
class SoundProblem:
    """A file of the source directory that cannot be used, and why."""

    file: str
    reason: str


class SoundLibrary:
    findings: list[SoundProblem]

    @classmethod
    def load(cls, source_dir: Path, cache_dir: Path) -> SoundLibrary: ...

    def find(self, name: str) -> Sound | None: ...
