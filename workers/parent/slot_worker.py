"""The parent's side of a slot: holds the lease, keeps the slot's facts up to date and deals with runs that hang."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from celery.concurrency import prefork
from celery.worker import state as worker_state

from jobs.errors import BadSetting, RunTimeout, StoreRefuses, Unavailable
from jobs.files import spool
from jobs.models.backends import registry_of
from jobs.models.registry import ModelRegistry
from jobs.slots.residency import memory_facts
from jobs.slots.slot import device_label, visible_device
from jobs.states import JobState
from jobs.store import queries
from jobs.store.slots import Heartbeat
from jobs.store.statistics import slot_history
from jobs.suggestions import did_you_mean
from tasks.celery_app import STOP_SIGNAL
from tasks.runtime import backends, settings, store
from workers.parent.backend_watch import BackendWatch
from workers.parent.devices import facts as device_facts
from workers.parent.devices.history import DeviceHistory
from workers.parent.idle_models import IdleModels
from workers.parent.lease import SlotLease
from workers.parent.pool import child_pids, replace_children, signal_children
from workers.parent.preload import Preloader

logger = logging.getLogger(__name__)

#: Heartbeats in a row in which the record says "running here" and no process runs the job, before the run is lost.
MISSING_BEATS = 2
#: Longest wait for the end of an idle child in one heartbeat, seconds.
PATIENCE_OF_EXIT_S = 1.0


class SlotWorker:
    """Serves one slot: a device of this host or a back end.

    Args:
        worker: the Celery worker.
        slot: name of the slot.
        owner: see :class:`~workers.parent.lease.SlotLease`.
    """

    def __init__(self, worker: Any, slot: str, owner: str) -> None:
        self._worker, self._slot = worker, slot
        self._lease = SlotLease(slot, owner)
        self._lost_runs = LostRunDetector()
        self._stopping = threading.Event()
        #: Why this host can take no more frames; '' if it can.
        self._spool_full = ""
        #: The newest facts of the device; empty for a back end.
        self._measured: dict[str, Any] = {}
        self._history = DeviceHistory(self._add_sample)
        self._backend = backends().get(slot)
        self._watch = BackendWatch(self._backend, self._is_free, self._note_health) if self._backend else None
        self._preloader: Preloader | None = None
        self._idle_models: IdleModels | None = None
        #: Whether the memory of the device was given up.
        self._yielded = False
        #: When Redis last did not answer a heartbeat, or refused it (monotonic).
        self._outage_at = -math.inf

    def start(self) -> None:
        """Acquire the slot. Raises: BadSetting: this worker cannot serve it."""
        self._check_worker()
        registry = registry_of(settings())
        if self._backend is None:
            self._preloader = Preloader(self._slot, registry)
            self._idle_models = IdleModels(self._slot, registry)
        self._lease.acquire(self._facts(registry))
        if self._watch:
            self._watch.start()

    def beat(self) -> None:
        """Renew the lease, and act on what the reply says about the running job. Raises: Unavailable."""
        self._check_spool()
        try:
            beat = self._lease.renew({} if self._watch else {"blocked": self._spool_full, **self._device_facts()})
        except Unavailable:
            self._outage_at = time.monotonic()
            raise
        if self._stopping.is_set():
            return
        if not beat.held:
            self._lease.reacquire(self._facts(registry_of(settings())))
            return
        if self._measured:
            self._history.add(self._measured)
        self._kill_if_overdue(beat)
        self._lost_runs.check(beat.job_id, beat.attempt)
        self._yield_memory(beat)
        if self._preloader and not beat.yields and (children := child_pids(self._worker)):
            with suppress(StoreRefuses):  # no memory is left for new jobs
                self._preloader.check(children[0])
                if self._idle_models:
                    self._idle_models.check()

    def stop(self) -> None:
        """Drain: wait up to ``DRAIN_GRACE_S`` for the run, then hand its job back to the queue.

        A run that can go on later stores a checkpoint after its present step and hands the job back itself.
        """
        self._stopping.set()
        if self._watch:
            self._watch.stop()
        deadline = time.monotonic() + settings().leases.drain_grace_s
        try:
            if job_id := self._lease.release(deadline, lambda: signal_children(self._worker, STOP_SIGNAL)):
                logger.info("job handed back", extra={"job_id": job_id, "slot": self._slot})
                signal_children(self._worker, STOP_SIGNAL)
        except Unavailable as exc:
            logger.warning("slot not given up, its lease will lapse: %s", exc.message, extra={"slot": self._slot})
            if worker_state.active_requests:
                time.sleep(max(0.0, deadline - time.monotonic()))
            # A run cannot be told to stop now, and would keep this process alive until it ends by itself.
            signal_children(self._worker, signal.SIGKILL)

    def _yield_memory(self, beat: Heartbeat) -> None:
        """Replace an idle child if the slot is to give up its memory: only the end of a process frees all of it."""
        if self._backend or beat.yields == self._yielded or (beat.yields and beat.job_id):
            return
        if beat.yields and not replace_children(self._worker, PATIENCE_OF_EXIT_S):
            return
        gone = memory_facts(()) if beat.yields else {}
        self._lease.renew({"yielded": "1" if beat.yields else "", **gone, **self._device_facts()})
        self._yielded = beat.yields
        logger.info("memory given up" if beat.yields else "memory may be used again", extra={"slot": self._slot})

    def _check_worker(self) -> None:
        if self._worker.concurrency != 1:
            raise BadSetting(
                f"a GPU slot runs one job at a time: start the worker with -c 1, not {self._worker.concurrency}"
            )
        if not isinstance(self._worker.pool, prefork.TaskPool):
            raise BadSetting("a GPU worker needs the prefork pool (its default); other pools cannot stop a running job")
        if self._backend is None:
            visible_device(self._slot)

    def _facts(self, registry: ModelRegistry) -> dict[str, Any]:
        """Return what the slot announces when it registers. Raises: BadSetting: the back end's models are unknown."""
        models = self._backend.offered(registry) if self._backend else registry.for_slot(self._slot)
        if self._backend and (unknown := self._backend.models.keys() - set(registry.names())):
            hints = [name + did_you_mean(name, registry.names()) for name in sorted(unknown)]
            raise BadSetting(f"[{self._slot}] models: the models file has no {', '.join(hints)}")
        return {
            "node": settings().node,
            "pid": os.getpid(),
            "device": device_label(self._slot),
            "models": json.dumps([spec.name for spec in models]),
            "blocked": self._watch.blocked if self._watch else spool.full(settings()),
            "yielded": "1" if self._yielded else "",
            **self._device_facts(),
        }

    def _device_facts(self) -> dict[str, str]:
        if self._backend:
            return {}
        self._measured = device_facts.measure(self._slot)
        return {"device_facts": json.dumps(self._measured, separators=(",", ":"))}

    def _add_sample(self, sample: dict[str, Any]) -> None:
        with suppress(Unavailable):  # a gap in a graph
            slot_history.add(store(), self._slot, sample)

    def _check_spool(self) -> None:
        why = spool.full(settings())
        if why and not self._spool_full:
            logger.warning("no new job: waiting for %s", why)
        elif self._spool_full and not why:
            logger.warning("the spool has space again")
        self._spool_full = why

    def _kill_if_overdue(self, beat: Heartbeat) -> None:
        """Kill the child if its job was ended from outside and it has not stopped within ``CANCEL_GRACE_S``."""
        grace_s = settings().leases.cancel_grace_s
        if beat.overdue_s is None or beat.overdue_s <= grace_s:
            return
        # A run that ended during an outage of Redis cannot have written its end yet.
        if time.monotonic() - self._outage_at <= grace_s:
            return
        logger.warning("job did not stop by itself, killing its process", extra={"job_id": beat.job_id})
        # This fails a job past its run limit. The record of a job that was ended from outside does not change.
        message = "the run took longer than its limit and did not stop by itself"
        store().fail(beat.job_id, beat.attempt, code=RunTimeout.code, message=message)
        signal_children(self._worker, signal.SIGKILL)

    def _is_free(self) -> bool:
        slot = queries.slot(store(), self._slot)
        return slot is not None and not slot.job_id

    def _note_health(self, blocked: str) -> None:
        """Write why the back end can take no job; '' lets the slot have its next one."""
        self._lease.renew({"blocked": blocked or self._spool_full})


class LostRunDetector:
    """Finds a run that no process computes, because the death of its process was not recorded."""

    def __init__(self) -> None:
        self._beats = 0

    def check(self, job_id: str, attempt: int) -> None:
        """Call once per heartbeat with the slot's job ('' for none). Raises: Unavailable."""
        if not job_id or any(request.id == job_id for request in list(worker_state.active_requests)):
            self._beats = 0
            return
        if store().get(job_id).state is JobState.QUEUED:  # not started yet: the sweep sends its message again
            return
        self._beats += 1
        if self._beats > MISSING_BEATS:
            self._beats = 0
            logger.warning("run without a process", extra={"job_id": job_id, "attempt": attempt})
            store().lose(job_id, attempt)
