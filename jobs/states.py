"""The states of a job, and the states that Celery shows for them."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job: ``queued → running → delivering → succeeded``.

    Failed, cancelled and expired end it early. A caller may pause it before it is delivered: it is queued again when it
    is resumed.
    """

    #: Waits for a slot, or has been assigned and not yet started.
    QUEUED = "queued"
    #: A worker computes it.
    RUNNING = "running"
    #: Set aside by its caller, with what was computed so far; it holds no slot until it is resumed.
    PAUSED = "paused"
    #: Computed; its outputs are being encoded and stored.
    DELIVERING = "delivering"
    #: The outputs can be downloaded.
    SUCCEEDED = "succeeded"
    #: Ended by an error, which the record contains.
    FAILED = "failed"
    #: Stopped by the caller or an operator.
    CANCELLED = "cancelled"
    #: Not started before its deadline, or not resumed in time.
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class Interrupt(StrEnum):
    """Why a run is asked to give its slot back after its present step."""

    #: Another job takes its slot.
    PREEMPT = "preempt"
    #: Its worker stops.
    DRAIN = "drain"
    #: Its caller pauses the job.
    PAUSE = "pause"


#: Code of the error of a job that expired because it was paused for too long.
NOT_RESUMED = "not_resumed"

#: The state that a Celery result, Flower and ``AsyncResult(job_id).state`` show. A running job shows PROGRESS from its
#: first report on (see :func:`celery_state`).
CELERY_STATES = {
    JobState.QUEUED: "QUEUED",
    JobState.RUNNING: "STARTED",
    JobState.PAUSED: "PAUSED",
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
