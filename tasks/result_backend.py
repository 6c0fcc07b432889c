"""The result backend: a job's record read and written as a Celery result.

``AsyncResult(job_id)``, Flower's result pages and ``.get()`` read the very record the API shows. What Celery
itself would write about a job is passed to the record's own rules or dropped: the record is written by the
scripts of ``jobs/store/lua`` alone, so a late SUCCESS can never replace a REVOKED. What is no job has no result.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from celery.contrib.abortable import ABORTED
from kombu.utils.encoding import bytes_to_str

from jobs.errors import JobNotFound
from jobs.record import Job
from jobs.states import JobState, celery_state
from jobs.store.jobs import RECORD_PREFIX, JobStore
from tasks import runtime


class JobBackend(RedisBackend):
    """Celery's Redis backend over the job records."""

    task_keyprefix = RECORD_PREFIX
    READY_STATES = states.READY_STATES | {"EXPIRED"}
    EXCEPTION_STATES = states.EXCEPTION_STATES | {"EXPIRED"}
    PROPAGATE_STATES = states.PROPAGATE_STATES | {"EXPIRED"}

    @property
    def jobs(self) -> JobStore:
        return runtime.store()

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Celery subscribes to every task it sends; ``.get()`` subscribes by itself."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Celery's write. Only a wish to stop means something; the rest the record knows better."""
        if state in (states.REVOKED, ABORTED):
            with suppress(JobNotFound):
                runtime.dispatcher().cancel(task_id)
        return result

    def get_task_meta_for_job(self, job: Job) -> dict[str, Any]:
        """A record as Celery's result meta."""
        reported = job.stage is not None
        return {
            "task_id": job.job_id,
            "status": celery_state(job.state, reported=reported),
            "result": _result(job),
            "traceback": None,
            "children": [],
            "date_done": job.finished_at_ms and _iso(job.finished_at_ms),
        }

    def _get_task_meta_for(self, task_id: str) -> Any:
        return self.meta_from_decoded(self._meta(task_id))

    def _meta(self, task_id: str) -> dict[str, Any]:
        try:
            return self.get_task_meta_for_job(self.jobs.get(task_id))
        except JobNotFound:
            return {"task_id": task_id, "status": states.PENDING, "result": None}

    def mget(self, keys_: list[Any]) -> list[Any]:
        """A ``ResultSet`` reads several results at once, as Celery would have stored them."""
        return [self.encode(self._meta(bytes_to_str(key).removeprefix(RECORD_PREFIX))) for key in keys_]

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:
        """Uncached: a record changes between any two looks, its terminal state included in the result."""
        return self._get_task_meta_for(task_id)

    def decode_result(self, payload: Any) -> Any:
        """An event of a job's channel stands for the record as it is now."""
        if isinstance(payload, bytes | str):
            event = json.loads(payload)
            if isinstance(event, dict) and "state" in event and "status" not in event:
                return self._get_task_meta_for(event["task_id"])
        return super().decode_result(payload)

    def forget(self, task_id: str) -> None:
        """A record leaves by its time to live; forgetting a result must not lose a job."""


def _result(job: Job) -> dict[str, Any]:
    """What ``AsyncResult.info`` shows."""
    if job.state is JobState.SUCCEEDED:
        return {"outputs": [asdict(output) for output in job.outputs], "attempt": job.starts, "device": job.device}
    if job.state is JobState.FAILED:
        error = job.error or {}
        return {
            "exc_type": "JobError",
            "exc_module": "jobs.errors",
            "exc_message": [error.get("message", ""), error.get("code", "job_failed")],
        }
    if job.state is JobState.CANCELLED:
        return {"exc_type": "TaskRevokedError", "exc_module": "celery.exceptions", "exc_message": ["cancelled"]}
    if job.state is JobState.EXPIRED:
        return {
            "exc_type": "JobError",
            "exc_module": "jobs.errors",
            "exc_message": ["not started before its deadline", "expired"],
        }
    return {
        "stage": job.stage,
        "step": job.step or 0,
        "steps": job.steps,
        "percent": job.percent,
        "eta_s": job.run_eta_s,
        "slot": job.slot,
        "device": job.device,
        "attempt": job.starts,
    }


def _iso(time_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
