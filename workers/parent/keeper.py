"""The keeper: a thread in a worker's parent process that renews the slot's lease and sweeps.

A thread, not a timer of the worker's event loop: the loop stands still while it reconnects to Redis, and a
lease must not lapse because of that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from functools import partial
from typing import Any

from celery.concurrency import prefork
from celery.worker import state as worker_state

from jobs.errors import BadSetting, FramemillError, RunTimeout, Unavailable
from jobs.files import spool
from jobs.models.backends import registry_of
from jobs.slots.slot import device_label, start_ticks, visible_device
from jobs.states import JobState
from jobs.store import queries
from jobs.store.slots import SlotHeld
from tasks.celery_app import STOP_SIGNAL
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, backends, dispatcher, settings, store
from workers.parent import device_facts
from workers.parent.backend_watch import BackendWatch
from workers.parent.janitor import Janitor
from workers.parent.preload import Warmth
from workers.parent.webhook_sender import Sender

logger = logging.getLogger(__name__)

#: Beats in a row in which the record says "running here" and no process runs it, before the run counts as lost.
MISSING_BEATS = 2


class Keeper:
    """Holds one slot (or none, in an ``io`` worker) from :meth:`start` to :meth:`stop`."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._slot = os.environ.get(SLOT_VARIABLE, "")
        self._delivers = settings().delivery_queue in worker.app.amqp.queues.consume_from
        self._owner = os.environ.get(OWNER_VARIABLE, f"io:{os.getpid()}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._janitor = Janitor()
        self._sender = Sender() if self._delivers else None
        self._missing = 0
        self._full = ""
        self._warmth: Warmth | None = None
        self._backend = backends().get(self._slot)
        self._watch = BackendWatch(self._backend, self._is_free, self._note_health) if self._backend else None

    def start(self) -> None:
        """Take the slot and begin. Ends the process with a message when that is not possible."""
        if self._slot:
            try:
                self._check_worker()
                self._take_slot()
            except FramemillError as exc:
                logger.critical("cannot serve %s: %s", self._slot, exc.message)
                raise SystemExit(1) from exc
        if self._delivers:
            spool.offer_memory(settings())
            store().until_written(store().announce_node)
            self._janitor.start()
        if self._watch:
            self._watch.start()
        if self._sender:
            self._sender.start()
        self._thread.start()

    def stop(self) -> None:
        """Drain: let the running job finish within ``DRAIN_GRACE_S``, else hand it back."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._watch:
            self._watch.stop()
        self._janitor.stop()
        if self._sender:
            self._sender.stop()
        if self._delivers:
            spool.withdraw_memory(settings())
            with contextlib.suppress(Unavailable):
                store().withdraw_node()
        if not self._slot:
            return
        deadline = time.monotonic() + settings().drain_grace_s
        try:
            while store().drain(self._slot, self._owner) and time.monotonic() < deadline:
                time.sleep(0.1)
            job_id, _ = store().leave(self._slot, self._owner)
            if job_id:
                logger.info("job handed back", extra={"job_id": job_id, "slot": self._slot})
                self._signal_child(STOP_SIGNAL)
        except Unavailable:
            logger.warning("slot not given up: Redis is away; its lease will lapse", extra={"slot": self._slot})
            time.sleep(max(0.0, deadline - time.monotonic()))
            # A run can learn of nothing now, and would keep this process alive to its end.
            self._signal_child(signal.SIGKILL)

    def _check_worker(self) -> None:
        if self._worker.concurrency != 1:
            raise BadSetting(
                f"a GPU slot runs one job at a time: start the worker with -c 1, not {self._worker.concurrency}"
            )
        if not isinstance(self._worker.pool, prefork.TaskPool):
            raise BadSetting("a GPU worker needs the prefork pool (its default); other pools cannot stop a running job")
        if self._backend is None:
            visible_device(self._slot)

    def _facts(self) -> dict[str, Any]:
        registry = registry_of(settings())
        offered = self._backend.offered(registry) if self._backend else registry.for_slot(self._slot)
        models = [spec.name for spec in offered]
        if self._backend and (unknown := self._backend.models.keys() - set(registry.names())):
            raise BadSetting(f"[{self._slot}] models: the models file has no {', '.join(sorted(unknown))}")
        if not self._backend:
            self._warmth = self._warmth or Warmth(self._slot, registry)
        return {
            "node": settings().node,
            "pid": os.getpid(),
            "device": device_label(self._slot),
            "models": json.dumps(models),
            "blocked": self._watch.blocked if self._watch else spool.full(settings()),
            **self._measured(),
        }

    def _measured(self) -> dict[str, str]:
        if self._backend:
            return {}
        return {"device_facts": json.dumps(device_facts.read(self._slot), separators=(",", ":"))}

    def _take_slot(self) -> None:
        """Register; a dead holder on this host is replaced at once, an unknown one when its lease lapses."""
        facts = self._facts()
        deadline = time.monotonic() + 2 * settings().slot_lease_s
        takeover = False
        while True:
            register = partial(store().register, self._slot, self._owner, facts, takeover=takeover)
            answer = store().until_written(register)
            if not isinstance(answer, SlotHeld):
                logger.info("slot taken", extra={"slot": self._slot, "owner": self._owner, "device": facts["device"]})
                return
            node, pid, ticks = answer.owner.rsplit(":", 2)
            if node == settings().node:
                if start_ticks(int(pid)) == ticks:
                    raise BadSetting(f"the slot is served by the worker with process id {pid}; stop that one first")
                takeover = True
                continue
            if time.monotonic() > deadline:
                raise BadSetting(f"the slot is served by a worker on host {node}; name this one {settings().node}.gpu0")
            logger.info("slot held elsewhere, waiting", extra={"slot": self._slot, "owner": answer.owner})
            time.sleep(min(1.0, answer.lapses_in_s))

    def _run(self) -> None:
        away = False
        pause_s = 0.0  # a first beat at once: what is to be loaded at the start is asked for
        while not self._stopping.wait(pause_s):
            pause_s = settings().heartbeat_s
            try:
                if self._slot:
                    self._beat()
                if self._delivers:
                    spool.offer_memory(settings())
                    store().announce_node()
                self._note_watchers()
                self._sweep()
                if away:
                    logger.info("Redis is back")
                away = False
            except Unavailable:
                if not away:
                    logger.warning("Redis is away")
                away = True
            except Exception:
                logger.exception("the keeper goes on after an error")

    def _beat(self) -> None:
        self._note_full(spool.full(settings()))
        beat = store().heartbeat(
            self._slot, self._owner, {} if self._watch else {"blocked": self._full, **self._measured()}
        )
        if self._stopping.is_set():
            return
        if not beat.held:
            logger.warning("slot was given up, taking it again", extra={"slot": self._slot})
            store().register(self._slot, self._owner, self._facts())
            return
        if beat.overdue_s is not None and beat.overdue_s > settings().cancel_grace_s:
            logger.warning("job did not stop by itself, killing its process", extra={"job_id": beat.job_id})
            # A job past its run limit fails; one that was ended from outside has its end on record already.
            limit = "the run took longer than its limit and did not stop by itself"
            store().fail(beat.job_id, beat.attempt, code=RunTimeout.code, message=limit)
            self._signal_child(signal.SIGKILL)
        self._find_missing(beat.job_id, beat.attempt)
        if self._warmth and (children := self._children()):
            self._warmth.keep_up(children[0])

    def _is_free(self) -> bool:
        slot = queries.slot(store(), self._slot)
        return slot is not None and not slot.job_id

    def _note_health(self, blocked: str) -> None:
        """Why its back end can take no job; '' gives the slot its next one."""
        store().heartbeat(self._slot, self._owner, {"blocked": blocked or self._full})

    def _note_full(self, why: str) -> None:
        if bool(why) != bool(self._full):
            logger.warning("%s", f"no new job: waiting for {why}" if why else "the spool has room again")
        self._full = why

    def _find_missing(self, job_id: str, attempt: int) -> None:
        """A run that has no process any more (its death was not recorded) is lost."""
        if not job_id or any(request.id == job_id for request in list(worker_state.active_requests)):
            self._missing = 0
            return
        job = store().get(job_id)
        if job.state is JobState.QUEUED:  # sent, not started: the sweep sends it again
            return
        self._missing += 1
        if self._missing > MISSING_BEATS:
            self._missing = 0
            logger.warning("run without a process", extra={"job_id": job_id, "attempt": attempt})
            store().lose(job_id, attempt)

    def _note_watchers(self) -> None:
        """Flower (or another monitor) turns on the events of the workers; the rest of Framemill learns it from here."""
        dispatcher = getattr(self._worker.consumer, "event_dispatcher", None)
        if dispatcher is None or not dispatcher.enabled:
            return
        # Workers' own heartbeats are always on; a monitor turns on the group "task" (no groups: all of them).
        if not dispatcher.groups or "task" in dispatcher.groups:
            store().mark_watched()

    def _sweep(self) -> None:
        dispatcher().sweep(self._owner)

    def _children(self) -> list[int]:
        return [process.pid for process in list(self._worker.pool._pool._pool)]

    def _signal_child(self, signum: int) -> None:
        for pid in self._children():
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue
