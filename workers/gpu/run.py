"""Run one attempt of one job in the GPU child: start, compute, and write how it ended."""

from __future__ import annotations

import logging
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from jobs.errors import FramemillError, RunCancelled, RunInterrupted, Unavailable
from jobs.files import checkpoints, spool
from jobs.moderation import hides_outputs
from jobs.process import tracing
from jobs.record import RECORD_VERSION, Job
from jobs.states import JobState
from tasks import job_trace
from tasks.job_log import log_end_of_run
from tasks.runtime import dispatcher, settings, store
from workers.broken_process import end_process, is_half_imported
from workers.checkpoints.keeper import warn_of_missed_pause
from workers.gpu import failures
from workers.gpu.compute import Computed, compute
from workers.gpu.slot_process import slot_process
from workers.pipelines.device_errors import is_device_lost, release_tensors
from workers.remote.base import HandBack
from workers.reporting.reporter import Reporter
from workers.reporting.run_events import RunEvents

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    #: One word or two for the log.
    ended: str
    #: Whether outputs wait in the spool for delivery.
    needs_delivery: bool = False
    #: Whether the job has succeeded, without anything to deliver.
    succeeded: bool = False
    #: Error code and message if the job has failed.
    failure: str = ""
    #: Duration of the computation without loading, seconds, if it succeeded.
    run_s: float | None = None

    @property
    def ending(self) -> JobState | None:
        """The final state that only this process reports; None if the job goes on, or if its end is listed."""
        given_up = self.failure and self.ended == "handed back"
        return JobState.SUCCEEDED if self.succeeded else JobState.FAILED if given_up else None


def run(job_id: str, attempt: int) -> Outcome:
    """Compute an attempt and free the slot. Errors of a job are recorded, not raised."""
    job = _start(job_id, attempt)
    if job is None:
        return Outcome("refused")
    begun = time.monotonic()
    events = RunEvents(job.request.total_steps) if job.trace and tracing.is_on() else None
    try:
        _check_version(job)
        with _reporter(job, attempt, events) as reporter:
            computed = compute(job, attempt, reporter)
            warn_of_missed_pause(job, reporter)
    except RunCancelled:
        outcome = _cancelled(job_id, attempt)
    except RunInterrupted as exc:
        outcome = _interrupted(job_id, attempt, exc)
    except HandBack as exc:
        outcome = _handed_back(job_id, attempt, exc)
    except Exception as exc:
        if is_device_lost(exc):
            end_process("device lost", exc, job_id=job_id, attempt=attempt)
        half_imported = is_half_imported(exc)
        if half_imported and not isinstance(exc, FramemillError):
            end_process("an import failed half-way", exc, job_id=job_id, attempt=attempt)
        outcome = _failed(job_id, attempt, exc)
        if half_imported:  # a model whose libraries do not import fails its job, but no other one
            end_process("a model's import failed half-way", exc, job_id=job_id, attempt=attempt)
    else:
        outcome = _computed(job_id, attempt, computed)
    _remove_checkpoints(job_id)
    # The line of the job says the same of a run that has computed it.
    level = logging.DEBUG if outcome.ended == "computed" else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "run ended",
            extra={
                "job_id": job_id, "attempt": attempt, "ended": outcome.ended, "model": job.request.model,
                "kind": job.request.kind, "steps": job.request.steps, "run_s": round(time.monotonic() - begun, 3),
                "error": outcome.failure or None,
            },
        )  # fmt: skip
    code = outcome.failure.partition(":")[0]
    if events is not None:
        error = code or ("handed_back" if outcome.ended == "handed back" else "")
        job_trace.run_ended(job, attempt, outcome=outcome.ended, error=error, events=events.list)
    if outcome.ending is not None:
        log_end_of_run(job, outcome.ending, run_s=outcome.run_s, code=code)
    elif outcome.failure:
        dispatcher().report_ends(announced=job_id)
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


def _reporter(job: Job, attempt: int, events: RunEvents | None) -> Reporter:
    return Reporter(
        store(), job.job_id, attempt, job.request.total_steps, model=job.request.model, max_run_s=job.max_run_s,
        step=job.step or 0, preview=job.preview, hidden=hides_outputs(settings(), moderate=job.moderate), events=events,
    )  # fmt: skip


def _cancelled(job_id: str, attempt: int) -> Outcome:
    store().until_written(lambda: store().release(job_id, attempt, slot=slot_process().slot))
    return Outcome("cancelled")


def _interrupted(job_id: str, attempt: int, exc: RunInterrupted) -> Outcome:
    hand_over = partial(store().hand_over, job_id, attempt, slot=slot_process().slot, pauses=exc.pauses)
    store().until_written(hand_over)
    return Outcome("interrupted")


def _handed_back(job_id: str, attempt: int, exc: HandBack) -> Outcome:
    hand_back = partial(
        store().hand_back, job_id, attempt, slot=slot_process().slot, counted=exc.counted, why=str(exc)
    )  # fmt: skip
    state = store().until_written(hand_back)
    return Outcome("handed back", failure=f"worker_lost: {exc}" if state == "failed" else "")


def _failed(job_id: str, attempt: int, exc: Exception) -> Outcome:
    (code, message), cause = failures.explain(exc), failures.cause_of(exc)
    logger.error("run failed", exc_info=not isinstance(exc, FramemillError), extra={"job_id": job_id, "code": code})
    release_tensors(exc)
    fail = partial(store().fail, job_id, attempt, code=code, message=message, slot=slot_process().slot, cause=cause)
    still_owned = store().until_written(fail)
    return Outcome("failed", failure=f"{code}: {message}" if still_owned else "")


def _computed(job_id: str, attempt: int, computed: Computed) -> Outcome:
    write = partial(
        store().finish_run, job_id, attempt, slot=slot_process().slot, node=computed.node, run_s=computed.run_s,
        blocked=spool.full(settings()) if computed.node else "", report=computed.report,
    )  # fmt: skip
    still_owned = store().until_written(write)
    if not still_owned:
        return Outcome("stale")
    return Outcome("computed", needs_delivery=bool(computed.node), succeeded=not computed.node, run_s=computed.run_s)
