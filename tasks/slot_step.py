"""The step that makes a Celery worker a slot: it holds the lease, and heals what died elsewhere."""

from __future__ import annotations

import importlib
from typing import Any

from celery import bootsteps


class KeeperStep(bootsteps.StartStopStep):
    """Starts with the worker (``gpuN`` and ``io`` alike), after its pool and before it consumes."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        self._keeper: Any = None
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:
        # By name: the app that carries this step must exist first, and the API imports that app.
        self._keeper = importlib.import_module("tasks.keeper").Keeper(worker)
        self._keeper.start()

    def stop(self, worker: Any) -> None:
        """The worker consumes no more; its pool still runs."""
        if self._keeper is not None:
            self._keeper.stop()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)
