"""The lease of a slot: acquire it, renew it, give it up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from celery.worker.state import maybe_shutdown

from jobs.errors import BadSetting
from jobs.slots.slot import start_ticks
from jobs.store.slots import Heartbeat, SlotHeld
from tasks.runtime import settings, store

logger = logging.getLogger(__name__)

#: Pause between two attempts to acquire a slot, seconds.
ACQUIRE_PAUSE_S = 1.0
#: Pause between two checks whether the running job has ended, seconds.
DRAIN_PAUSE_S = 0.1


class SlotLease:
    """The lease of one slot, held by one worker process.

    Args:
        slot: name of the slot.
        owner: ``<node>:<process id>:<start time>`` of the worker.
    """

    def __init__(self, slot: str, owner: str) -> None:
        self._slot, self._owner = slot, owner

    def acquire(self, facts: Mapping[str, Any]) -> None:
        """Register the slot. Replaces a dead holder of this host at once; waits until the lease of another host lapses.

        Raises:
            BadSetting: a living worker serves the slot.
            WorkerShutdown: this worker was told to exit meanwhile.
        """
        deadline = time.monotonic() + 2 * settings().leases.slot_lease_s
        takeover = False
        while True:
            register = partial(store().register, self._slot, self._owner, facts, takeover=takeover)
            result = store().until_written(register, longest_pause_s=ACQUIRE_PAUSE_S, check=maybe_shutdown)
            if not isinstance(result, SlotHeld):
                logger.info("slot taken", extra={"slot": self._slot, "owner": self._owner, "device": facts["device"]})
                return
            takeover = self._is_dead(result)
            if takeover:
                continue
            if time.monotonic() > deadline:
                node = result.owner.rsplit(":", 2)[0]
                raise BadSetting(f"the slot is served by a worker on host {node}; name this one {settings().node}.gpu0")
            logger.info("slot held elsewhere, waiting", extra={"slot": self._slot, "owner": result.owner})
            time.sleep(min(ACQUIRE_PAUSE_S, result.lapses_in_s))
            maybe_shutdown()

    def reacquire(self, facts: Mapping[str, Any]) -> None:
        """Register a slot again that was given up because its lease had lapsed. Raises: Unavailable."""
        logger.warning("slot was given up, taking it again", extra={"slot": self._slot})
        store().register(self._slot, self._owner, facts)

    def renew(self, facts: Mapping[str, Any]) -> Heartbeat:
        """Renew the lease and update these facts of the slot. Raises: Unavailable."""
        return store().heartbeat(self._slot, self._owner, facts)

    def release(self, deadline: float, interrupt: Callable[[], None]) -> str | None:
        """Take no more jobs, wait for the running one until ``deadline`` (monotonic), then give the slot up.

        A run that can go on later is interrupted, and gives its job back after its present step.

        Args:
            deadline: longest wait, monotonic seconds.
            interrupt: called once when the run was asked to give its job back, so that it notices at once.

        Returns:
            The job that did not end in time and went back to the queue; None if there was none.

        Raises:
            Unavailable.
        """
        is_told = False
        while True:
            job_id, interrupted = store().drain(self._slot, self._owner)
            if interrupted and not is_told:
                interrupt()
                is_told = True
            if not job_id or time.monotonic() >= deadline:
                break
            time.sleep(DRAIN_PAUSE_S)
        return store().leave(self._slot, self._owner)

    def _is_dead(self, held: SlotHeld) -> bool:
        """Return whether the holder was a process of this host that is gone. Raises: BadSetting: it lives."""
        node, pid, ticks = held.owner.rsplit(":", 2)
        if node != settings().node:
            return False
        if start_ticks(int(pid)) == ticks:
            raise BadSetting(f"the slot is served by the worker with process id {pid}; stop that one first")
        return True
