"""Models whose jobs share runs, and what such runs left."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jobs.store import keys
from tests.support.harness import Stack
from workers.gpu import batch_profiles
from workers.gpu.batch_profiles import SizeProfile

#: A batched picture differs from the single one by at most this much of 255, on one device and in float32.
MOST_DIFFERENCE = 2


def profile(models_file: Path, model: str, *, jobs: int = 4, px: int = 128) -> None:
    """Let jobs of a model share runs on the CPU, as if it had been measured."""
    rates = {n: float(n) for n in (1, 2, 4, 8)}
    size = SizeProfile(width=px, height=px, jobs=jobs, steps=100_000, images_per_s=rates)
    batch_profiles.write(batch_profiles.path_beside(models_file), model, "cpu", [size])


def picture(stack: Stack, job_id: str) -> np.ndarray:
    """Return the output of a job: (height, width, 3) uint8."""
    content = stack.get(f"/v1/jobs/{job_id}/result").content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def steps_seen(stack: Stack, job_id: str) -> list[int]:
    """Return the steps of a job that its listeners were told."""
    client: Any = stack.store.client
    events = [json.loads(entry["event"]) for _, entry in client.xrange(keys.EVENTS)]
    return [int(event["step"]) for event in events if event["task_id"] == job_id and event.get("step")]
