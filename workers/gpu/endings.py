"""How an attempt ends: written to its record, in the log, in its trace, and as Celery events."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobs.errors import FramemillError, RunInterrupted
from jobs.files import spool
from jobs.record import Job
from jobs.slots.slot import Redelivery
from jobs.states import JobState
from tasks import job_trace
from tasks.job_log import log_end_of_run
from tasks.runtime import dispatcher, settings, store
from workers.gpu import failures
from workers.gpu.slot_process import slot_process
from workers.pipelines.device_errors import release_tensors
from workers.remote.base import HandBack
from workers.reporting.run_events import RunEvents

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Computed:
    """The result of one attempt."""

    #: Without loading, seconds.
    run_s: float
    #: Host whose spool holds the outputs; '' if there are none.
    node: str = ""
    #: Result of a model command.
    report: dict[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    #: One word or two for the log.
    ended: str
    #: Whether outputs wait in the spool for delivery.
    needs_delivery: bool = False
    #: Whether the job has succeeded, without anything to deliver.
    succeeded: bool = False
    #: Error code and message if the job has failed.
    failure: str = ""
    #: Duration of the computation without loading, seconds, if it succeeded.
    run_s: float | None = None

    @property
    def ending(self) -> JobState | None:
        """The final state that only this process reports; None if the job goes on, or if its end is listed."""
        given_up = self.failure and self.ended == "handed back"
        return JobState.SUCCEEDED if self.succeeded else JobState.FAILED if given_up else None


def cancelled(job_id: str, attempt: int) -> Outcome:
    """The attempt was stopped from outside."""
    store().until_written(lambda: store().release(job_id, attempt, slot=slot_process().slot))
    return Outcome("cancelled")


def interrupted(job_id: str, attempt: int, exc: RunInterrupted) -> Outcome:
    """The attempt gives its slot back, to go on later."""
    hand_over = partial(store().hand_over, job_id, attempt, slot=slot_process().slot, pauses=exc.pauses)
    store().until_written(hand_over)
    return Outcome("interrupted")


def handed_back(job_id: str, attempt: int, exc: HandBack) -> Outcome:
    """The slot cannot compute the attempt now."""
    hand_back = partial(
        store().hand_back, job_id, attempt, slot=slot_process().slot, counted=exc.counted, why=str(exc)
    )  # fmt: skip
    state = store().until_written(hand_back)
    return Outcome("handed back", failure=f"worker_lost: {exc}" if state == "failed" else "")


def failed(job_id: str, attempt: int, exc: Exception) -> Outcome:
    """The attempt failed, and with it the job."""
    (code, message), cause = failures.explain(exc), failures.cause_of(exc)
    logger.error("run failed", exc_info=not isinstance(exc, FramemillError), extra={"job_id": job_id, "code": code})
    release_tensors(exc)
    fail = partial(store().fail, job_id, attempt, code=code, message=message, slot=slot_process().slot, cause=cause)
    still_owned = store().until_written(fail)
    return Outcome("failed", failure=f"{code}: {message}" if still_owned else "")


def computed(job_id: str, attempt: int, result: Computed) -> Outcome:
    """The attempt is computed; its outputs are in the spool."""
    write = partial(
        store().finish_run, job_id, attempt, slot=slot_process().slot, node=result.node, run_s=result.run_s,
        blocked=spool.full(settings()) if result.node else "", report=result.report,
    )  # fmt: skip
    still_owned = store().until_written(write)
    if not still_owned:
        return Outcome("stale")
    return Outcome("computed", needs_delivery=bool(result.node), succeeded=not result.node, run_s=result.run_s)


def report(job: Job, attempt: int, outcome: Outcome, begun: float, events: RunEvents | None) -> None:
    """Report an end in the log and in the trace of the job.

    Args:
        job: as the run began.
        attempt: its number.
        outcome: how it ended.
        begun: when it began (monotonic).
        events: what was collected for its trace; None: it has none.
    """
    # The line of the job says the same of a run that has computed it.
    level = logging.DEBUG if outcome.ended == "computed" else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "run ended",
            extra={
                "job_id": job.job_id, "attempt": attempt, "ended": outcome.ended, "model": job.request.model,
                "kind": job.request.kind, "steps": job.request.steps, "run_s": round(time.monotonic() - begun, 3),
                "error": outcome.failure or None,
            },
        )  # fmt: skip
    code = outcome.failure.partition(":")[0]
    if events is not None:
        error = code or ("handed_back" if outcome.ended == "handed back" else "")
        job_trace.run_ended(job, attempt, outcome=outcome.ended, error=error, events=events.list)
    if outcome.ending is not None:
        log_end_of_run(job, outcome.ending, run_s=outcome.run_s, code=code)
    elif outcome.failure:
        dispatcher().report_ends(announced=job.job_id)


def pass_on(job_id: str, attempt: int, outcome: Outcome) -> None:
    """Send the delivery of an attempt that needs one; announce any other end to Celery's listeners."""
    if outcome.needs_delivery:
        dispatcher().send_delivery(Redelivery(job_id, attempt, settings().node))
    elif outcome.succeeded:
        dispatcher().announce("task-succeeded", job_id, result="no outputs", runtime=0.0)
    elif outcome.failure:
        dispatcher().announce("task-failed", job_id, exception=outcome.failure)
