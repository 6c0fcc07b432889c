"""Commands about a model, carried out in the slot's process; see :mod:`jobs.model_commands`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from jobs.models.spec import ModelSpec
from jobs.record import Job
from workers.gpu.report import Reporter
from workers.pipelines.cache import PipelineCache


def run(
    job: Job, spec: ModelSpec, cache: PipelineCache, reporter: Reporter, compute: Callable[[], Any]
) -> dict[str, Any]:  # fmt: skip
    """Carry out a job's command.

    Args:
        job: the job.
        spec: its model.
        cache: the models in memory.
        reporter: the job's progress.
        compute: loads the model and computes the job's request; returns its frames.

    Returns:
        What was found, for the job's report.

    Raises:
        JobCancelled, ModelLoadFailed, OutOfMemory and what the model raises.
    """
    if job.command == "unload":
        return {"unloaded": cache.unload(spec.name)}
    begun, loads = time.monotonic(), cache.loads
    cache.get(spec, job.request.kind, reporter.loading)
    load_s = time.monotonic() - begun
    held = next(one for one in cache.held() if one.model == spec.name)
    report: dict[str, Any] = {
        "place": held.place, "bytes": held.bytes, "device": cache.device_name, "read_from_disk": cache.loads > loads,
        "load_s": round(load_s, 3),
    }  # fmt: skip
    if job.command == "check":
        begun = time.monotonic()
        frames = compute()
        report |= {
            "run_s": round(time.monotonic() - begun, 3), "steps": job.request.steps, "kind": job.request.kind,
            "frames": frames.shape[1], "height": frames.shape[2], "width": frames.shape[3],
        }  # fmt: skip
    return report
