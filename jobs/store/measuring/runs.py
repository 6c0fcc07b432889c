"""What is measured of runs, from what the scripts return about them."""

from __future__ import annotations

from jobs.record import Job
from jobs.store.measuring.families import ATTEMPTS, CANCEL, WAIT
from jobs.store.measuring.measures import Measures


def started(measures: Measures, job: Job) -> None:
    """Measure how long a job waited that has been started for the first time. The time of a pause does not count."""
    if job.starts == 1 and not job.command and job.started_at_ms is not None:
        waited_ms = job.started_at_ms - job.created_at_ms - job.paused_ms
        measures.observe(WAIT, job.request.model, seconds=waited_ms / 1000)


def ended(measures: Measures, outcome: str, stopped_ms: int = -1) -> None:
    """Measure how an attempt ended.

    Args:
        measures: of this process.
        outcome: one of :data:`~jobs.store.measuring.families.OUTCOMES`; '' if the script did not end it.
        stopped_ms: milliseconds since it was cancelled, if the script freed its slot; else -1.
    """
    if stopped_ms >= 0:
        outcome = "cancelled"
        measures.observe(CANCEL, seconds=stopped_ms / 1000)
    if outcome:
        measures.count(ATTEMPTS, outcome)
