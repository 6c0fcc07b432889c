"""A run that several jobs share: one call of the pipeline; each job keeps its own progress, stop, outputs and end.

The leader is the job that the slot holds. The others are taken from the queue right before the call, and end before
the leader does (:meth:`jobs.store.runs.RunStore.join`).
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.errors import RunCancelled, RunInterrupted, Unavailable
from jobs.models.spec import ModelSpec
from jobs.moderation import hides_outputs
from jobs.process import tracing
from jobs.record import Job
from tasks.runtime import dispatcher, settings, store
from workers.gpu import endings, spooling
from workers.gpu.slot_process import slot_process
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory, release_tensors
from workers.reporting.reporter import Reporter
from workers.reporting.run_events import RunEvents
from workers.reporting.shared_reporter import SharedReporter
from workers.reporting.stop_signal import stop_hint

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

#: Why a run cannot be interrupted; the scripts write the same.
SHARES = "it shares its run with other jobs"


def reporter_of(job: Job, attempt: int, events: RunEvents | None) -> Reporter:
    """Return the reporter of an attempt; ``events``: collects what its trace shows."""
    return Reporter(
        store(), job.job_id, attempt, job.request.total_steps, model=job.request.model, max_run_s=job.max_run_s,
        step=job.step or 0, preview=job.preview, hidden=hides_outputs(settings(), moderate=job.moderate), events=events,
    )  # fmt: skip


@dataclass(frozen=True)
class _Companion:
    """A job that shares the leader's run."""

    job: Job
    events: RunEvents | None
    reporter: Reporter
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, job: Job) -> _Companion:
        events = RunEvents(job.request.total_steps) if job.trace and tracing.is_on() else None
        return cls(job, events, reporter_of(job, job.attempt, events))


def compute_shared(
    job: Job, attempt: int, spec: ModelSpec, reporter: Reporter
) -> tuple[np.ndarray, float] | None:
    """Compute a slot's job together with waiting ones, if that pays and there are any.

    The others have ended when this returns.

    Returns:
        (1, 1, height, width, 3) uint8 RGB and the seconds it took without loading; None: the job is to be computed
        alone.

    Raises:
        RunCancelled, RunInterrupted, RunTimeout: the job was stopped.
    """
    process = slot_process()
    most = process.most_together(spec, job.request)
    if most == 1:
        return None
    reporter.can_resume()  # until others share it
    reporter.stage("loading")
    pipeline = process.pipelines.get(spec, job.request.kind, reporter.loading)
    reporter.check()
    companions = _companions(job.job_id, attempt, most)
    if not companions:
        return None
    reporter.cannot_resume(SHARES)
    with ExitStack() as stack:
        for companion in companions:
            companion.reporter.cannot_resume(SHARES)
            stack.enter_context(companion.reporter)
        shared, begun = SharedReporter([reporter, *(companion.reporter for companion in companions)]), time.monotonic()
        stop_hint.set()  # a signal that arrived while the reporters began is not lost
        try:
            frames = _generate(pipeline, spec, job, companions, shared, reporter)
        except RunCancelled:
            frames = None  # each says for itself why it stopped
        except Exception as exc:
            if is_device_lost(exc):
                raise
            _split(job, attempt, spec, exc)
            return None
        run_s = time.monotonic() - begun
        for number, companion in enumerate(companions, 1):
            made = None if frames is None else frames[number : number + 1]
            _end(companion, made, shared.stopped[number], run_s)
    if stopped := shared.stopped[0]:
        raise stopped
    assert frames is not None
    return frames[:1], run_s


def _companions(job_id: str, attempt: int, most: int) -> list[_Companion]:
    """Take waiting jobs; none while Redis does not answer."""
    try:
        jobs = store().join(job_id, attempt, slot=slot_process().slot, most=most)
    except Unavailable:
        return []  # those that were taken although the reply was lost go back to the queue when the leader ends
    for job in jobs:
        dispatcher().announce("task-started", job.job_id, pid=os.getpid())
    if jobs:
        logger.info("run shared", extra={"job_id": job_id, "jobs": [job.job_id for job in jobs]})
    return [_Companion.of(job) for job in jobs]


def _generate(
    pipeline: Any, spec: ModelSpec, job: Job, companions: list[_Companion], shared: SharedReporter, reporter: Reporter
) -> np.ndarray:
    from workers.diffusion.preview import Previews
    from workers.diffusion.together import SharedPreviews, generate_together
    from workers.gpu import faults

    requests = [job.request, *(companion.job.request for companion in companions)]
    reporters = [reporter, *(companion.reporter for companion in companions)]
    previews = SharedPreviews([
        Previews(pipeline, request, each, spec.preview_decoder)
        for request, each in zip(requests, reporters, strict=True)
    ])  # fmt: skip
    with faults.armed(pipeline, spec.name):
        return generate_together(pipeline, spec, requests, shared, previews, [each.warn for each in reporters])


def _split(job: Job, attempt: int, spec: ModelSpec, exc: Exception) -> None:
    """Put the other jobs back, and let this one go on alone: one of them, or their number, is the cause."""
    logger.warning("jobs not computed together", exc_info=exc, extra={"job_id": job.job_id, "model": spec.name})
    release_tensors(exc)
    if is_out_of_memory(exc):
        slot_process().computes_alone.add(spec.name)
    store().until_written(partial(store().split, job.job_id, attempt, slot=slot_process().slot))


def _end(companion: _Companion, frames: np.ndarray | None, stopped: BaseException | None, run_s: float) -> None:
    """Write how a companion ended, and have its outputs delivered."""
    job, attempt = companion.job, companion.job.attempt
    try:
        if stopped is not None:
            raise stopped
        assert frames is not None
        computed = spooling.spooled(job, attempt, frames, run_s, companion.reporter)
    except RunCancelled:
        outcome = endings.cancelled(job.job_id, attempt)
        dispatcher().announce("task-revoked", job.job_id, terminated=True, signum=None, expired=False)
    except RunInterrupted as exc:
        outcome = endings.interrupted(job.job_id, attempt, exc)
    except Exception as exc:
        outcome = endings.failed(job.job_id, attempt, exc)
    else:
        outcome = endings.computed(job.job_id, attempt, computed)
    endings.report(job, attempt, outcome, companion.begun, companion.events)
    endings.pass_on(job.job_id, attempt, outcome)
