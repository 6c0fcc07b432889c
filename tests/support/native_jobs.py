"""Jobs of the native API."""

from __future__ import annotations

#: The fields of every job.
JOB_FIELDS = {
    "id", "state", "pausing", "model", "kind", "progress", "position", "eta_s", "waiting_for", "class", "priority",
    "pause_at_step", "slot", "device", "attempt", "preemptions", "resumed_from_step", "batch_size", "error", "warnings",
    "command", "report", "request", "preview", "created_at", "not_before", "started_at", "computed_at", "finished_at",
    "resume_by", "retention", "expires_at", "outputs", "links",
}  # fmt: skip
#: A request that is soon done.
TINY = {"model": "tiny-image", "prompt": "x", "steps": 1}
