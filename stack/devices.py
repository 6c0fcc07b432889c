"""Count the CUDA devices without importing torch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


def cuda_devices(environ: Mapping[str, str]) -> int:
    """Count the devices in ``CUDA_VISIBLE_DEVICES`` if it is set, else those that ``nvidia-smi`` lists."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return _listed()
    count = 0
    for entry in visible.split(","):
        # Like CUDA: the list ends at the first entry that does not name a device.
        if not entry.strip() or entry.strip().startswith("-"):
            break
        count += 1
    return count


def _listed() -> int:
    try:
        output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in output.splitlines())
