"""What every worker does for the whole service: recover the jobs of dead workers, and note who listens to events."""

from __future__ import annotations

from typing import Any

from tasks.runtime import dispatcher, store


class Sweeper:
    """Called once per heartbeat in every worker; of all workers one sweeps per heartbeat.

    Args:
        worker: the Celery worker.
        owner: names this process in the lock.
    """

    def __init__(self, worker: Any, owner: str) -> None:
        self._worker, self._owner = worker, owner

    def beat(self) -> None:
        """Raises: Unavailable."""
        self._note_event_listeners()
        dispatcher().sweep(self._owner)

    def _note_event_listeners(self) -> None:
        """Write to Redis whether a monitor such as Flower has turned the events of the workers on."""
        events = getattr(self._worker.consumer, "event_dispatcher", None)
        if events is None or not events.enabled:
            return
        # The heartbeats of workers are always on. A monitor turns on the group "task"; no groups means all of them.
        if not events.groups or "task" in events.groups:
            store().mark_watched()
