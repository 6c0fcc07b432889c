"""Describe the routes of workers in the OpenAPI document of the server."""

from __future__ import annotations

from typing import Any

from werkzeug.routing import Rule as Route

from app.openapi.document import Api
from app.protocols.aime import answers
from app.protocols.aime.openapi import refusals, response

TAG = "AIME API server: workers"

_ABOUT = "The key of a worker: that of the endpoint's file, or a key of the server with the role `worker`."
_WORKER = {
    "auth": "Name of the worker.",
    "auth_key": _ABOUT,
    "job_type": "The jobs that it computes.",
    "version": "Version of its interface.",
}
_JOB = {**_WORKER, "job_id": "The job, as it was offered."}
_EXAMPLE = {"auth": "host#0_1xGPU", "auth_key": "…", "job_type": "draw", "version": "0.9.12"}

#: Path → summary, description of its response, its schema, and the fields of its body.
_OPERATIONS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "worker_check_server_status": (
        "Return whether the server knows the worker's job type and key", "Whether it may serve.",
        answers.AimeServerStatusAnswer, _WORKER,
    ),
    "worker_login": (
        "Register a worker that has started", "Whether it is registered.", answers.AimeWorkerLoginAnswer,
        {"worker_parameters": "An object with the fields of other calls.", "model_parameters": "Facts of its model."},
    ),
    "worker_job_request": (
        "Wait for jobs", "Jobs, or none.", answers.AimeJobsAnswer,
        {**_WORKER, "max_job_batch": "Number of jobs at once.", "request_timeout": "Seconds to wait."},
    ),
    "worker_job_progress": (
        "Store the progress of one or several jobs", "One response for each; those that were canceled are named.",
        answers.AimeReportAnswer(many=True), {**_JOB, "progress": "Percent.", "progress_data": "Outputs so far."},
    ),
    "worker_job_result": (
        "Store the result of one or several jobs", "A warning names a result that is not wanted.",
        answers.AimeReportAnswer, {**_JOB, "error": "Why the job failed; otherwise the outputs by name."},
    ),
}  # fmt: skip


def describe_workers(api: Api) -> None:
    """Add the paths of workers.

    Their bodies have no types: a worker exits or repeats its call after an error, so a value that makes no sense counts
    as absent.
    """
    for path, (summary, success, answer, fields) in _OPERATIONS.items():
        body = {"properties": {name: {"description": meaning} for name, meaning in fields.items()}}
        example = _EXAMPLE if "auth" in fields else {"worker_parameters": _EXAMPLE}
        responses = {"200": response(success, answer), **refusals(answers.AimeReportAnswer)}
        unread = {
            "400": "The body is not JSON, or has too many jobs or values.",
            "401": "The key of the header is not a worker's; the body was not read.",
            "413": "The body is too large.",
        }
        responses |= {status: response(text, answers.AimeReportAnswer) for status, text in unread.items()}
        if path == "worker_job_result":
            responses["503"] = response("The result could not be stored; send it again.", answers.AimeReportAnswer)
        operation = {
            "tags": [TAG],
            "operationId": f"aime_{path}",
            "summary": summary,
            "security": [],
            "requestBody": {"content": {"application/json": {"schema": body, "example": example}}},
            "responses": responses,
        }
        api.spec.path(rule=Route(f"/{path}"), operations={"post": operation})


