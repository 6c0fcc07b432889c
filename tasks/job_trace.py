"""The spans of a job: of the time in the queue and of each run. All are children of the request that submitted it.

``queued`` and ``run`` are made when the run ends, by the process that ran it. What a process that died could not report
is in the record (``lost_runs``); the next run that ends reports it, or who ends the job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec

from jobs.process import tracing
from jobs.record import Job
from jobs.requests.custom import EndpointRequest

logger = logging.getLogger(__name__)


P = ParamSpec("P")


def _harmless(report: Callable[P, None]) -> Callable[P, None]:
    """Return a report that fails without harm to the job that it is about."""

    @wraps(report)
    def harmless(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            report(*args, **kwargs)
        except Exception:
            logger.exception("a trace could not be reported")

    return harmless


@_harmless
def run_ended(job: Job, attempt: int, *, outcome: str, error: str = "", events: Iterable[tracing.Event] = ()) -> None:
    """Report a run that ends now, the time that its job waited for it, and runs that were lost before.

    Args:
        job: as the run began.
        attempt: its number.
        outcome: how the run ended, one or two words.
        error: code of the error, '' without one.
        events: stages and steps of the run.
    """
    if not (job.trace and tracing.is_on()) or job.started_at_ms is None:
        return
    _report_lost(job)
    _queued(job, _waited_since(job), job.started_at_ms, attempt)
    _run(job, job.started_at_ms, _now_ms(), attempt, job.slot, outcome=outcome, error=error, events=events)


@_harmless
def job_ended(job: Job) -> None:
    """Report what no process of a run has reported about a job that is over: a worker over HTTP reports none.

    Args:
        job: its final record.
    """
    if not (job.trace and tracing.is_on()):
        return
    code, ended_ms = job.error["code"] if job.error else "", job.finished_at_ms or _now_ms()
    if job.started_at_ms is None:
        _report_lost(job)
        _queued(job, _waited_since(job), ended_ms, job.attempt, outcome=str(job.state), error=code)
    elif isinstance(job.request, EndpointRequest) or code == "worker_lost":
        _report_lost(job)
        _queued(job, _waited_since(job), job.started_at_ms, job.attempt)
        _run(job, job.started_at_ms, ended_ms, job.attempt, job.slot, outcome=str(job.state), error=code)


@_harmless
def delivered(job: Job, attempt: int, started_ms: int, *, outcome: str) -> None:
    """Report one try to deliver the outputs of an attempt, which ends now."""
    tracing.record(
        "deliver", job.trace, started_ms, _now_ms(), {
            **_about(job, attempt),
            "framemill.outcome": outcome,
            "framemill.outputs": len(job.outputs),
            "framemill.bytes": sum(output.bytes for output in job.outputs),
        }, kind="CONSUMER", error=outcome if outcome == "failed" else "",
    )  # fmt: skip


def _report_lost(job: Job) -> None:
    for queued_ms, started_ms, ended_ms, attempt, slot in job.lost_runs:
        _queued(job, queued_ms, started_ms, attempt)
        _run(job, started_ms, ended_ms, attempt, slot, outcome="lost", error="worker_lost")


def _queued(job: Job, start_ms: int, end_ms: int, attempt: int, *, outcome: str | None = None, error: str = "") -> None:
    about = {**_about(job, attempt), "framemill.outcome": outcome}
    tracing.record("queued", job.trace, start_ms, end_ms, about, error=error)


def _run(
    job: Job, start_ms: int, end_ms: int, attempt: int, slot: str | None, *, outcome: str, error: str,
    events: Iterable[tracing.Event] = (),
) -> None:  # fmt: skip
    tracing.record(
        "run", job.trace, start_ms, end_ms, {
            **_about(job, attempt),
            "framemill.slot": slot,
            "framemill.device": job.device,
            "framemill.steps": job.request.total_steps,
            "framemill.outcome": outcome,
            "error.type": error or None,
        }, kind="CONSUMER", error=error, events=events,
    )  # fmt: skip


def _about(job: Job, attempt: int) -> dict[str, str | int]:
    return {
        "framemill.job_id": job.job_id, "framemill.attempt": attempt, "framemill.key": job.key_id,
        "framemill.model": job.request.model, "framemill.kind": str(job.request.kind),
        "framemill.protocol": job.protocol,
    }  # fmt: skip


def _waited_since(job: Job) -> int:
    """Return when the job began to wait for its last run."""
    return job.queued_at_ms or job.created_at_ms


def _now_ms() -> int:
    return int(time.time() * 1000)
