"""The worker pool: Celery's prefork pool, which here notices a dead child at once."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from celery.concurrency import asynpool, prefork

#: Interval between two checks for dead children, seconds. Celery's own 5 s would be idle time of a GPU.
REAP_INTERVAL_S = 0.2


class _Pool(asynpool.AsynPool):
    @property
    def timers(self) -> dict[Any, float]:
        return {self.maintain_pool: REAP_INTERVAL_S}


class TaskPool(prefork.TaskPool):
    """``worker_pool`` in celeryconfig.py."""

    Pool = _Pool


def child_pids(worker: Any) -> list[int]:
    """Return the process ids of the pool's children; none when the pool has ended."""
    pool = worker.pool._pool if worker.pool else None
    return [process.pid for process in list(pool._pool)] if pool else []


def replace_children(worker: Any, patience_s: float) -> bool:
    """End every child of the pool without a message about it; the pool starts another one.

    Returns:
        Whether all of them ended within ``patience_s``.
    """
    pool = worker.pool._pool if worker.pool else None
    processes = list(pool._pool) if pool else []
    for process in processes:
        process.terminate_controlled()
    deadline = time.monotonic() + patience_s
    while any(_exists(process.pid) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def signal_children(worker: Any, signum: int) -> None:
    """Send a signal to every child of the pool."""
    for pid in child_pids(worker):
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
