"""From the record to Celery: send, revoke, announce. What the API may do with Celery is all here."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from celery.exceptions import CeleryError
from kombu.exceptions import KombuError, OperationalError

from jobs import moderation
from jobs.callers import Caller
from jobs.errors import Conflict, DuplicateJob, JobNotFound, Unavailable
from jobs.forecast import Forecast
from jobs.record import Job, new_job_id
from jobs.slots.slot import Redelivery
from jobs.states import JobState
from jobs.store import queries
from jobs.submission import Accepted, Submission
from tasks.celery_app import DELIVER, GENERATE, app
from tasks.runtime import STOP_SIGNAL, settings, store

logger = logging.getLogger(__name__)

#: What publishing raises when Redis is away. The record stands; the sweep sends again.
_AWAY = (OperationalError, KombuError, CeleryError, OSError)

#: Header of a delivery's message: the worker that computed the job.
COMPUTED_BY = "computed_by"


def submit(submission: Submission, job_id: str, *, chosen_by_client: bool) -> tuple[Job, Forecast]:
    """Accept a job and, if a slot is free, send it.

    Returns:
        The job as it was accepted (or the earlier one, for a repeated idempotency key), and where it stands.

    Raises:
        DuplicateJob, IdempotencyMismatch: the client's own id or idempotency key was used before.
        ModerationRefused: its prompt is refused.
        QueueFull, ServiceBusy, Unavailable: not accepted.
    """
    moderation.check_prompts(submission.request, settings(), moderate=submission.moderate)
    try:
        accepted = store().submit(job_id, submission)
    except DuplicateJob:
        if chosen_by_client:
            raise
        accepted = Accepted(job_id, repeated=True)  # our own id: the first try arrived, its answer was lost
    if accepted.repeated:
        return store().get(accepted.job_id), store().forecast(accepted.job_id)[0]
    queue = submission.pin or "waiting room"
    announce("task-sent", job_id, name=GENERATE, args=f"('{job_id}',)", kwargs="{}", queue=queue)
    job = Job(
        job_id=job_id,
        state=JobState.QUEUED,
        request=submission.request,
        warnings=submission.warnings,
        created_at_ms=accepted.created_at_ms,
        slot=next((binding.slot for binding in accepted.bindings if binding.job_id == job_id), None),
        pin=submission.pin,
        steps=submission.request.total_steps,
        key_id=submission.caller.key_id,
        job_class=submission.job_class or submission.caller.job_class,
        priority=submission.priority,
        command=submission.command,
        protocol=submission.protocol,
        path=accepted.path,
        preview=submission.preview,
        retention=submission.retention or submission.caller.retention or settings().retention,
    )
    return job, accepted.forecast


def send_delivery(delivery: Redelivery) -> None:
    """Ask a host's ``io`` workers to deliver what lies in its spool."""
    headers = {COMPUTED_BY: _worker()}
    args, queue = (delivery.job_id, delivery.attempt), f"io@{delivery.node}"
    try:
        app.send_task(DELIVER, args, queue=queue, retry=False, ignore_result=True, headers=headers)
    except _AWAY as exc:
        logger.warning("delivery not sent, the sweep will", extra={"job_id": delivery.job_id, "error": repr(exc)})


def sweep(owner: str) -> None:
    """Heal what died, unless another process did so within the last heartbeat. Raises: Unavailable."""
    found = store().sweep(owner)
    if found is None:
        return
    for slot in found.lost_slots:
        logger.warning("slot lost: its lease lapsed", extra={"slot": slot})
    for job_id, state in found.ended:
        announce("task-expired" if state == "expired" else "task-failed", job_id, exception=state)
    for delivery in found.redeliveries:
        send_delivery(delivery)


def cancel(job_id: str) -> tuple[Job, bool]:
    """Stop one job, wherever it is.

    The record decides (it is terminal when this returns); the revocation only makes a running worker look.

    Returns:
        The job as it is now, and whether this call changed it.

    Raises:
        JobNotFound, Unavailable.
    """
    changed, slot, _ = store().cancel(job_id)
    if changed and slot:
        _revoke(job_id)
    elif changed:
        announce("task-revoked", job_id, terminated=False, signum=None, expired=False)
    return store().get(job_id), changed


def _revoke(job_id: str) -> None:
    try:
        app.control.revoke(job_id, terminate=True, signal=STOP_SIGNAL.name)
    except _AWAY as exc:
        # The run stops anyway: its next report finds the record closed.
        logger.warning("revocation not sent", extra={"job_id": job_id, "error": repr(exc)})


def cancel_all(caller: Caller, *, waiting: bool = False) -> list[str]:
    """Stop every job of the caller (an admin: of all) that is being computed, those included that were just sent to a
    worker; with ``waiting`` also those that wait or are being delivered. A service of one slot stops that slot's only.

    Returns:
        The ids this call stopped.
    """
    own = settings().service_slot
    ids = store().room(own).active
    if waiting:
        ids += queries.ids_in_state(store(), JobState.QUEUED, key_id=caller.scope)
    jobs = filter(None, (queries.find(store(), job_id) for job_id in dict.fromkeys(ids)))
    meant = [
        job.job_id
        for job in jobs
        if caller.owns(job.key_id)
        and (not own or own in (job.slot, job.pin))
        and (waiting or job.state is not JobState.DELIVERING)
    ]
    return [job_id for job_id in meant if cancel(job_id)[1]]


def delete(job_id: str) -> str:
    """Delete a job with its files; one that is not over is stopped first.

    Returns:
        ``deleted``, ``held`` (it goes as soon as its worker has stopped) or ``gone`` (it was deleted before).

    Raises:
        JobNotFound, Unavailable.
    """
    outcome = store().purge(job_id)
    if outcome == "live":
        with suppress(JobNotFound):  # somebody else deletes it too
            cancel(job_id)
        outcome = store().purge(job_id)
    return outcome


def resend(job_id: str, caller: Caller) -> tuple[Job, Forecast]:
    """Run a job that did not succeed once more, as a new job (what is terminal stays so).

    Raises:
        JobNotFound, QueueFull, Unavailable.
        Conflict: it is not over, or it succeeded.
    """
    old = store().get(job_id)
    if not old.state.is_terminal or old.state is JobState.SUCCEEDED:
        raise Conflict(f"the job is {old.state}; only a failed, cancelled or expired one can be sent again")
    submission = Submission(
        request=old.request, warnings=old.warnings, pin=old.pin, caller=replace(caller, key_id=old.key_id),
        protocol=old.protocol, job_class=old.job_class, priority=old.priority, retry_of=job_id,
        max_run_s=old.max_run_s or 0, retention=old.retention, webhook=old.webhook or False, moderate=old.moderate,
        command=old.command, preview=old.preview, max_silence_s=old.max_silence_s,
    )  # fmt: skip
    answer = submit(submission, new_job_id(), chosen_by_client=False)
    store().bury(job_id)
    return answer


def move_to_front(job_id: str) -> None:
    """Raises: JobNotFound, Conflict, Unavailable."""
    store().move_to_front(job_id)


def pause(slot: str, *, resume: bool = False) -> None:
    """Give a slot (``*``: all) no more jobs, or again. Raises: Unavailable."""
    store().pause(slot, resume=resume)


def announce(event: str, job_id: str, **fields: Any) -> None:
    """Tell event listeners (Flower) about a job where no worker does: waiting, cancelled while waiting, delivered."""
    if not _watched(int(time.monotonic())):
        return
    try:
        with app.events.default_dispatcher(hostname=_worker() or f"api@{settings().node}") as dispatcher:
            dispatcher.send(event, uuid=job_id, **{"name": GENERATE, **fields})  # it may be the first they hear of it
    except _AWAY as exc:
        logger.debug("event not sent", extra={"event": event, "job_id": job_id, "error": repr(exc)})


@lru_cache(maxsize=1)
def _watched(second: int) -> bool:
    """Whether to send events at all; looked up once a second."""
    try:
        return store().is_watched()
    except Unavailable:
        return False


def _worker() -> str | None:
    """The Celery worker that an event of this process belongs to: the one that computed, else the one that runs."""
    task = app.current_worker_task
    if task is None:
        return None
    return str(task.request.get(COMPUTED_BY) or task.request.hostname)
