"""Reports the end of a job that another process than that of its run has ended: in the log, and in its trace."""

from __future__ import annotations

import logging

from jobs.errors import Unavailable
from jobs.process import tracing
from jobs.record import Job
from jobs.store.jobs import JobStore
from jobs.store.queries import find
from tasks import job_log, job_trace


def report_end(job: Job, *, with_run: bool = False) -> None:
    """Report that a job is over. ``with_run``: see :func:`tasks.job_trace.job_ended`."""
    job_log.log_end(job)
    job_trace.job_ended(job, with_run=with_run)


def report_end_of(store: JobStore, job_id: str, *, with_run: bool = False) -> None:
    """Read a job that is over, and report its end."""
    if not (job_log.logger.isEnabledFor(logging.INFO) or tracing.is_on()):
        return
    try:
        job = find(store, job_id)
    except Unavailable:
        return
    if job is not None and job.state.is_terminal:
        report_end(job, with_run=with_run)
