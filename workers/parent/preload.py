"""Models that are to be in a slot's memory are loaded: when its worker starts, when its process was replaced, and when
a job that needed the device to itself has put them out.

A load is a job for the slot (:mod:`jobs.model_commands`), so it waits its turn, is seen and can be cancelled.
"""

from __future__ import annotations

import logging
import time

from jobs import model_commands as commands
from jobs.models.registry import ModelRegistry
from jobs.record import new_job_id
from jobs.slots.residency import Place
from jobs.states import JobState
from jobs.store import queries
from jobs.store.pins import all_pins, is_warm
from jobs.store.queries import find
from tasks.runtime import dispatcher, store

logger = logging.getLogger(__name__)

#: A model that was put out again is loaded again after this at the earliest, seconds: jobs go on between.
PAUSE_S = 60.0


class Warmth:
    """Asks for the loads of one slot."""

    def __init__(self, slot: str, models: ModelRegistry) -> None:
        self._slot, self._models = slot, models
        #: Model → the last job that was to load it, and the process that was to do it.
        self._asked: dict[str, tuple[str, int]] = {}

    def keep_up(self, child: int) -> None:
        """Ask for what is missing. ``child`` is the id of the process that computes. Raises: Unavailable."""
        pins = all_pins(store())
        wanted = [spec for spec in self._models.for_slot(self._slot) if is_warm(pins, self._slot, spec)]
        slot = queries.slot(store(), self._slot) if wanted else None
        there = {held.model for held in slot.held if held.place is not Place.PARKED} if slot else set()
        for spec in wanted:
            if spec.name in there or not self._may_ask(spec.name, child):
                continue
            submission = commands.submission("load", self._models, spec, self._slot)
            job = dispatcher().submit(submission, new_job_id(), chosen_by_client=False).job
            self._asked[spec.name] = (job.job_id, child)
            logger.info("loading ahead", extra={"model": spec.name, "slot": self._slot, "job_id": job.job_id})

    def _may_ask(self, model: str, child: int) -> bool:
        """Not while the last load waits or runs; not again after one that failed or was stopped; else in good time."""
        job_id, asked_child = self._asked.get(model, ("", 0))
        job = find(store(), job_id) if job_id else None
        if job is None:
            return True
        if job.state is not JobState.SUCCEEDED:
            return False
        return child != asked_child or time.time() - (job.finished_at_ms or 0) / 1000 > PAUSE_S
