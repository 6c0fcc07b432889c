"""One line in the log for each job, at its end."""

from __future__ import annotations

import logging
import time
from typing import Any

from jobs.process.frequent_lines import FrequentLines
from jobs.record import Job
from jobs.states import JobState

_lines = FrequentLines(logging.getLogger("tasks.jobs"), "job ended")


def is_shown() -> bool:
    """Return whether ends of jobs are logged."""
    return _lines.is_shown(logging.INFO)


def log_end(job: Job) -> None:
    """Log that a job is over. ``job``: its final record."""
    if is_shown():
        code = job.error["code"] if job.error else None
        is_delivered = bool(job.outputs) or job.state is JobState.FAILED
        _log(job, job.state, code, job.run_s, job.computed_at_ms, job.finished_at_ms, is_delivered=is_delivered)


def log_unread_end(job_id: str, state: str) -> None:
    """Log that a job is over whose record cannot be read, because it was deleted or Redis is away."""
    if is_shown():
        _lines.log(logging.INFO, {"job_id": job_id, "outcome": state})


def log_end_of_run(
    job: Job, state: JobState, *, run_s: float | None = None, code: str = "", is_delivered: bool = False
) -> None:
    """Log that a run has ended its job now, as its record says, without reading that.

    Args:
        job: as the run began.
        state: the final state.
        run_s: duration of the computation, seconds, if it succeeded.
        code: of the error, '' without one.
        is_delivered: whether outputs were stored before.
    """
    if is_shown():
        now_ms = int(time.time() * 1000)
        computed_at_ms = now_ms if run_s is not None else None
        is_delivered = is_delivered or state is JobState.FAILED
        _log(job, state, code or None, run_s, computed_at_ms, now_ms, is_delivered=is_delivered)


def _log(
    job: Job, state: JobState, code: str | None, run_s: float | None, computed_at_ms: int | None, ended_ms: int | None,
    *, is_delivered: bool,
) -> None:  # fmt: skip
    load_s = None
    if job.started_at_ms is not None and computed_at_ms is None:  # it failed or was stopped
        run_s = _seconds(job.started_at_ms, ended_ms)
    elif run_s is not None:
        computed_s, run_s = _seconds(job.started_at_ms, computed_at_ms), round(run_s, 3)
        load_s = round(max(0.0, computed_s - run_s), 3) if computed_s is not None else None
    fields: dict[str, Any] = {
        "job_id": job.job_id, "outcome": state.value, "error": code, "key": job.key_id, "model": job.request.model,
        "kind": job.request.kind.value, "protocol": job.protocol, "command": job.command, "slot": job.slot,
        "attempts": job.starts,
        "wait_s": _seconds(job.created_at_ms + job.paused_ms, job.started_at_ms or ended_ms),
        "load_s": load_s, "run_s": run_s, "deliver_s": _seconds(computed_at_ms, ended_ms) if is_delivered else None,
        "trace_id": job.trace[3:35] or None,
    }  # fmt: skip
    _lines.log(logging.INFO, fields)


def _seconds(since_ms: int | None, until_ms: int | None) -> float | None:
    """Return the time between two moments, in seconds; clocks of two hosts may differ a little."""
    return None if since_ms is None or until_ms is None else max(0, until_ms - since_ms) / 1000
