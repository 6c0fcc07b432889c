"""Celery's control commands, made safe for jobs.

Celery keeps revocations in the memory of workers that happen to listen, and a plain revoke does nothing to a
running task. Here a revoke from anywhere (``celery control``, Flower, ``AsyncResult.revoke()``) first closes the
job's record, so it holds for waiting, running and delivering jobs and survives every restart. A slot's pool keeps
its one process.
"""

from __future__ import annotations

import os
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import control

from jobs.errors import FramemillError
from tasks.celery_app import GENERATE, STOP_SIGNAL
from tasks.runtime import SLOT_VARIABLE, store

_revoke = control.Panel.data["revoke"]
_resize = {name: control.Panel.data[name] for name in ("pool_grow", "pool_shrink")}


@control.control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any) -> Any:
    """Cancel jobs by id (or list of ids); other tasks are revoked as Celery does."""
    jobs: list[str] = []
    others: list[str] = []
    for one in maybe_list(task_id) or []:
        (jobs if _cancel(state, one) else others).append(one)
    if jobs:
        # Also when plain: the record is closed, so the run must end.
        _revoke(state, jobs, terminate=True, signal=STOP_SIGNAL, **kwargs)
    if others:
        return _revoke(state, others, terminate=terminate, signal=signal, **kwargs)
    return {"ok": f"jobs {', '.join(jobs)} cancelled"}


@control.control_command(
    name="terminate", variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]"
)
def terminate(state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
    """Cancel jobs whatever the signal; other tasks are terminated as Celery does."""
    return revoke(state, task_id, terminate=True, signal=signal, **kwargs)


@control.control_command(name="pool_grow", args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Add processes, but not to a slot: two would share one GPU."""
    return _resized("pool_grow", state, n, **kwargs)


@control.control_command(name="pool_shrink", args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Remove processes, but not a slot's only one."""
    return _resized("pool_shrink", state, n, **kwargs)


def _resized(command: str, state: Any, n: int, **kwargs: Any) -> Any:
    if os.environ.get(SLOT_VARIABLE):
        return {"error": "a GPU slot runs one job at a time, in one process"}
    return _resize[command](state, n=n, **kwargs)


def _cancel(state: Any, job_id: str) -> bool:
    """True when it is a job. Only the first worker that hears the command changes anything."""
    try:
        changed, slot, _ = store().cancel(job_id)
    except FramemillError:  # unknown, or Redis is away
        return False
    if changed and not slot:
        fields = {"name": GENERATE, "terminated": False, "signum": None, "expired": False}
        state.consumer.event_dispatcher.send("task-revoked", uuid=job_id, **fields)
    return True
