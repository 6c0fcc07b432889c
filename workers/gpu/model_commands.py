"""Carry out model commands (load, unload, check, profile) in the slot's process; see :mod:`jobs.model_commands`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import FramemillError, ModelLoadFailed
from jobs.models.spec import ModelSpec
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from workers.pipelines.cache import PipelineCache
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory
from workers.reporting.reporter import Reporter


def carry_out(
    job: Job, spec: ModelSpec, cache: PipelineCache, reporter: Reporter,
    compute: Callable[[GenerationRequest], np.ndarray], models_file: Path,
) -> dict[str, Any]:  # fmt: skip
    """Carry out the command of a job.

    Args:
        job: the job.
        spec: its model.
        cache: the models in memory.
        reporter: reports the job's progress.
        compute: loads the model and computes a request; returns its frames.
        models_file: the models file, which a profile is written beside.

    Returns:
        The job's report.

    Raises:
        RunCancelled, ModelLoadFailed, OutOfMemory, and whatever the model raises.
    """
    if job.command == "unload":
        return {"unloaded": cache.unload(spec.name)}
    report = _load(job, spec, cache, reporter)
    if job.command == "load" and spec.load.compile and report["read_from_disk"] and not job.request.kind.inputs:
        begun = time.monotonic()
        compute(job.request)  # compiles what the jobs after this one need
        report["warm_up_s"] = round(time.monotonic() - begun, 3)
    if job.command == "profile":
        from workers.gpu.profiling import profile

        pipeline, options = cache.get(spec, job.request.kind, reporter.loading), job.command_options
        sizes = [(width, height) for width, height in options["sizes"]]
        report |= profile(
            pipeline, spec, job.request, reporter, cache.device_name, models_file, sizes=sizes,
            counts=options["batches"],
        )  # fmt: skip
    if job.command == "check":
        begun = time.monotonic()
        frames = compute(replace(job.request, controls=None))
        report |= {
            "run_s": round(time.monotonic() - begun, 3), "steps": job.request.steps, "kind": job.request.kind,
            "frames": frames.shape[1], "height": frames.shape[2], "width": frames.shape[3],
        }  # fmt: skip
        if job.request.controls:
            report["controls"] = _checked_controls(job.request, spec, compute)
    return report


def _checked_controls(
    request: GenerationRequest, spec: ModelSpec, compute: Callable[[GenerationRequest], np.ndarray]
) -> dict[str, float]:
    """Compute a request with each of its controls; return the seconds of each, with loading.

    Raises:
        ModelLoadFailed: names the control that is missing, or does not fit the model.
    """
    seconds = {}
    for control in request.controls or ():
        begun, name = time.monotonic(), control["name"]
        try:
            compute(replace(request, controls=[control]))
        except Exception as exc:
            what = f"control {name} of model {spec.name}"
            if is_out_of_memory(exc) or is_device_lost(exc) or what in str(exc):
                raise
            reason = str(exc) if isinstance(exc, FramemillError) else f"{type(exc).__name__}: {exc}"[:300]
            raise ModelLoadFailed(f"{what} does not work with it: {reason}") from exc
        seconds[name] = round(time.monotonic() - begun, 3)
    return seconds


def _load(job: Job, spec: ModelSpec, cache: PipelineCache, reporter: Reporter) -> dict[str, Any]:
    begun, loads = time.monotonic(), cache.loads
    cache.get(spec, job.request.kind, reporter.loading)
    load_s = time.monotonic() - begun
    loaded = next(model for model in cache.loaded_models() if model.model == spec.name)
    return {
        "place": loaded.place, "bytes": loaded.bytes, "device": cache.device_name,
        "read_from_disk": cache.loads > loads, "load_s": round(load_s, 3),
    }  # fmt: skip
