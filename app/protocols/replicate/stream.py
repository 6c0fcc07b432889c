"""Follow a prediction by server-sent events: ``logs``, ``output``, ``error`` and ``done``."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import suppress

from flask import Response, stream_with_context

from app import waiting
from app.access import addresses, auth, links
from app.events.streams import KEEPALIVE_S, event_stream, patiently
from app.extensions import hub, objects, store
from jobs.errors import JobNotFound
from jobs.prediction_view import logs_of, output_of, progress_bar, status_of
from jobs.record import Job
from jobs.states import JobState
from jobs.strict_json import dumps


def stream(job_id: str) -> Response:
    """Return the events of a prediction until it is over. Raises: JobNotFound."""
    auth.visible_job(job_id)
    return event_stream(stream_with_context(_until_deleted(job_id, addresses.base_url())))


def _until_deleted(job_id: str, base_url: str) -> Iterator[str]:
    with suppress(JobNotFound):  # the response has begun, so it can only end
        yield from _messages(job_id, base_url)


def _messages(job_id: str, base_url: str) -> Iterator[str]:
    yield from patiently(hub().start)
    with waiting.listening(job_id) as listener:
        last_id, step = listener.last_id, 0
        job = yield from patiently(lambda: store().get(job_id))
        if not job.state.is_terminal and (text := logs_of(job)):
            yield _event("logs", last_id, text)
        while not job.state.is_terminal:
            try:
                event = listener.get(KEEPALIVE_S)
            except queue.Empty:
                if links.is_over() or not (yield from patiently(auth.still_valid)):
                    return
                yield ": still here\n\n"
                continue
            if event is not None and not JobState(event.fields["state"]).is_terminal:
                done, steps = int(event.fields.get("step", 0)), int(event.fields.get("steps", 0))
                if steps and done > step:
                    step, last_id = done, event.event_id
                    yield _event("logs", event.event_id, progress_bar(done, steps) + "\n")
                continue
            last_id = event.event_id if event else last_id
            job = yield from patiently(lambda: store().get(job_id))
        yield from _end(job, last_id, base_url)


def _end(job: Job, event_id: str, base_url: str) -> Iterator[str]:
    """Yield what is said of a prediction that is over."""
    status = status_of(job)
    yield _event("logs", event_id, logs_of(job))
    if status == "failed":
        yield _event("error", event_id, str((job.error or {}).get("message") or f"the job is {job.state}"))
    signer = yield from patiently(auth.signer)
    output = output_of(job, objects(), signer, base_url)
    for url in [output] if isinstance(output, str) else output or []:
        yield _event("output", event_id, url)
    reasons = {"failed": {"reason": "error"}, "canceled": {"reason": "canceled"}}
    yield _event("done", event_id, dumps(reasons.get(status, {})))


def _event(name: str, event_id: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"id: {event_id or '0-0'}\nevent: {name}\n{lines}\n"
