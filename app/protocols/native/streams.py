"""Following jobs: server-sent events with replay."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from flask import Response, request, stream_with_context

from app import auth
from app.extensions import hub, store
from app.protocols.native import previews
from jobs.errors import InvalidRequest, JobNotFound, Problem
from jobs.record import Job
from jobs.states import JobState
from jobs.store.events import Event, order
from jobs.store.previews import INTEREST_S, ask, newest
from jobs.view import STATUS_WORDS, preview_view

#: A comment goes out this often so that proxies keep a silent stream open and closed clients are noticed, seconds.
KEEPALIVE_S = 15.0


def stream(view: Any, *, job: Job | None = None, key_id: str | None = None, preview: str = previews.NONE) -> Response:
    """Server-sent events of one job, or of all jobs of a key (None: of all).

    Args:
        view: job → the status answer; sent first, after a gap, and at the end of a job.
        job: the one to follow; its stream ends with it.
        key_id: whose jobs, when ``job`` is None.
        preview: whether to ask for previews of ``job`` as long as the stream lasts, and to send them within it.
    """
    since = request.headers.get("Last-Event-ID", "")
    try:
        order(since or "0-0")
    except ValueError:
        raise InvalidRequest(Problem("Last-Event-ID", "must be an id of this stream", since)) from None
    messages = _until_deleted(_messages(view, job, key_id, since, preview))
    response = Response(stream_with_context(messages), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _until_deleted(messages: Iterator[str]) -> Iterator[str]:
    with suppress(JobNotFound):  # the answer has begun: it can only end
        yield from messages


def _messages(view: Any, job: Job | None, key_id: str | None, since: str, preview: str) -> Iterator[str]:
    job_id = job.job_id if job else None
    interest = _Interest(job_id) if job_id and preview != previews.NONE else None
    rendered = _render_with_data if preview == previews.DATA else _render
    with hub().listen(job_id=job_id, key_id=key_id) as listener:
        last = listener.last_id
        replay = hub().missed(since, job_id=job_id, key_id=key_id) if since else None
        if replay is None:
            if job is not None:
                job = store().get(job.job_id)
                yield _message("status", last, view(job))
                if job.state.is_terminal:
                    return
            else:
                # Without data it is no event, but a client that comes back says from where on.
                yield f"id: {last}\n: listening\n\n"
        else:
            for event in replay:
                last = event.event_id
                yield rendered(event, view)
                if job is not None and JobState(event.fields["state"]).is_terminal:
                    return
            if job is not None and not replay and store().get(job.job_id).state.is_terminal:
                return
        while True:
            if interest:
                interest.renew()
            try:
                event_or_gap = listener.get(KEEPALIVE_S)
            except queue.Empty:
                if not auth.still_valid():
                    return
                yield ": still here\n\n"
                continue
            if event_or_gap is None:  # too slow: what was missed is in the present state
                if job is not None:
                    job = store().get(job.job_id)
                    yield _message("status", last, view(job))
                    if job.state.is_terminal:
                        return
                continue
            if order(event_or_gap.event_id) <= order(last):
                continue
            if JobState(event_or_gap.fields["state"]).is_terminal and not auth.still_valid():
                return
            last = event_or_gap.event_id
            yield rendered(event_or_gap, view)
            if job is not None and JobState(event_or_gap.fields["state"]).is_terminal:
                return


class _Interest:
    """A stream's wish for previews, renewed as long as it lasts."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._asked_at = -float(INTEREST_S)

    def renew(self) -> None:
        now = time.monotonic()
        if now - self._asked_at >= INTEREST_S - KEEPALIVE_S:
            self._asked_at = now
            ask(store(), self._job_id)


def _render_with_data(event: Event, view: Any) -> str:
    """As :func:`_render`, with the picture itself, as a data URL."""
    if "preview" not in event.fields:
        return _render(event, view)
    return _with_picture(event) or _render(event, view)


@lru_cache(maxsize=8)
def _with_picture(event: Event) -> str:
    found = newest(store(), event.job_id)
    if found is None or found.step != int(event.fields["preview"]):
        return ""  # a newer one has come, and with it a newer event
    data = _data(event)
    data["preview"]["data"] = f"data:{found.media_type};base64,{found.base64}"
    return _message("preview", event.event_id, data)


def _render(event: Event, view: Any) -> str:
    state = JobState(event.fields["state"])
    if state.is_terminal:
        try:
            return _message("end", event.event_id, view(store().get(event.job_id)))
        except JobNotFound:
            pass  # its record has left meanwhile; the event says enough
    return _progress(event)


@lru_cache(maxsize=256)
def _progress(event: Event) -> str:
    """The message of an event; every listener of a job sends the same."""
    data = _data(event)
    name = "preview" if "preview" in data else "progress" if data.get("step") else "state"
    return _message(name, event.event_id, data)


def _data(event: Event) -> dict[str, Any]:
    state = JobState(event.fields["state"])
    fields = event.fields
    data: dict[str, Any] = {"task_id": event.job_id, "state": state, "status": STATUS_WORDS[state]}
    data |= {name: int(fields[name]) for name in ("step", "steps", "stage_percent") if name in fields}
    data |= {name: fields[name] for name in ("slot", "device", "stage") if name in fields}
    data["percent"] = min(99, 100 * data.get("step", 0) // max(1, data.get("steps", 1)))
    data["eta_s"] = float(fields["eta_s"]) if "eta_s" in fields else None
    if "preview" in fields:
        data["preview"] = preview_view(event.job_id, int(fields["preview"]))
    return data


def _message(name: str, event_id: str, data: Any) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
