"""The result backend: Celery results are the job records.

``AsyncResult(job_id)``, its ``.get()`` and Flower's result pages read the record that the API shows. Only the scripts
of ``jobs/store/lua`` write records: a stop that Celery requests goes through them, its other writes are dropped. A
late SUCCESS can therefore never replace a REVOKED. Tasks that are not jobs have no result.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from functools import cached_property
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from celery.contrib.abortable import ABORTED
from kombu.utils.encoding import bytes_to_str

from jobs.errors import JobNotFound, Unavailable
from jobs.job_view import iso
from jobs.record import Job
from jobs.states import JobState, celery_state
from jobs.store.connecting.client import connect
from jobs.store.jobs import RECORD_PREFIX, JobStore
from tasks import runtime

logger = logging.getLogger(__name__)


class JobBackend(RedisBackend):
    """Celery's Redis backend over the job records."""

    task_keyprefix = RECORD_PREFIX
    READY_STATES = states.READY_STATES | {"EXPIRED"}
    EXCEPTION_STATES = states.EXCEPTION_STATES | {"EXPIRED"}
    PROPAGATE_STATES = states.PROPAGATE_STATES | {"EXPIRED"}

    @cached_property
    def client(self) -> Any:
        """The store's way to Redis: TLS, logins and Sentinels are its business. Used for subscriptions only."""
        return connect(runtime.settings())

    @property
    def jobs(self) -> JobStore:
        return runtime.store()

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do not subscribe to every task that is sent; ``.get()`` subscribes itself."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Stop the job if Celery writes that it was revoked or aborted; drop every other write."""
        if state in (states.REVOKED, ABORTED):
            try:
                runtime.dispatcher().cancel(task_id)
            except JobNotFound:
                pass  # a task that is not a job
            except Unavailable as exc:  # Celery's worker would end with it
                logger.warning("job not stopped: %s", exc.message, extra={"job_id": task_id})
        return result

    def get_task_meta_for_job(self, job: Job) -> dict[str, Any]:
        """Return a record as Celery's result meta."""
        reported = job.stage is not None
        return {
            "task_id": job.job_id,
            "status": celery_state(job.state, reported=reported),
            "result": _result(job),
            "traceback": None,
            "children": [],
            "date_done": iso(job.finished_at_ms),
        }

    def _get_task_meta_for(self, task_id: str) -> Any:
        return self.meta_from_decoded(self._meta(task_id))

    def _meta(self, task_id: str) -> dict[str, Any]:
        try:
            return self.get_task_meta_for_job(self.jobs.get(task_id))
        except JobNotFound:
            return {"task_id": task_id, "status": states.PENDING, "result": None}

    def mget(self, keys_: list[Any]) -> list[Any]:
        """Return several results, for ``ResultSet``, in the form in which Celery stores results."""
        return [self.encode(self._meta(bytes_to_str(key).removeprefix(RECORD_PREFIX))) for key in keys_]

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:
        """Return a result, never from the cache: the record may have changed since the last read."""
        return self._get_task_meta_for(task_id)

    def decode_result(self, payload: Any) -> Any:
        """Decode a message; an event of a job's channel is replaced by the present record."""
        if isinstance(payload, bytes | str):
            event = json.loads(payload)
            if isinstance(event, dict) and "state" in event and "status" not in event:
                return self._get_task_meta_for(event["task_id"])
        return super().decode_result(payload)

    def forget(self, task_id: str) -> None:
        """Do nothing: a record is removed by its time to live only."""


def _result(job: Job) -> dict[str, Any]:
    """Return the value of ``AsyncResult.info``."""
    if job.state is JobState.SUCCEEDED:
        return {"outputs": [asdict(output) for output in job.outputs], "attempt": job.starts, "device": job.device}
    if job.state in (JobState.FAILED, JobState.EXPIRED):
        error = job.error or {}
        return {
            "exc_type": "JobError",
            "exc_module": "jobs.errors",
            "exc_message": [error.get("message", ""), error.get("code", "job_failed")],
        }
    if job.state is JobState.CANCELLED:
        return {"exc_type": "TaskRevokedError", "exc_module": "celery.exceptions", "exc_message": ["cancelled"]}
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
