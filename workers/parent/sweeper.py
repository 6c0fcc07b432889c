"""What every worker does for the whole service: recover the jobs of dead workers, and note who listens to events."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from jobs.errors import StoreRefuses
from tasks.runtime import dispatcher, store


class Sweeper:
    """Called once per heartbeat in every worker; of all workers one sweeps per heartbeat.

    Args:
        worker: the Celery worker.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def beat(self, *, after_outage: bool = False) -> None:
        """Sweep.

        Args:
            after_outage: whether the last heartbeat of this process did not reach Redis, or was refused.

        Raises:
            Unavailable.
        """
        dispatcher().sweep(after_outage=after_outage)
        with suppress(StoreRefuses):  # no memory is left; Flower shows fewer events
            self._note_event_listeners()

    def _note_event_listeners(self) -> None:
        """Write to Redis whether a monitor such as Flower has turned the events of the workers on."""
        events = getattr(self._worker.consumer, "event_dispatcher", None)
        if events is None or not events.enabled:
            return
        # The heartbeats of workers are always on. A monitor turns on the group "task"; no groups means all of them.
        if not events.groups or "task" in events.groups:
            store().mark_watched()
