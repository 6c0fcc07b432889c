"""LightX2V's words for the states of a job. Both tables have every state."""

from __future__ import annotations

from jobs.states import JobState

#: Words of the newest version. A client stops waiting at completed, failed or cancelled.
QUEUE_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.PAUSED: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}

#: Words of the service that the documents describe. A client stops waiting at completed or failed only.
SINGLE_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "processing",
    JobState.RUNNING: "processing",
    JobState.PAUSED: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.EXPIRED: "failed",
}

#: ``protocol`` of jobs that came by the newest routes, and by ``/v1/tasks/``, whose clients do not know "cancelled".
PROTOCOL = "lightx2v"
OLD_PROTOCOL = "lightx2v-tasks"


def word(state: JobState, protocol: str, *, single: bool) -> str:
    """Return the word for a state, as the client knows it that created the job by this protocol."""
    if single:
        return SINGLE_WORDS[state]
    if protocol == OLD_PROTOCOL and state is JobState.CANCELLED:
        return SINGLE_WORDS[state]
    return QUEUE_WORDS[state]
