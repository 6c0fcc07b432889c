"""The task of an ``io`` queue: encode computed frames, store them, publish the result."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import time

from jobs.errors import FramemillError, ObjectNotFound, Unavailable
from tasks import dispatch
from tasks.celery_app import app, store

logger = logging.getLogger(__name__)

#: Deliveries that may fail for another reason than a store that is away.
MAX_FAILURES = 4
#: Pause before the next try, seconds; doubled each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0


@app.task(name=dispatch.DELIVER, ignore_result=True)
def deliver(job_id: str, attempt: int) -> str:
    """Deliver one attempt. Sent again by the sweep until the job is terminal; a repeat does no harm."""
    owner = f"{os.getpid()}:{secrets.token_hex(4)}"
    number = store().claim(job_id, attempt, owner)
    if not number:
        return "not due"
    worker = importlib.import_module("workers.deliver")
    begun = time.monotonic()
    try:
        outputs = worker.encode_and_store(store(), job_id, attempt)
    except ObjectNotFound:
        logger.warning("frames are gone, the job runs again", extra={"job_id": job_id, "attempt": attempt})
        dispatch.send(store().recompute(job_id, attempt))
        return "recompute"
    except Exception as exc:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1))
        logger.warning(
            "delivery failed", exc_info=not isinstance(exc, FramemillError),
            extra={"job_id": job_id, "delivery": number, "error": repr(exc), "again_in_s": pause_s},
        )  # fmt: skip
        if number >= MAX_FAILURES and not isinstance(exc, Unavailable):
            store().fail(job_id, attempt, code="delivery_failed", message=f"the output could not be stored: {exc}")
            worker.discard(job_id, attempt)
            return "failed"
        store().defer(job_id, attempt, owner, pause_s)
        return "deferred"
    published = store().until_written(lambda: store().deliver(job_id, attempt, owner, outputs))
    if published:
        dispatch.announce("task-succeeded", job_id, result=f"{len(outputs)} outputs", runtime=time.monotonic() - begun)
    else:
        worker.retract(outputs)
    worker.discard(job_id, attempt)
    logger.info("delivered" if published else "delivery was stale", extra={"job_id": job_id, "attempt": attempt})
    return "delivered" if published else "stale"
