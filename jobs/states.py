"""The states of a job, and the states that Celery shows for them."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job: ``queued → running → delivering → succeeded``; the other three end it early."""

    #: Waits for a slot, or has been assigned and not yet started.
    QUEUED = "queued"
    #: A worker computes it.
    RUNNING = "running"
    #: Computed; its outputs are being encoded and stored.
    DELIVERING = "delivering"
    #: The outputs can be downloaded.
    SUCCEEDED = "succeeded"
    #: Ended by an error, which the record contains.
    FAILED = "failed"
    #: Stopped by the caller or an operator.
    CANCELLED = "cancelled"
    #: Not started before its deadline.
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})

#: The state that a Celery result, Flower and ``AsyncResult(job_id).state`` show. A running job shows PROGRESS from its
#: first report on (see :func:`celery_state`).
CELERY_STATES = {
    JobState.QUEUED: "QUEUED",
    JobState.RUNNING: "STARTED",
    JobState.DELIVERING: "PROGRESS",
    JobState.SUCCEEDED: "SUCCESS",
    JobState.FAILED: "FAILURE",
    JobState.CANCELLED: "REVOKED",
    JobState.EXPIRED: "EXPIRED",
}


def celery_state(state: JobState, *, reported: bool) -> str:
    """Return Celery's state for ``state``; ``reported``: whether the running attempt has reported progress."""
    if state is JobState.RUNNING and reported:
        return "PROGRESS"
    return CELERY_STATES[state]
