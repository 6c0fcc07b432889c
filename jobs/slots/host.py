"""This machine's RAM, from ``/proc``."""

from __future__ import annotations

from pathlib import Path


def ram_bytes() -> tuple[int, int]:
    """RAM in all, and what could be had without swapping, bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    values = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}
    return values["MemTotal"], values["MemAvailable"]
