"""The task of an ``io`` queue: encode computed frames, store them, publish the result."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobs.errors import FramemillError, ModerationRefused, ObjectNotFound, Unavailable
from jobs.files import spool
from jobs.record import Job
from jobs.store.queries import find
from tasks.celery_app import DELIVER, app
from tasks.runtime import dispatcher, settings, store

logger = logging.getLogger(__name__)

#: Deliveries that may fail for another reason than a store that is away.
MAX_FAILURES = 4
#: Pause before the next try, seconds; doubled each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
#: … while the object store is away, seconds: one delivery of the host tries it for all, so it may do so often.
LONGEST_AWAY_S = 5.0


@contextmanager
def _renewed(job_id: str, attempt: int, owner: str) -> Iterator[None]:
    """Keep the claim while the work takes its time."""
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


def _runtime_s(job: Job | None) -> float:
    """From the start of the run to the published result, seconds."""
    return ((job.finished_at_ms or 0) - (job.started_at_ms or 0)) / 1000 if job else 0.0


def _failed(job_id: str, attempt: int, *, code: str, message: str) -> str:
    store().until_written(lambda: store().fail(job_id, attempt, code=code, message=message))
    spool.remove(settings(), job_id, attempt)
    dispatcher().announce("task-failed", job_id, exception=f"{code}: {message}")
    return "failed"


@app.task(name=DELIVER, ignore_result=True)
def deliver(job_id: str, attempt: int) -> str:
    """Deliver one attempt. Sent again by the sweep until the job is terminal; a repeat does no harm."""
    owner = f"{os.getpid()}:{secrets.token_hex(4)}"
    number = store().claim(job_id, attempt, owner)
    if not number:
        return "not due"
    from workers.delivery import deliver as worker  # numpy and the encoders are imported in the child only

    try:
        with _renewed(job_id, attempt, owner):
            outputs = worker.encode_and_store(store(), job_id, attempt, number)
    except ObjectNotFound:
        logger.warning("frames are gone, the job runs again", extra={"job_id": job_id, "attempt": attempt})
        store().recompute(job_id, attempt)
        return "recompute"
    except ModerationRefused as exc:
        return _failed(job_id, attempt, code=exc.code, message=exc.message)
    except Exception as exc:
        away = isinstance(exc, Unavailable)
        pause_s = min(LONGEST_AWAY_S if away else LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(number - 1, 10))
        logger.warning(
            "delivery failed", exc_info=not isinstance(exc, FramemillError),
            extra={"job_id": job_id, "delivery": number, "error": repr(exc), "again_in_s": pause_s},
        )  # fmt: skip
        if store().defer(job_id, attempt, owner, pause_s, away=away) < MAX_FAILURES:
            return "deferred"
        return _failed(job_id, attempt, code="delivery_failed", message=f"the output could not be stored: {exc}")
    published = store().until_written(lambda: store().deliver(job_id, attempt, owner, outputs))
    job = find(store(), job_id)
    if job is None or job.state.is_terminal:
        spool.remove(settings(), job_id, attempt)  # not when stale: another delivery may be reading it
    if published:
        files = ", ".join(output.media_type for output in outputs)
        dispatcher().announce("task-succeeded", job_id, result=files, runtime=_runtime_s(job))
    else:
        worker.retract(outputs)
    logger.info("delivered" if published else "delivery was stale", extra={"job_id": job_id, "attempt": attempt})
    return "delivered" if published else "stale"
