"""Wait for jobs: long polls, and responses that are sent when a job has finished."""

from __future__ import annotations

import math
import queue
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from flask import request

from app.events.hub import Listener
from app.extensions import current_jobs, hub
from app.fields import query_of
from jobs.errors import InvalidRequest, Problem
from jobs.record import Job
from jobs.states import JobState
from jobs.store.events import Event

#: Longest wait of a long poll, seconds.
MAX_WAIT_S = 60.0


def requested_wait_s() -> float:
    """Return ``?wait=`` or ``Prefer: wait=`` in seconds, 0 without either. Raises: InvalidRequest."""
    text = query_of(request).get("wait")
    if text is None:
        text = next((part[5:] for part in preferences() if part.startswith("wait=")), "0")
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s < float("inf"):
        raise InvalidRequest(Problem("wait", "must be seconds, 0 or more", text))
    return min(wait_s, MAX_WAIT_S)


def preferences() -> list[str]:
    """Return the parts of the header ``Prefer`` of the current request (RFC 7240)."""
    return [part.strip() for part in request.headers.get("Prefer", "").split(",")]


def listening(job_id: str) -> AbstractContextManager[Listener]:
    """Listen to the events of a job, which need not have been submitted yet."""
    return hub().listen(job_id=job_id)


def wait_until_over(
    job: Job,
    wait_s: float,
    listener: Listener,
    check: Callable[[], None] = lambda: None,
    check_interval_s: float = math.inf,
) -> Job:
    """Wait until a job has finished, at most ``wait_s`` seconds.

    Args:
        job: as it was last read.
        wait_s: longest wait, seconds.
        listener: opened before the job was read. If it listens to another job (a repeated request gets the earlier
            job), a listener of the right job is opened.
        check: called at least every ``check_interval_s`` seconds. An exception that it raises ends the wait.
        check_interval_s: seconds between two calls of ``check``.

    Returns:
        The job as it is after the wait.
    """
    deadline = time.monotonic() + wait_s
    if job.job_id != listener.job_id:
        return wait(job, wait_s)
    while not job.state.is_terminal:
        check()
        try:
            event = listener.get(min(check_interval_s, deadline - time.monotonic()))
        except queue.Empty:
            if time.monotonic() >= deadline:
                return current_jobs().get(job.job_id)
            continue
        if event is None or JobState(event.fields["state"]).is_terminal:
            job = job_after(event, job.job_id)
    return job


def wait(job: Job, wait_s: float) -> Job:
    """Wait until a job's state changes, at most ``wait_s`` seconds; return the job as it is then."""
    if job.state.is_terminal or not wait_s:
        return job
    deadline = time.monotonic() + wait_s
    with listening(job.job_id) as listener:
        current = current_jobs().get(job.job_id)  # it may have changed before the listener was opened
        while current.state == job.state:
            try:
                event = listener.get(deadline - time.monotonic())
            except queue.Empty:
                return current_jobs().get(job.job_id)
            if event is None or event.fields["state"] != current.state:
                current = job_after(event, job.job_id)
        return current


def job_after(event: Event | None, job_id: str) -> Job:
    """Return a job as it is after an event, read once for all who wait for it; None stands for missed events.

    Raises:
        JobNotFound: it was deleted.
    """
    jobs = current_jobs()  # the caller that reads the job does so for requests whose context it does not have
    return hub().shared.get(("job", event), lambda: jobs.after(event)) if event else jobs.get(job_id)


def hung_up() -> Callable[[], bool]:
    """Return a function that tells whether the caller of this request has closed its connection.

    Servers other than gunicorn do not offer the connection; the function then returns False.
    """
    connection = request.environ.get("gunicorn.socket")
    if is_gone := getattr(connection, "is_gone", None):  # a connection of our worker for gunicorn
        return cast("Callable[[], bool]", is_gone)

    def check() -> bool:
        if connection is None:
            return False
        try:
            readable, _, _ = select.select([connection], [], [], 0)
            return bool(readable) and not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (OSError, ValueError):
            return True

    return check
