"""Celery's control commands, changed to suit jobs.

Celery keeps revocations in the memory of the workers that receive them, and a plain revoke does not stop a running
task. Here a revoke from anywhere (``celery control``, Flower, ``AsyncResult.revoke()``) first closes the job's record:
it applies to waiting, running and delivering jobs and survives restarts. The pool of a slot keeps its one process.
"""

from __future__ import annotations

import os
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import control
from celery.worker import state as worker_state

from jobs.errors import FramemillError
from tasks.celery_app import CHECK_RUNS, GENERATE, STOP_SIGNAL
from tasks.runtime import SLOT_VARIABLE, dispatcher, store
from workers.parent.pool import signal_children

_revoke = control.Panel.data["revoke"]
_resize = {name: control.Panel.data[name] for name in ("pool_grow", "pool_shrink")}


@control.control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any) -> Any:
    """Cancel jobs by id (or list of ids); revoke other tasks as Celery does."""
    jobs: list[str] = []
    others: list[str] = []
    for identifier in maybe_list(task_id) or []:
        (jobs if _cancel(state, identifier) else others).append(identifier)
    if jobs:
        # Terminate even on a plain revoke: the record is closed, so the run must end.
        _revoke(state, jobs, terminate=True, signal=STOP_SIGNAL, **kwargs)
    if others:
        return _revoke(state, others, terminate=terminate, signal=signal, **kwargs)
    return {"ok": f"jobs {', '.join(jobs)} cancelled"}


@control.control_command(
    name="terminate", variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]"
)
def terminate(state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
    """Cancel jobs, whichever signal was asked for; terminate other tasks as Celery does."""
    return revoke(state, task_id, terminate=True, signal=signal, **kwargs)


@control.control_command(name=CHECK_RUNS, variadic="job_ids", signature="[id1 [id2 [... [idN]]]]")
def check_runs(state: Any, job_ids: Any, **kwargs: Any) -> Any:
    """Have the runs of these jobs look at their records at once, instead of with their next report."""
    ids = set(maybe_list(job_ids) or [])
    running = [request.id for request in list(worker_state.active_requests) if request.id in ids]
    if running and os.environ.get(SLOT_VARIABLE):
        signal_children(state.consumer.controller, STOP_SIGNAL)
    return {"ok": running}


@control.control_command(name="pool_grow", args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Add processes to the pool. Refused for a slot: two processes would share one GPU."""
    return _resized("pool_grow", state, n, **kwargs)


@control.control_command(name="pool_shrink", args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Remove processes from the pool. Refused for a slot, which has only one."""
    return _resized("pool_shrink", state, n, **kwargs)


def _resized(command: str, state: Any, n: int, **kwargs: Any) -> Any:
    if os.environ.get(SLOT_VARIABLE):
        return {"error": "a GPU slot runs one job at a time, in one process"}
    return _resize[command](state, n=n, **kwargs)


def _cancel(state: Any, job_id: str) -> bool:
    """Return whether the id is a job's. Only the first worker that receives the command changes its record."""
    try:
        changed, slot = store().cancel(job_id)
    except FramemillError:  # unknown, or Redis is away
        return False
    if changed:
        dispatcher().report_ends()
    if changed and not slot:
        fields = {"name": GENERATE, "terminated": False, "signum": None, "expired": False}
        state.consumer.event_dispatcher.send("task-revoked", uuid=job_id, **fields)
    return True
