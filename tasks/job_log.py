"""One line in the log for each job, at its end."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from jobs.record import Job
from jobs.states import JobState

logger = logging.getLogger("tasks.jobs")


def log_end(job: Job) -> None:
    """Log that a job is over."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("job ended", extra=_fields(job))


def log_unread_end(job_id: str, state: str) -> None:
    """Log that a job is over whose record cannot be read, because it was deleted or Redis is away."""
    logger.info("job ended", extra={"job_id": job_id, "outcome": state})


def as_ended(job: Job, state: JobState, *, run_s: float | None = None, code: str = "") -> Job:
    """Return a job as its record says that it ended now, without reading it."""
    now_ms = int(time.time() * 1000)
    return replace(
        job, state=state, finished_at_ms=now_ms, run_s=run_s, computed_at_ms=now_ms if run_s is not None else None,
        error={"code": code, "message": ""} if code else None,
    )  # fmt: skip


def _fields(job: Job) -> dict[str, Any]:
    """Return what the line says; None is left out."""
    return {
        "job_id": job.job_id, "outcome": str(job.state), "error": job.error["code"] if job.error else None,
        "key": job.key_id, "model": job.request.model, "kind": str(job.request.kind), "protocol": job.protocol,
        "command": job.command, "slot": job.slot, "attempts": job.starts, **_durations(job),
        "trace_id": job.trace[3:35] or None,
    }  # fmt: skip


def _durations(job: Job) -> dict[str, float | None]:
    """Return the seconds that each part of a job took, as far as it came."""
    ended = job.finished_at_ms
    computed = _seconds(job.started_at_ms, job.computed_at_ms)
    if job.started_at_ms is not None and job.computed_at_ms is None:  # it failed or was stopped
        run_s, load_s = _seconds(job.started_at_ms, ended), None
    else:
        run_s = job.run_s
        load_s = round(max(0.0, computed - run_s), 3) if computed is not None and run_s is not None else None
    return {
        "wait_s": _seconds(job.created_at_ms, job.started_at_ms or ended),
        "load_s": load_s,
        "run_s": round(run_s, 3) if run_s is not None else None,
        "deliver_s": _seconds(job.computed_at_ms, ended) if job.outputs or job.state is JobState.FAILED else None,
    }


def _seconds(since_ms: int | None, until_ms: int | None) -> float | None:
    """Return the time between two moments, in seconds; clocks of two hosts may differ a little."""
    return None if since_ms is None or until_ms is None else max(0, until_ms - since_ms) / 1000
