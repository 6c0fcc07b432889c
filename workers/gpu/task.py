"""The task of a GPU queue: compute one attempt of one job."""

from __future__ import annotations

from jobs.slots.slot import Redelivery
from tasks.celery_app import GENERATE, app
from tasks.runtime import dispatcher, settings
from workers.parent.request import JobRequest


@app.task(name=GENERATE, Request=JobRequest)
def generate(job_id: str, attempt: int) -> str:
    """Compute an attempt in the pool's child, the only process that imports torch.

    Returns:
        How the attempt ended, for the log.
    """
    from workers.gpu.run import run

    outcome = run(job_id, attempt)
    if outcome.needs_delivery:
        dispatcher().send_delivery(Redelivery(job_id, attempt, settings().node))
    elif outcome.succeeded:
        dispatcher().announce("task-succeeded", job_id, result="no outputs", runtime=0.0)
    elif outcome.failure:
        dispatcher().announce("task-failed", job_id, exception=outcome.failure)
    return outcome.ended
