"""The task of a GPU queue: compute one attempt of one job."""

from __future__ import annotations

import importlib

from jobs.slots import Redelivery
from tasks import dispatch
from tasks.celery_app import GENERATE, app, settings


@app.task(name=GENERATE, Request="tasks.request:JobRequest")
def generate(job_id: str, attempt: int) -> str:
    """Run in the pool's child; torch is imported there and only there.

    Returns:
        How the attempt ended, for the log.
    """
    outcome = importlib.import_module("workers.run").run(job_id, attempt)
    if outcome.computed:
        dispatch.send_delivery(Redelivery(job_id, attempt, settings().node))
    elif outcome.succeeded:
        dispatch.announce("task-succeeded", job_id, result="no outputs", runtime=0.0)
    elif outcome.failure:
        dispatch.announce("task-failed", job_id, exception=outcome.failure)
    return str(outcome.ended)
