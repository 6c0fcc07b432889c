"""Server-sent events of a job: a message for each change of its progress, and its result."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any

from flask import Response, stream_with_context

from app import waiting
from app.extensions import store
from app.protocols.aime.clients import views
from app.protocols.aime.endpoints.spec import Endpoint
from jobs.errors import JobNotFound
from jobs.record import Job

#: Interval of comments that keep a silent stream open, seconds.
KEEPALIVE_S = 15.0


def stream(endpoint: Endpoint, job: Job) -> Response:
    """Return a stream that follows a job until it has finished."""
    return _event_stream(stream_with_context(_messages(endpoint, job)))


def error_stream(message: str) -> Response:
    """Return a stream with one error message."""
    return _event_stream(iter([_message({"cmd": "error", "msg": message})]))


def _messages(endpoint: Endpoint, job: Job) -> Iterator[str]:
    with waiting.listening(job.job_id) as listener:
        last: dict[str, Any] = {}
        while True:
            try:
                job = store().get(job.job_id)
            except JobNotFound:
                return
            current = _flat(*views.progress(endpoint, job))
            if current != last:
                yield _message(current)
                last = current
            if job.state.is_terminal:
                return
            while True:
                try:
                    listener.get(KEEPALIVE_S)
                    break
                except queue.Empty:
                    yield ": still here\n\n"


def _flat(body: dict[str, Any], status: int) -> dict[str, Any]:
    """Return the body of a poll as one flat object; the progress is 100 at the end."""
    if "job_result" in body:
        result = body["job_result"]
        return {"job_id": body["job_id"], "progress": 100, "job_state": body["job_state"], "job_result": result}
    flat = {**body.pop("progress", {}), **body}
    return flat if status == 200 else {"cmd": "error", "msg": str(body.get("error")), **flat}


def _message(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _event_stream(messages: Iterator[str]) -> Response:
    response = Response(messages, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response
