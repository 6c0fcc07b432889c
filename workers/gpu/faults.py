"""Faults on demand, to test what follows them. Nothing happens unless the variable ``FAULTS_FILE`` names a file.

The file is JSON: ``{"model": "tiny-image", "fault": "oom", "step": 2, "times": 1}``. The model's denoiser raises the
fault in that step, so many times in all; each time counts ``times`` down in the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from workers.pipelines.load_options import denoisers

VARIABLE = "FAULTS_FILE"

FAULTS: dict[str, Callable[[], Exception]] = {
    "oom": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "poison": lambda: RuntimeError("CUDA error: an illegal memory access was encountered"),
}


@contextmanager
def armed(pipeline: Any, model: str) -> Iterator[None]:
    """Have a run of this model meet the fault that is asked for."""
    path = Path(os.environ.get(VARIABLE) or os.devnull)
    wanted = json.loads(path.read_text() or "{}") if path.is_file() else {}
    if wanted.get("model") != model or wanted.get("times", 0) < 1:
        yield
        return
    calls = 0

    def before_forward(_module: Any, _inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == wanted["step"]:
            path.write_text(json.dumps({**wanted, "times": wanted["times"] - 1}))
            raise FAULTS[wanted["fault"]]()

    hooks = [module.register_forward_pre_hook(before_forward) for module in denoisers(pipeline).values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
