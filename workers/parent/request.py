"""How the parent handles the message of a job: Celery's request, with Framemill's rules for stop, loss and success."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import task_revoked
from celery.worker.request import Request
from celery.worker.state import task_ready

from jobs.errors import FramemillError
from tasks.celery_app import STOP_SIGNAL
from tasks.runtime import dispatcher, store

logger = logging.getLogger(__name__)


class JobRequest(Request):
    """Used in the parent process of a slot's worker."""

    _context: Any  # an attribute of Celery's that its type stubs leave out

    def revoked(self) -> bool:
        """Return False: the record decides when the run starts. Celery remembers ids, even of jobs to come."""
        return False

    def acknowledge(self) -> None:
        """Do nothing but note it: the messages of slots are received without acknowledgement."""
        self.acknowledged = True

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Stop the job, not the process, whichever signal the revocation asks for."""
        super().terminate(pool, STOP_SIGNAL)

    def _announce_revoked(self, reason: str, terminated: bool, signum: int | None, expired: bool) -> None:
        """As in Celery, but the request stays active until the child has left the job.

        If the child never does, the heartbeat thread kills it; until then it must see that the run has a process.
        """
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        self.task.backend.mark_as_revoked(self.id, reason, request=self._context, store_result=self.store_errors)
        task_revoked.send(self.task, request=self._context, terminated=terminated, signum=signum, expired=expired)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Called when the child died or the task raised: the record decides whether the job runs again.

        Errors of a job do not arrive here: ``workers.gpu.run.run`` records them.
        """
        exc = getattr(exc_info.exception, "exc", exc_info.exception)
        task_ready(self)
        job_id, attempt = self.args[:2]
        try:
            state = store().lose(job_id, attempt)
        except FramemillError:
            # Redis is away; the heartbeat thread will find a job without a process.
            logger.warning("worker process lost, not yet recorded", extra={"job_id": job_id})
            return None
        logger.warning("attempt lost", extra={"job_id": job_id, "attempt": attempt, "error": repr(exc), "state": state})
        if state == "queued":
            self.send_event("task-retried", exception=repr(exc))
        elif state == "failed":
            dispatcher().report_ends(announced=job_id)
            self.send_event("task-failed", exception=repr(exc))
        return None

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event, except success: the job succeeds when it has been delivered, and the delivery announces it."""
        if type != "task-succeeded":
            super().send_event(type, **fields)
