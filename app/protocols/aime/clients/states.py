"""The AIME names of job states."""

from __future__ import annotations

from jobs.record import Job
from jobs.states import NOT_RESUMED, JobState

#: Every state. The protocol has no name for a failed job; its name for jobs that ran out of time is used.
STATES: dict[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.PAUSED: "queued",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "lapsed",
    JobState.CANCELLED: "canceled",
    JobState.EXPIRED: "lapsed",
}

#: HTTP status for a job that ended without a result. After 200, clients would poll forever, one of them without a
#: pause.
ENDED_STATUS = 400


def reason_of(job: Job) -> str:
    """Return why a finished job has no result."""
    if job.state is JobState.CANCELLED:
        return "the job was canceled"
    error = job.error or {}
    if job.state is JobState.EXPIRED and error.get("code") != NOT_RESUMED:
        return "the job waited longer than max_time_in_queue"
    return f"{error.get('code', 'failed')}: {error.get('message', 'the job failed')}"
