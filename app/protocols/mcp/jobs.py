"""The tools that look after jobs."""

from __future__ import annotations

from typing import Any

from app.access import auth
from app.extensions import dispatcher, store
from app.problems import Problems
from app.protocols.mcp.results import job_result
from app.protocols.mcp.schemas import MAX_WAIT_S
from app.protocols.mcp.waits import Wait
from app.protocols.mcp.wire.eras import Call
from app.submit import forecast_of


def get_job(call: Call, values: dict[str, Any], problems: Problems) -> Wait:
    """Wait for a job. Raises: InvalidRequest, JobNotFound."""
    problems.check()
    job = auth.visible_job(values["job_id"])
    return Wait(job, forecast_of(job), values.get("wait_s", MAX_WAIT_S))


def cancel_job(call: Call, values: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Stop a job. Raises: InvalidRequest, JobNotFound."""
    problems.check()
    job = auth.visible_job(values["job_id"])
    return job_result(dispatcher().cancel(job.job_id)[0])


def pause_job(call: Call, values: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Set a job aside; a running one stops after its present step. Raises: InvalidRequest, JobNotFound, Conflict."""
    problems.check()
    job = auth.visible_job(values["job_id"])
    return job_result(dispatcher().pause(job.job_id))


def resume_job(call: Call, values: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Let a paused job wait again, at its old place. Raises: InvalidRequest, JobNotFound, Conflict."""
    problems.check()
    job = auth.visible_job(values["job_id"])
    store().resume(job.job_id)
    return job_result(store().get(job.job_id))
