"""The device of this process, and the number format of its models."""

from __future__ import annotations

import torch

from jobs.models.spec import ModelSpec


def select(cpu_threads: int = 0) -> tuple[torch.device, str]:
    """Return the one visible CUDA device, else the CPU, and its name for display.

    :func:`workers.parent.child.prepare` has set ``CUDA_VISIBLE_DEVICES``, so a slot's device is always ``cuda:0`` here.
    """
    if torch.cuda.is_available():
        return torch.device("cuda:0"), torch.cuda.get_device_name(0)
    if cpu_threads:
        torch.set_num_threads(cpu_threads)
    return torch.device("cpu"), "cpu"


def dtype_of(spec: ModelSpec, device: torch.device) -> torch.dtype:
    """Return the number format for a model. ``auto`` on a CPU is float32, because half precision is slow there."""
    if spec.dtype != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[spec.dtype]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if any(kind.is_video for kind in spec.kinds) else torch.float16
