"""The extension for tasks: a task is a job and has its id, so it survives restarts of the client and of the server."""

from __future__ import annotations

from typing import Any

from app.access import auth
from app.extensions import dispatcher
from app.protocols.mcp.results import job_result, progress_text
from app.protocols.mcp.wire.eras import Call, require_tasks
from app.protocols.mcp.wire.messages import INVALID_PARAMS, RpcError
from app.submit import forecast_of
from jobs.errors import JobNotFound
from jobs.forecast import Forecast
from jobs.job_view import iso
from jobs.record import Job
from jobs.states import JobState

#: How often clients should ask, milliseconds.
POLL_INTERVAL_MS = 1000
#: The status of a task. A job that failed has a result that says so: ``failed`` is for faults of the protocol.
STATUS = {
    JobState.QUEUED: "working",
    JobState.RUNNING: "working",
    JobState.PAUSED: "working",
    JobState.DELIVERING: "working",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "completed",
    JobState.EXPIRED: "completed",
    JobState.CANCELLED: "cancelled",
}


def created(job: Job, forecast: Forecast) -> dict[str, Any]:
    """Return the result of a tool that has submitted a job, for a client that looks after tasks."""
    return {"resultType": "task", **_task(job, forecast)}


def get(call: Call) -> dict[str, Any]:
    """Return a task, with the result of a completed one. Raises: RpcError."""
    job = _job(call)
    task = _task(job, forecast_of(job))
    if task["status"] == "completed":
        task["result"] = {"resultType": "complete", **job_result(job, is_outcome=True)}
    return task


def update(call: Call) -> dict[str, Any]:
    """Accept answers to questions: no task of this server asks any. Raises: RpcError."""
    _job(call)
    return {}


def cancel(call: Call) -> dict[str, Any]:
    """Stop a task. Raises: RpcError."""
    dispatcher().cancel(_job(call).job_id)
    return {}


def _job(call: Call) -> Job:
    require_tasks(call)
    task_id = call.message.text("taskId")
    try:
        return auth.visible_job(task_id)
    except JobNotFound:
        raise RpcError(INVALID_PARAMS, f"Task not found: {task_id[:80]}") from None


def _task(job: Job, forecast: Forecast) -> dict[str, Any]:
    times = (job.created_at_ms, job.started_at_ms, job.computed_at_ms, job.finished_at_ms)
    return {
        "taskId": job.job_id,
        "status": STATUS[job.state],
        "statusMessage": progress_text(job, forecast),
        "createdAt": iso(job.created_at_ms),
        "lastUpdatedAt": iso(max(time_ms for time_ms in times if time_ms)),
        "ttlMs": None,
        "pollIntervalMs": POLL_INTERVAL_MS,
    }
