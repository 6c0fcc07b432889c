"""Server-sent events of a job: a message for each change of its progress, and its result."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from functools import partial
from typing import Any

from flask import Response, stream_with_context

from app import waiting
from app.events.streams import KEEPALIVE_S, event_stream, patiently
from app.extensions import hub, objects
from app.protocols.aime.clients import views
from app.protocols.aime.clients.stored_files import JsonBody
from app.protocols.aime.endpoints.spec import Endpoint
from jobs.errors import JobNotFound
from jobs.record import Job
from jobs.store.events import Event


def stream(endpoint: Endpoint, job: Job) -> Response:
    """Return a stream that follows a job until it has finished."""
    return event_stream(stream_with_context(_messages(endpoint, job)))


def error_stream(message: str) -> Response:
    """Return a stream with one error message."""
    return event_stream(iter([_message({"cmd": "error", "msg": message})]))


def _messages(endpoint: Endpoint, job: Job) -> Iterator[str]:
    yield from patiently(hub().start)
    with waiting.listening(job.job_id) as listener:
        last = ""
        event: Event | None = None
        while True:
            try:
                job = yield from patiently(partial(waiting.job_after, event, job.job_id))
                current = yield from patiently(partial(_message_after, event, endpoint, job))
            except JobNotFound:
                return
            if current != last:
                yield current
                last = current
            if job.state.is_terminal:
                return
            while True:
                try:
                    event = listener.get(KEEPALIVE_S)
                    break
                except queue.Empty:
                    yield ": still here\n\n"


def _message_after(event: Event | None, endpoint: Endpoint, job: Job) -> str:
    """Return the message with the progress of a job, made once for all streams that an event reaches."""

    def make() -> str:
        return _message(_flat(*views.progress(endpoint, job)))

    # The result of a finished job may be large, and is not kept for others.
    if event is None or job.state.is_terminal:
        return make()
    return hub().shared.get(("aime", event, endpoint.name), make)


def _flat(body: dict[str, Any], status: int) -> dict[str, Any]:
    """Return the body of a poll as one flat object; the progress is 100 at the end."""
    if "job_result" in body:
        result = body["job_result"]
        return {"job_id": body["job_id"], "progress": 100, "job_state": body["job_state"], "job_result": result}
    flat = {**body.pop("progress", {}), **body}
    return flat if status == 200 else {"cmd": "error", "msg": str(body.get("error")), **flat}


def _message(data: dict[str, Any]) -> str:
    return b"".join((b"data: ", *JsonBody(data, objects()).parts(), b"\n\n")).decode()
