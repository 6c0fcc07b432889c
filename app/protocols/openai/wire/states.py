"""OpenAI's words for the states of a video, and what its clients are told of jobs without an output."""

from __future__ import annotations

from jobs.record import Job
from jobs.states import JobState

PROTOCOL = "openai"

#: A client polls until completed or failed.
VIDEO_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.PAUSED: "queued",
    JobState.DELIVERING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.EXPIRED: "failed",
}
#: Code and message of jobs that ended without an error of their own.
_ENDS: dict[JobState, tuple[str, str]] = {
    JobState.FAILED: ("job_failed", "the job failed"),
    JobState.CANCELLED: ("cancelled", "the job was stopped"),
    JobState.EXPIRED: ("expired", "the job did not start within its time limit"),
}


def error_of(job: Job) -> dict[str, str] | None:
    """Return code and message of a job that has ended without an output; None for any other."""
    if job.state not in _ENDS:
        return None
    code, message = _ENDS[job.state]
    error = job.error or {}
    return {"code": error.get("code", code), "message": error.get("message", message)}
