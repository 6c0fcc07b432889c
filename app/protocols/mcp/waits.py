"""Wait for the job of a call: in one response, or in an event stream that also tells the progress.

A stream of the older revisions can be resumed: its ids say which job and which request it belongs to. In the newest
one, a client that closes the connection stops what it has asked for.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Response, request, stream_with_context

from app import waiting
from app.access import auth
from app.bodies.json_output import json_body, json_response
from app.events.streams import KEEPALIVE_S, event_stream, patiently
from app.extensions import current_jobs, dispatcher, hub
from app.protocols.mcp.results import error_result, job_result, progress_text
from app.protocols.mcp.schemas import MAX_WAIT_S
from app.protocols.mcp.wire.eras import KNOWS_EMPTY_EVENTS, Call
from app.protocols.mcp.wire.messages import notification, result_message
from app.protocols.mcp.wire.resuming import Place
from app.submit import forecast_of
from jobs.errors import FramemillError, JobNotFound
from jobs.forecast import Forecast
from jobs.record import Job

#: Interval at which a wait looks at the place in the queue, and whether the client is still there, seconds.
LOOK_S = 1.0
#: How long a client waits before it reconnects, milliseconds. Some try only twice: a server may take so long to start.
RETRY_MS = 5000
#: Smallest step of the progress, which must grow with each notification.
_LEAST = 0.001


@dataclass(frozen=True)
class Wait:
    """A wait for a job."""

    job: Job
    forecast: Forecast
    #: Longest wait, seconds.
    wait_s: float
    #: Whether the call has made the job: it is stopped if the client gives up.
    makes_job: bool = False

    def result(self, job: Job) -> dict[str, Any]:
        """Return the result of the call when the wait ends."""
        forecast = self.forecast if job is self.job else None
        return job_result(job, forecast, is_outcome=self.makes_job)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.job.state.is_terminal or not self.wait_s


class _HungUp(Exception):
    """The client has closed its connection, which stops the job."""


def respond(call: Call, wait: Wait) -> Response:
    """Return the response to a call that waits for a job."""
    if not wait.is_over and "text/event-stream" in request.headers.get("Accept", ""):
        return stream(call, wait, time.time() + wait.wait_s)
    job = wait.job if wait.is_over else _waited(call, wait)
    return json_response(json_body(result_message(call.message.request_id, call.result(wait.result(job)))))


def stream(call: Call, wait: Wait, until: float) -> Response:
    """Return the response as an event stream. ``until``: when it ends at the latest, seconds since 1970."""
    return event_stream(stream_with_context(_Stream(call, wait, until).events()))


def _waited(call: Call, wait: Wait) -> Job:
    """Return the job at the end of the wait."""
    hung_up = _hung_up_check(call, wait)

    def check() -> None:
        if hung_up():
            raise _HungUp

    try:
        with waiting.listening(wait.job.job_id) as listener:
            job = current_jobs().get(wait.job.job_id)
            return waiting.wait_until_over(job, wait.wait_s, listener, check, LOOK_S)
    except _HungUp:
        return dispatcher().cancel(wait.job.job_id)[0]


def _hung_up_check(call: Call, wait: Wait) -> Any:
    """Return a function that tells whether the client has given up the job."""
    return waiting.hung_up() if call.is_stateless and wait.makes_job else lambda: False


class _Stream:
    """The events of one response."""

    def __init__(self, call: Call, wait: Wait, until: float) -> None:
        self._call, self._wait = call, wait
        self._deadline = time.monotonic() + min(MAX_WAIT_S, max(0.0, until - time.time()))
        self._place = "" if call.is_stateless else Place.of(call, wait.job.job_id, until, wait.makes_job).text()
        self._has_hung_up = _hung_up_check(call, wait)
        self._progress, self._said = -_LEAST, ""

    def events(self) -> Iterator[str]:
        """Yield the events: progress, and in the end the response."""
        yield from self._beginning()
        try:
            yield from patiently(hub().start)
            job = yield from self._until_over()
        except _HungUp:
            dispatcher().cancel(self._wait.job.job_id)
            return
        except JobNotFound as exc:
            yield self._event(self._response(error_result(exc)))
            return
        if (yield from patiently(auth.still_valid)):
            yield (yield from patiently(partial(self._end, job)))

    def _until_over(self) -> Any:
        """Yield what happens until the job is over or the time has passed; return the job."""
        job_id, silent_since = self._wait.job.job_id, time.monotonic()
        with waiting.listening(job_id) as listener:
            while True:
                job = yield from patiently(lambda: current_jobs().get(job_id))
                if text := (yield from patiently(partial(self._news, job))):
                    silent_since = time.monotonic()
                    yield text
                if job.state.is_terminal or time.monotonic() >= self._deadline:
                    return job
                if self._has_hung_up():
                    raise _HungUp
                if time.monotonic() > silent_since + KEEPALIVE_S:
                    silent_since = time.monotonic()
                    yield ": still here\n\n"
                try:
                    listener.get(min(LOOK_S, self._deadline - time.monotonic()))
                except queue.Empty:
                    continue

    def _beginning(self) -> Iterator[str]:
        """Yield the id of the stream, with which a client can resume it before anything has happened."""
        if self._place and self._call.version >= KNOWS_EMPTY_EVENTS:
            yield f"id: {self._place}\nretry: {RETRY_MS}\ndata: \n\n"
        else:
            yield ": waiting\n\n"

    def _news(self, job: Job) -> str:
        """Return the event about the job's progress; '' if there is nothing new, or the client wants none."""
        token = self._call.progress_token
        if token is None:
            return ""
        said = progress_text(job, forecast_of(job))
        if said == self._said or job.state.is_terminal:
            return ""
        self._said, self._progress = said, round(max(float(job.step or 0), self._progress + _LEAST), 3)
        # Storing the files counts as one more step.
        params = {"progressToken": token, "progress": self._progress, "total": job.steps + 1}
        message = f"job {job.job_id}: {said}"
        return self._event(notification("notifications/progress", {**params, "message": message}))

    def _end(self, job: Job) -> str:
        try:
            result = self._wait.result(job)
        except FramemillError as exc:
            result = error_result(exc)
        return self._event(self._response(result))

    def _response(self, result: dict[str, Any]) -> dict[str, Any]:
        return result_message(self._call.message.request_id, self._call.result(result))

    def _event(self, message: dict[str, Any]) -> str:
        place = f"id: {self._place}\n" if self._place else ""
        return f"{place}event: message\ndata: {json_body(message).decode().strip()}\n\n"
