"""CPU time and memory of processes. CPU time per job depends less on the load of the machine than wall time."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the process ids of the direct children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    return [pid, *(one for child in children(pid) for one in tree(child))]


def cpu_ms(pids: list[int]) -> float:
    """Return the CPU time that these processes have used, in milliseconds; ended ones count as 0."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) * _TICK_MS
    return total


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
