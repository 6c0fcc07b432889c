"""Reports the end of a job, in the log and in its trace, that the process of its run or delivery does not report."""

from __future__ import annotations

from jobs.errors import Unavailable
from jobs.process import tracing
from jobs.store.jobs import JobStore
from jobs.store.queries import find
from tasks import job_log, job_trace


def report_end(store: JobStore, job_id: str, state: str) -> None:
    """Read a job that is over, and report its end.

    Args:
        store: of this process.
        job_id: the job.
        state: its final state. The line of a job whose record was deleted meanwhile says no more.
    """
    if not (job_log.is_shown() or tracing.is_on()):
        return
    try:
        job = find(store, job_id)
    except Unavailable:
        job = None
    if job is None:
        job_log.log_unread_end(job_id, state)
        return
    job_log.log_end(job)
    job_trace.job_ended(job)
