"""Compute one attempt with the executor of its model; the outputs are in the spool afterwards."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.models.spec import Kind, ModelSpec
from jobs.objects.reading import ReadObjects
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from tasks.runtime import backends, settings, store
from workers.checkpoints.keeper import RunKeeper
from workers.gpu import failures
from workers.gpu.endings import Computed
from workers.gpu.shared_run import compute_shared
from workers.gpu.slot_process import slot_process
from workers.gpu.spooling import spooled
from workers.pipelines.device_errors import is_out_of_memory, release_tensors
from workers.reporting.reporter import Reporter

if TYPE_CHECKING:
    from workers.diffusion.run import Generated

logger = logging.getLogger(__name__)

#: Stage of a run that cannot go on.
_STORE_AWAY = "waiting for the object store"


def compute(job: Job, attempt: int, reporter: Reporter) -> Computed:
    """Load, denoise, decode and spool; or carry out a model command.

    Raises:
        RunCancelled, RunTimeout: stopped.
        RunInterrupted: stopped, with a checkpoint.
        HandBack: the slot's back end is away or busy.
        Exception: whatever the model raises.
    """
    process = slot_process()
    if backend := backends().get(process.slot):
        from workers.remote import running

        reporter.cannot_resume("a back end computes it")
        if job.pause_at_step:
            reporter.warn(f"not paused at step {job.pause_at_step}: a back end computes it")
        read_inputs = partial(process.inputs_of, waiting=partial(reporter.stage, _STORE_AWAY))
        if job.request.controls:
            backend = backend.for_model(process.models.get(job.request.model))
        run_s = running.compute(job, attempt, backend, reporter, settings(), read_inputs)
        return Computed(run_s, settings().node)
    spec = process.models.get(job.request.model)
    if spec.executor == "noop":
        from workers.gpu import noop

        begun = time.monotonic()
        noop.count_steps(job.request, reporter, keeper=_keeper(job, attempt, spec, reporter))
        return Computed(time.monotonic() - begun)
    if spec.executor == "drawing" or settings().devoid.test_mode:
        return _draw(job, attempt, spec, reporter)
    with process.in_use(spec):
        if job.command:
            reporter.cannot_resume("it is a model command")
            return _carry_out(job, spec, reporter)
        if shared := compute_shared(job, attempt, spec, reporter):
            return spooled(job, attempt, *shared, reporter)
        made, run_s = _generate_or_retry_alone(job, spec, reporter, _keeper(job, attempt, spec, reporter))
    return spooled(job, attempt, made.frames, run_s, reporter, made.sound)


def _keeper(job: Job, attempt: int, spec: ModelSpec, reporter: Reporter) -> RunKeeper:
    """Return the keeper of a run that can make checkpoints."""
    intervals = (job.checkpoint_interval_s, spec.checkpoint_interval_s, settings().checkpoints.interval_s)
    interval_s = next(interval for interval in intervals if interval is not None)
    return RunKeeper(store(), job, attempt, reporter, interval_s, lambda: slot_process().objects)


def _draw(job: Job, attempt: int, spec: ModelSpec, reporter: Reporter) -> Computed:
    from workers.gpu import drawing

    begun = time.monotonic()
    frames = drawing.draw(job.request, reporter, _keeper(job, attempt, spec, reporter))
    return spooled(job, attempt, frames, time.monotonic() - begun, reporter)


def _carry_out(job: Job, spec: ModelSpec, reporter: Reporter) -> Computed:
    from workers.gpu import model_commands

    begun = time.monotonic()

    def compute(request: GenerationRequest) -> Any:
        return _generate_or_retry_alone(replace(job, request=request), spec, reporter)[0].frames

    models_file = settings().paths.models_file
    report = model_commands.carry_out(job, spec, slot_process().pipelines, reporter, compute, models_file)
    return Computed(time.monotonic() - begun, report=report)


def _generate_or_retry_alone(
    job: Job, spec: ModelSpec, reporter: Reporter, keeper: RunKeeper | None = None
) -> tuple[Generated, float]:
    """Call :func:`_generate`; if memory is short, once more with no other model on the device.

    Raises:
        OutOfMemory: it was not enough either.
    """
    pipelines = slot_process().pipelines
    try:
        return _generate(job, spec, reporter, keeper)
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
        logger.warning("out of memory, once more alone", extra={"job_id": job.job_id, "error": repr(exc)[:300]})
        release_tensors(exc)
    reporter.check()
    pipelines.make_alone(spec.name)
    try:
        return _generate(job, spec, reporter, keeper)
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
        release_tensors(exc)
    pipelines.free()
    raise failures.out_of_memory_alone(job.request, spec)


def _generate(job: Job, spec: ModelSpec, reporter: Reporter, keeper: RunKeeper | None) -> tuple[Generated, float]:
    """Return the outputs of one request, and the seconds it took without loading."""
    from workers.diffusion.generate import generate
    from workers.diffusion.preview import Previews
    from workers.gpu import faults

    process, request = slot_process(), job.request
    objects = None
    if request.inputs:
        objects = ReadObjects(process.inputs_of(request, partial(reporter.stage, _STORE_AWAY)))
    reporter.stage("loading")
    controls = [control["name"] for control in request.controls or ()]
    pipeline = process.pipelines.get(spec, request.kind, reporter.loading, controls)
    prior = process.pipelines.prior(spec, reporter.loading)
    begun = time.monotonic()
    second_pipeline = partial(process.pipelines.get, spec, Kind.IMG2IMG, reporter.loading, controls)
    previews = Previews(pipeline, request, reporter, spec.preview_decoder)
    with faults.armed(pipeline, spec.name):
        made = generate(pipeline, spec, request, reporter, objects, previews, prior, second_pipeline, keeper)
    return made, time.monotonic() - begun
