"""Load models ahead of the jobs that need them.

Models with ``warm`` and pinned models are loaded when the worker starts, when its child was replaced, and after a job
that needed the device to itself has evicted them. A load is a job for the slot (:mod:`jobs.model_commands`): it waits
its turn, can be seen and can be cancelled.
"""

from __future__ import annotations

import logging
import time

from jobs import model_commands
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.record import new_job_id
from jobs.slots.residency import Place
from jobs.states import JobState
from jobs.store import queries
from jobs.store.pins import all_pins, is_warm
from jobs.store.queries import find
from tasks.runtime import dispatcher, store

logger = logging.getLogger(__name__)

#: Shortest time between two loads of the same model, seconds: other jobs run in between.
PAUSE_S = 60.0


class Preloader:
    """Submits the loads of one slot.

    Args:
        slot: name of the slot.
        models: the models.
    """

    def __init__(self, slot: str, models: ModelRegistry) -> None:
        self._slot, self._models = slot, models
        #: Model → its last load job, and the process that was to load it.
        self._last_loads: dict[str, tuple[str, int]] = {}

    def check(self, child_pid: int) -> None:
        """Submit the loads of missing models to the process ``child_pid``. Raises: Unavailable."""
        pins = all_pins(store())
        specs = [spec for spec in self._models.for_slot(self._slot) if is_warm(pins, self._slot, spec)]
        if not specs:
            return
        slot = queries.slot(store(), self._slot)
        loaded = {model.model for model in slot.loaded_models if model.place is not Place.PARKED} if slot else set()
        for spec in specs:
            if spec.name not in loaded and self._may_load(spec.name, child_pid):
                self._submit(spec, child_pid)

    def _submit(self, spec: ModelSpec, child_pid: int) -> None:
        submission = model_commands.submission("load", self._models, spec, self._slot)
        job = dispatcher().submit(submission, new_job_id(), chosen_by_client=False).job
        self._last_loads[spec.name] = (job.job_id, child_pid)
        logger.info("loading ahead", extra={"model": spec.name, "slot": self._slot, "job_id": job.job_id})

    def _may_load(self, model: str, child_pid: int) -> bool:
        """Return whether to submit a load.

        Not while the last load waits or runs, and not after it failed or was cancelled. A process that has loaded the
        model does so again after ``PAUSE_S`` at the earliest.
        """
        job_id, loading_pid = self._last_loads.get(model, ("", 0))
        job = find(store(), job_id) if job_id else None
        if job is None:
            return True
        if job.state is not JobState.SUCCEEDED:
            return False
        return child_pid != loading_pid or time.time() - (job.finished_at_ms or 0) / 1000 > PAUSE_S
