"""Waiting for a job: long polls, and answers that come when it is over."""

from __future__ import annotations

import math
import queue
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from flask import request

from app.events import Listener
from app.extensions import hub, store
from jobs.errors import InvalidRequest, Problem
from jobs.record import Job
from jobs.states import JobState

#: Longest wait of a long poll, seconds.
MAX_WAIT_S = 60.0


def wanted_wait_s() -> float:
    """``?wait=`` or ``Prefer: wait=``, seconds; 0 when not asked for. Raises: InvalidRequest."""
    text = request.args.get("wait")
    if text is None:
        preferences = [part.strip() for part in request.headers.get("Prefer", "").split(",")]
        text = next((part[5:] for part in preferences if part.startswith("wait=")), "0")
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s < float("inf"):
        raise InvalidRequest(Problem("wait", "must be seconds, 0 or more", text))
    return min(wait_s, MAX_WAIT_S)


def listening(job_id: str) -> AbstractContextManager[Listener]:
    """Listen to a job, before it is submitted, say."""
    return hub().listen(job_id=job_id)


def wait_until_over(
    job: Job, wait_s: float, listener: Listener, look: Callable[[], None] = lambda: None, look_s: float = math.inf
) -> Job:
    """Wait for the end of a job (or for ``wait_s``); the job as it is then.

    A job that is not the listener's (a repeated request is answered with the earlier one) is looked at anew.
    ``look`` is called at least every ``look_s``; what it raises ends the wait.
    """
    deadline = time.monotonic() + wait_s
    if job.job_id != listener.job_id:
        return wait(job, wait_s)
    while not job.state.is_terminal:
        look()
        try:
            event = listener.get(min(look_s, deadline - time.monotonic()))
        except queue.Empty:
            if time.monotonic() >= deadline:
                return store().get(job.job_id)
            continue
        if event is None or JobState(event.fields["state"]).is_terminal:
            job = store().get(job.job_id)
    return job


def wait(job: Job, wait_s: float) -> Job:
    """Wait until the job's state changes (or for ``wait_s``); the job as it is then."""
    if job.state.is_terminal or not wait_s:
        return job
    deadline = time.monotonic() + wait_s
    with listening(job.job_id) as listener:
        now = store().get(job.job_id)  # it may have changed before we listened
        while now.state == job.state:
            try:
                event = listener.get(deadline - time.monotonic())
            except queue.Empty:
                return store().get(job.job_id)
            if event is None or event.fields["state"] != now.state:
                now = store().get(job.job_id)
        return now


def hung_up() -> Callable[[], bool]:
    """Whether the caller of this request has closed its connection, to be asked later.

    Unknown (False) under another server than gunicorn.
    """
    connection = request.environ.get("gunicorn.socket")

    def check() -> bool:
        if connection is None:
            return False
        try:
            readable, _, _ = select.select([connection], [], [], 0)
            return bool(readable) and not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (OSError, ValueError):
            return True

    return check
