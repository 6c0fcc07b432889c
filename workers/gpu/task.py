"""The task of a GPU queue: compute one attempt of one job."""

from __future__ import annotations

from tasks.celery_app import GENERATE, app
from workers.parent.request import JobRequest


@app.task(name=GENERATE, Request=JobRequest)
def generate(job_id: str, attempt: int) -> str:
    """Compute an attempt in the pool's child, the only process that imports torch.

    Returns:
        How the attempt ended, for the log.
    """
    from workers.gpu.endings import pass_on
    from workers.gpu.run import run

    outcome = run(job_id, attempt)
    pass_on(job_id, attempt, outcome)
    return outcome.ended
