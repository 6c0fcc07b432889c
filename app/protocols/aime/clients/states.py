"""What a job's state is called here."""

from __future__ import annotations

from jobs.record import Job
from jobs.states import JobState

#: Every state. There is no word for a job that failed: it is told like one whose time ran out.
STATES: dict[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "lapsed",
    JobState.CANCELLED: "canceled",
    JobState.EXPIRED: "lapsed",
}

#: A job that ended without a result is told with this status. With 200, clients would poll for ever, one of them
#: without a pause.
ENDED_STATUS = 400


def why(job: Job) -> str:
    """Why a job that is over has no result."""
    if job.state is JobState.CANCELLED:
        return "the job was canceled"
    if job.state is JobState.EXPIRED:
        return "the job waited longer than max_time_in_queue"
    error = job.error or {}
    return f"{error.get('code', 'failed')}: {error.get('message', 'the job failed')}"
