"""Celery's ``revoke`` control command, made durable for jobs.

Celery keeps revocations in the memory of workers that happen to listen, and a plain revoke does nothing to a
running task. Here a revoke from anywhere (``celery control``, Flower, ``AsyncResult.revoke()``) first closes the
job's record, so it holds for waiting, running and delivering jobs and survives every restart.
"""

from __future__ import annotations

from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import control

from jobs.errors import FramemillError, JobNotFound
from tasks import dispatch
from tasks.celery_app import store
from tasks.request import STOP_SIGNAL

_revoke = control.Panel.data["revoke"]


@control.control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any) -> Any:
    """Cancel jobs by id (or list of ids); other tasks are revoked as Celery does."""
    jobs: list[str] = []
    others: list[str] = []
    for one in maybe_list(task_id) or []:
        (jobs if _cancel(one) else others).append(one)
    if jobs:
        # Also when plain: the record is closed, so the run must end.
        _revoke(state, jobs, terminate=True, signal=STOP_SIGNAL, **kwargs)
    if others:
        return _revoke(state, others, terminate=terminate, signal=signal, **kwargs)
    return {"ok": f"jobs {', '.join(jobs)} cancelled"}


def _cancel(job_id: str) -> bool:
    """True when it is a job. Only the first worker that hears the command changes anything."""
    try:
        changed, slot, bindings = store().cancel(job_id)
    except JobNotFound:
        return False
    except FramemillError:
        return False
    dispatch.send(bindings)
    if changed and not slot:
        dispatch.announce("task-revoked", job_id, terminated=False, signum=None, expired=False)
    return True
