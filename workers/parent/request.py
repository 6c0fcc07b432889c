"""How a worker's parent treats a job's message: Celery's request with our rules for stop, loss and success."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import task_revoked
from celery.worker.request import Request
from celery.worker.state import task_ready

from jobs.errors import FramemillError
from tasks.celery_app import STOP_SIGNAL
from tasks.runtime import store

logger = logging.getLogger(__name__)


class JobRequest(Request):
    """Runs in the parent process of a GPU worker."""

    _context: Any  # Celery's; its type stubs leave it out

    def revoked(self) -> bool:
        """Never: the record decides when the run starts. Celery remembers ids, also of jobs not yet submitted."""
        return False

    def acknowledge(self) -> None:
        """Nothing to take off any list: a slot's messages are received without bookkeeping."""
        self.acknowledged = True

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Every revocation stops the job, not the process, whatever signal the operator's tool asked for."""
        super().terminate(pool, STOP_SIGNAL)

    def _announce_revoked(self, reason: str, terminated: bool, signum: int | None, expired: bool) -> None:
        """As Celery does it, but the request stays active until the child has left it.

        A child that never does is killed by the keeper, which must see until then that the run has a process.
        """
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        self.task.backend.mark_as_revoked(self.id, reason, request=self._context, store_result=self.store_errors)
        task_revoked.send(self.task, request=self._context, terminated=terminated, signum=signum, expired=expired)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The child died, or the task itself broke: the record decides whether the job runs again.

        What a job can do wrong never comes here, :func:`workers.gpu.run.run` records it.
        """
        exc = getattr(exc_info.exception, "exc", exc_info.exception)
        task_ready(self)
        job_id, attempt = self.args[:2]
        try:
            state, _ = store().lose(job_id, attempt)
        except FramemillError:
            # Redis is away; the slot keeper finds a job without a process on its next beat.
            logger.warning("worker process lost, not yet recorded", extra={"job_id": job_id})
            return None
        logger.warning("attempt lost", extra={"job_id": job_id, "attempt": attempt, "error": repr(exc), "state": state})
        if state == "queued":
            self.send_event("task-retried", exception=repr(exc))
        elif state == "failed":
            self.send_event("task-failed", exception=repr(exc))
        return None

    def send_event(self, type: str, **fields: Any) -> None:
        """The end of the computation is not the end of the job: delivery announces its success."""
        if type != "task-succeeded":
            super().send_event(type, **fields)
