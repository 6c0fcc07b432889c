"""LightX2V's words for the state of a job. Both tables name every state."""

from __future__ import annotations

from jobs.states import JobState

#: Of its newest version: what stops waiting clients is completed, failed or cancelled.
QUEUE_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}

#: Of the service its documents describe: clients wait for completed or failed, and for nothing else.
SINGLE_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "processing",
    JobState.RUNNING: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.EXPIRED: "failed",
}

#: Protocols of a job's record: by the newest routes, and by ``/v1/tasks/``, whose clients know no "cancelled".
PROTOCOL = "lightx2v"
OLD_PROTOCOL = "lightx2v-tasks"


def word(state: JobState, protocol: str, *, single: bool) -> str:
    """What a client is told that created the job by this protocol."""
    if single:
        return SINGLE_WORDS[state]
    if protocol == OLD_PROTOCOL and state is JobState.CANCELLED:
        return SINGLE_WORDS[state]
    return QUEUE_WORDS[state]
