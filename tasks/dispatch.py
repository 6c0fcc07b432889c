"""From the record to Celery: send, revoke, announce. What the API may do with Celery is all here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery.exceptions import CeleryError
from kombu.exceptions import KombuError, OperationalError

from jobs import queries
from jobs.errors import DuplicateJob
from jobs.record import Job, new_job_id
from jobs.requests import GenerationRequest
from jobs.slots import Binding, Redelivery
from jobs.states import JobState
from tasks.celery_app import app, settings, store

logger = logging.getLogger(__name__)

#: What publishing raises when Redis is away. The record stands; the sweep sends again.
_AWAY = (OperationalError, KombuError, CeleryError, OSError)

GENERATE = "tasks.generate"
DELIVER = "tasks.deliver"


def submit(
    request: GenerationRequest, *, job_id: str | None = None, warnings: Iterable[str] = (), pin: str | None = None,
    protocol: str = "native",
) -> Job:  # fmt: skip
    """Accept a job and, if a slot is free, send it.

    Raises:
        DuplicateJob: the client's own id is taken.
        QueueFull, Unavailable: not accepted.
    """
    chosen = job_id or new_job_id()
    try:
        bindings = store().submit(chosen, request, warnings=warnings, pin=pin, protocol=protocol)
    except DuplicateJob:
        if job_id is not None:
            raise
        bindings = []  # our own id: the first try arrived, its answer was lost
    announce("task-sent", chosen, name=GENERATE, args=f"('{chosen}',)", kwargs="{}", queue=pin or "waiting room")
    send(bindings)
    return store().get(chosen)


def send(bindings: Iterable[Binding]) -> None:
    """Send bound jobs to their slots' queues."""
    for binding in bindings:
        _publish(GENERATE, binding.job_id, (binding.job_id, binding.attempt), queue=binding.slot)


def send_delivery(delivery: Redelivery) -> None:
    """Ask a host's ``io`` workers to deliver what lies in its spool."""
    _publish(DELIVER, None, (delivery.job_id, delivery.attempt), queue=f"io@{delivery.node}")


def _publish(task: str, task_id: str | None, args: tuple[Any, ...], *, queue: str) -> None:
    try:
        app.send_task(task, args, task_id=task_id, queue=queue, retry=False, ignore_result=task != GENERATE)
    except _AWAY as exc:
        logger.warning("message not sent, the sweep will", extra={"task": task, "job_id": args[0], "error": repr(exc)})


def cancel(job_id: str) -> tuple[Job, bool]:
    """Stop one job, wherever it is.

    The record decides (it is terminal when this returns); the revocation only makes a running worker look.

    Returns:
        The job as it is now, and whether this call changed it.

    Raises:
        JobNotFound, Unavailable.
    """
    changed, slot, bindings = store().cancel(job_id)
    send(bindings)
    if changed and slot:
        _revoke(job_id)
    elif changed:
        announce("task-revoked", job_id, terminated=False, signum=None, expired=False)
    return store().get(job_id), changed


def _revoke(job_id: str) -> None:
    try:
        app.control.revoke(job_id, terminate=True, signal="SIGUSR2")
    except _AWAY as exc:
        # The run stops anyway: its next report finds the record closed.
        logger.warning("revocation not sent", extra={"job_id": job_id, "error": repr(exc)})


def cancel_running() -> list[str]:
    """Stop every job that is being computed. Returns the ids that this call stopped."""
    return [job_id for job_id in queries.ids_in_state(store(), JobState.RUNNING) if cancel(job_id)[1]]


def announce(event: str, job_id: str, **fields: Any) -> None:
    """Tell event listeners (Flower) about a job where no worker does: waiting, cancelled while waiting, delivered."""
    try:
        with app.events.default_dispatcher(hostname=f"framemill@{settings().node}") as dispatcher:
            dispatcher.send(event, uuid=job_id, **fields)
    except _AWAY as exc:
        logger.debug("event not sent", extra={"event": event, "job_id": job_id, "error": repr(exc)})
