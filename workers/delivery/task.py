"""The task of an ``io`` queue: encode the computed outputs of one attempt, store them, publish the result."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobs.errors import FramemillError, ModerationRefused, ObjectNotFound, Unavailable
from jobs.files import checkpoints, spool
from jobs.process import tracing
from jobs.record import Job, Output
from jobs.store.queries import find
from tasks import job_trace
from tasks.celery_app import DELIVER, app
from tasks.job_log import log_end
from tasks.runtime import dispatcher, settings, store
from workers.broken_process import end_process, has_too_few_descriptors, has_too_little_memory, is_half_imported
from workers.delivery import problems

logger = logging.getLogger(__name__)

#: Pause before the next attempt, seconds; doubled after each failure.
FIRST_PAUSE_S = 2.0


@app.task(name=DELIVER, ignore_result=True)
def deliver(job_id: str, attempt: int) -> str:
    """Deliver one attempt. The sweep sends it again until the job is over; repeating it is harmless.

    Returns:
        How the delivery ended, for the log.
    """
    begun_ms = int(time.time() * 1000)
    try:
        ended = _deliver(job_id, attempt)
        if tracing.is_on() and ended != "not due":
            _trace(job_id, attempt, begun_ms, ended)
        return ended
    except Unavailable as exc:
        logger.warning("not delivered yet: %s", exc.message, extra={"job_id": job_id, "attempt": attempt})
        return "deferred"


def _trace(job_id: str, attempt: int, begun_ms: int, outcome: str) -> None:
    with suppress(Unavailable):
        job = find(store(), job_id)
        if job is not None and job.trace:
            job_trace.delivered(job, attempt, begun_ms, outcome=outcome)


def _deliver(job_id: str, attempt: int) -> str:
    owner = f"{os.getpid()}:{secrets.token_hex(4)}"
    number = store().claim(job_id, attempt, owner)
    if not number:
        return "not due"
    try:
        from workers.delivery.deliver import encode_and_store  # imports numpy and the encoders, only in the child

        with _claim_renewed(job_id, attempt, owner):
            outputs = encode_and_store(store(), job_id, attempt, number)
    except ObjectNotFound:
        logger.warning("frames are gone, the job runs again", extra={"job_id": job_id, "attempt": attempt})
        store().recompute(job_id, attempt)
        dispatcher().report_ends()  # unless it has run too often
        return "recompute"
    except ModerationRefused as exc:
        return _fail(job_id, attempt, code=exc.code, message=exc.message)
    except Exception as exc:
        ended = _defer(job_id, attempt, owner, number, exc)
        if is_half_imported(exc) or has_too_few_descriptors(exc) or has_too_little_memory(exc):
            end_process("too little memory or too few descriptors", exc, job_id=job_id, attempt=attempt)
        return ended
    return _publish(job_id, attempt, owner, outputs)


@contextmanager
def _claim_renewed(job_id: str, attempt: int, owner: str) -> Iterator[None]:
    """Renew the claim on the delivery inside the block."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(settings().leases.delivery_lease_s / 3):
            with suppress(Unavailable):
                store().claim(job_id, attempt, owner)

    thread = threading.Thread(target=renew, name="renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _defer(job_id: str, attempt: int, owner: str, number: int, exc: Exception) -> str:
    """Retry a failed delivery later, unless it has failed too often."""
    problem = problems.of(exc)
    pause_s = min(problem.longest_pause_s, FIRST_PAUSE_S * 2 ** min(number - 1, 10))
    if not problem.away and has_too_little_memory(exc):
        pause_s = problem.longest_pause_s
    logger.log(
        logging.ERROR if problem.needs_operator else logging.WARNING,
        "delivery failed", exc_info=not isinstance(exc, FramemillError),
        extra={"job_id": job_id, "delivery": number, "error": repr(exc), "again_in_s": pause_s},
    )  # fmt: skip
    failures = store().defer(job_id, attempt, owner, pause_s, away=problem.away, why=problem.waiting_for)
    if failures < problem.most_failures:
        return "deferred"
    return _fail(job_id, attempt, code="delivery_failed", message=f"the output could not be stored: {problem.text}")


def _fail(job_id: str, attempt: int, *, code: str, message: str) -> str:
    store().until_written(lambda: store().fail(job_id, attempt, code=code, message=message))
    _remove_files(job_id, attempt)
    dispatcher().report_ends(announced=job_id)
    dispatcher().announce("task-failed", job_id, exception=f"{code}: {message}")
    return "failed"


def _remove_files(job_id: str, attempt: int) -> None:
    """Remove what this host has of a job that is over."""
    spool.remove(settings(), job_id, attempt)
    checkpoints.remove(settings(), job_id)


def _publish(job_id: str, attempt: int, owner: str, outputs: list[Output]) -> str:
    from workers.delivery.deliver import retract

    published = store().until_written(lambda: store().deliver(job_id, attempt, owner, outputs))
    job = find(store(), job_id)
    if published and job is not None:
        log_end(job)
    if job is None or job.state.is_terminal:
        _remove_files(job_id, attempt)  # not if stale: another delivery may be reading it
    if published:
        files = ", ".join(output.media_type for output in outputs)
        # The sweep, which sends a delivery again, does not know the worker.
        worker = f"{job.slot}@{settings().node}" if job and job.slot else ""
        dispatcher().announce("task-succeeded", job_id, worker=worker, result=files, runtime=_runtime_s(job))
    else:
        retract(outputs)
        logger.info("delivery was stale", extra={"job_id": job_id, "attempt": attempt})
    return "delivered" if published else "stale"


def _runtime_s(job: Job | None) -> float:
    """Return the seconds from the start of the run to the published result."""
    return ((job.finished_at_ms or 0) - (job.started_at_ms or 0)) / 1000 if job else 0.0
