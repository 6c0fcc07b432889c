"""The memory of this machine."""

from __future__ import annotations

import psutil


def ram_bytes() -> tuple[int, int]:
    """Return the installed RAM and what is available without swapping, bytes."""
    memory = psutil.virtual_memory()
    return memory.total, memory.available
