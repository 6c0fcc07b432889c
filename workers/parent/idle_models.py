"""Unload models that no job has used for long, so that others can use the memory of the device.

``unload_after_s`` of the models file, or ``UNLOAD_AFTER_S``, says how long. Pinned and ``warm`` models stay. An unload
is a job for the slot (:mod:`jobs.model_commands`): it waits its turn and can be seen.
"""

from __future__ import annotations

import logging

from jobs import model_commands
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.record import new_job_id
from jobs.store import queries
from jobs.store.pins import all_pins, is_pinned, is_warm
from tasks.runtime import dispatcher, settings, store

logger = logging.getLogger(__name__)


class IdleModels:
    """Submits the unloads of one slot.

    Args:
        slot: name of the slot.
        models: the models.
    """

    def __init__(self, slot: str, models: ModelRegistry) -> None:
        self._slot, self._models = slot, models
        #: Models that are unloaded, with the seconds after which they are.
        self._limits = {
            spec.name: (spec, limit_s)
            for spec in models.for_slot(slot)
            if spec.executor == "diffusers" and (limit_s := spec.load.unload_after(settings()))
        }
        #: Model → its last unload job.
        self._jobs: dict[str, str] = {}

    def check(self) -> None:
        """Submit the unloads that are due. Raises: Unavailable."""
        if not self._limits:
            return
        use = queries.model_use(store(), self._slot)
        due = [name for name in use.models if name in self._limits and use.unused_s(name) > self._limits[name][1]]
        pins = all_pins(store()) if due else {}
        for name in due:
            spec, _ = self._limits[name]
            stays = is_pinned(pins, self._slot, spec) or is_warm(pins, self._slot, spec)
            if not stays and not self._is_pending(name):
                self._unload(spec, use.unused_s(name))

    def _is_pending(self, model: str) -> bool:
        job = queries.find(store(), self._jobs[model]) if model in self._jobs else None
        return job is not None and not job.state.is_terminal

    def _unload(self, spec: ModelSpec, idle_s: float) -> None:
        submission = model_commands.submission("unload", self._models, spec, self._slot)
        job = dispatcher().submit(submission, new_job_id(), chosen_by_client=False).job
        self._jobs[spec.name] = job.job_id
        extra = {"model": spec.name, "slot": self._slot, "unused_s": int(idle_s)}
        logger.info("unloading an unused model", extra=extra)
