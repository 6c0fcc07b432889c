"""The responses to requests whose jobs are over."""

from __future__ import annotations

from jobs.states import JobState

#: State → the status of the response. The protocol has no words for states: a response comes when the job is over.
STATUS: dict[JobState, int | None] = {
    JobState.QUEUED: None,
    JobState.RUNNING: None,
    JobState.PAUSED: None,
    JobState.DELIVERING: None,
    JobState.SUCCEEDED: 200,
    JobState.FAILED: 500,
    JobState.CANCELLED: 409,
    JobState.EXPIRED: 504,
}
