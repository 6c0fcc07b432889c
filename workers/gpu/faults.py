"""Inject faults into a run, to test what follows them. Does nothing unless ``FAULTS_FILE`` names a file.

The file is JSON: ``{"model": "tiny-image", "fault": "oom", "step": 2, "times": 1}``. The denoiser of the model raises
the fault in that step; each time decrements ``times`` in the file, until it is 0.
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
    """Raise the fault that the file asks for, if it names this model, in a run inside the block."""
    path = Path(os.environ.get(VARIABLE) or os.devnull)
    plan = json.loads(path.read_text() or "{}") if path.is_file() else {}
    if plan.get("model") != model or plan.get("times", 0) < 1:
        yield
        return
    calls = 0

    def before_forward(_module: Any, _inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == plan["step"]:
            path.write_text(json.dumps({**plan, "times": plan["times"] - 1}))
            raise FAULTS[plan["fault"]]()

    hooks = [module.register_forward_pre_hook(before_forward) for module in denoisers(pipeline).values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
