"""Run one attempt of one job in the GPU child: start, compute, and write how it ended."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from functools import partial

from jobs.errors import FramemillError, RunCancelled, RunInterrupted, Unavailable
from jobs.files import checkpoints
from jobs.process import tracing
from jobs.record import RECORD_VERSION, Job
from tasks.runtime import settings, store
from workers.broken_process import end_process, is_half_imported
from workers.checkpoints.keeper import warn_of_missed_pause
from workers.gpu import endings
from workers.gpu.compute import compute
from workers.gpu.endings import Outcome
from workers.gpu.shared_run import reporter_of
from workers.gpu.slot_process import slot_process
from workers.pipelines.device_errors import is_device_lost
from workers.remote.base import HandBack
from workers.reporting.run_events import RunEvents


def run(job_id: str, attempt: int) -> Outcome:
    """Compute an attempt and free the slot. Errors of a job are recorded, not raised."""
    job = _start(job_id, attempt)
    if job is None:
        return Outcome("refused")
    begun = time.monotonic()
    events = RunEvents(job.request.total_steps) if job.trace and tracing.is_on() else None
    try:
        _check_version(job)
        with reporter_of(job, attempt, events) as reporter:
            computed = compute(job, attempt, reporter)
            warn_of_missed_pause(job, reporter)
    except RunCancelled:
        outcome = endings.cancelled(job_id, attempt)
    except RunInterrupted as exc:
        outcome = endings.interrupted(job_id, attempt, exc)
    except HandBack as exc:
        outcome = endings.handed_back(job_id, attempt, exc)
    except Exception as exc:
        if is_device_lost(exc):
            end_process("device lost", exc, job_id=job_id, attempt=attempt)
        half_imported = is_half_imported(exc)
        if half_imported and not isinstance(exc, FramemillError):
            end_process("an import failed half-way", exc, job_id=job_id, attempt=attempt)
        outcome = endings.failed(job_id, attempt, exc)
        if half_imported:  # a model whose libraries do not import fails its job, but no other one
            end_process("a model's import failed half-way", exc, job_id=job_id, attempt=attempt)
    else:
        outcome = endings.computed(job_id, attempt, computed)
    _remove_checkpoints(job_id)
    endings.report(job, attempt, outcome, begun, events)
    return outcome


def _start(job_id: str, attempt: int) -> Job | None:
    """Mark the job as running. None: this attempt may not run (cancelled, or delivered twice)."""
    process = slot_process()
    start = partial(
        store().start, job_id, attempt, slot=process.slot, owner=process.owner, device=process.device,
        run=f"{os.getpid()}:{secrets.token_hex(4)}", facts=process.facts,
    )  # fmt: skip
    return store().until_written(start)


def _remove_checkpoints(job_id: str) -> None:
    """Remove the checkpoints of a job that is over. Others go with its delivery, or with the janitor."""
    with suppress(Unavailable):
        checkpoints.remove_if_over(settings(), store(), job_id)


def _check_version(job: Job) -> None:
    """Raises: HandBack: a newer web server accepted the job, and this worker may not know all of its fields."""
    if job.version > RECORD_VERSION:
        raise HandBack("the worker is older than the job: upgrade it", counted=False)
