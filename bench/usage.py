"""CPU and memory of the stack's parts, read from /proc, with children and threads."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in tree(child))]


def cpu_s(parts: Mapping[str, list[int]]) -> dict[str, float]:
    """User plus system time that each part has used so far, in seconds."""
    return {part: sum(_cpu_s(pid) for pid in pids) for part, pids in parts.items()}


def foreign_cpu_s(ours: Iterable[int]) -> float:
    """CPU time that everybody else on the machine has used: without `ours`, this process and its ended children."""
    user, nice, system = (int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:4])
    spent = sum(_cpu_s(pid) for pid in ours)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        spent += usage.ru_utime + usage.ru_stime
    return (user + nice + system) / _TICKS - spent


def memory_kb(parts: Mapping[str, list[int]]) -> dict[str, int]:
    """Proportional set size (PSS) of each part: a page shared by several processes counts once."""
    return {part: sum(_pss_kb(pid) for pid in pids) for part, pids in parts.items()}


def _cpu_s(pid: int) -> float:
    # The name in parentheses may contain any character. utime and stime are fields 14 and 15 (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
