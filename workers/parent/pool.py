"""The worker pool: Celery's prefork pool that notices a dead child at once."""

from __future__ import annotations

from typing import Any

from celery.concurrency import asynpool, prefork

#: How often dead children are looked for, seconds. Celery's own 5 s would be idle time of a GPU.
REAP_INTERVAL_S = 0.2


class _Pool(asynpool.AsynPool):
    @property
    def timers(self) -> dict[Any, float]:
        return {self.maintain_pool: REAP_INTERVAL_S}


class TaskPool(prefork.TaskPool):
    """``worker_pool`` in celeryconfig.py."""

    Pool = _Pool
