"""The parent process of a worker: its parts, and the thread that calls them once per heartbeat.

A thread, not a timer of the worker's event loop: the loop stands still while it reconnects to Redis, and the lease
must not lapse because of that.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from jobs.errors import FramemillError, Unavailable
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, settings, store
from workers.parent.delivery_worker import DeliveryWorker
from workers.parent.pool import signal_children
from workers.parent.slot_worker import SlotWorker
from workers.parent.sweeper import Sweeper

logger = logging.getLogger(__name__)

#: Pause between two looks at children that have to end, seconds.
EXIT_CHECK_S = 0.5
#: How often children are killed before the process ends without its pool: they end at once, unless the device's driver
#: keeps them.
KILL_ATTEMPTS = 20


class _Part(Protocol):
    def start(self) -> None: ...
    def beat(self) -> None: ...
    def stop(self) -> None: ...


class ParentProcess:
    """Serves a slot, the delivery queue of this host, or both, from :meth:`start` to :meth:`stop`."""

    def __init__(self, worker: Any) -> None:
        self._slot = os.environ.get(SLOT_VARIABLE, "")
        owner = os.environ.get(OWNER_VARIABLE, f"io:{os.getpid()}")
        #: In the order in which they start; the slot's drain comes last.
        self._parts: list[_Part] = []
        self._started: list[_Part] = []
        self._worker = worker
        if self._slot:
            self._parts.append(SlotWorker(worker, self._slot, owner))
        if settings().delivery_queue in worker.app.amqp.queues.consume_from:
            self._parts.append(DeliveryWorker())
        self._sweeper = Sweeper(worker)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start all parts. Ends the process with a message if the slot cannot be served.

        Raises:
            WorkerShutdown: this worker was told to exit while it waited for Redis or its slot.
        """
        try:
            for part in self._parts:
                part.start()
                self._started.append(part)
        except FramemillError as exc:
            logger.critical("cannot serve %s: %s", self._slot, exc.message)
            raise SystemExit(1) from exc
        self._thread.start()

    def stop(self) -> None:
        """Stop all parts; the run of a slot has ``DRAIN_GRACE_S`` to end or to store a checkpoint.

        The pool then waits for its child, which has ``CANCEL_GRACE_S`` more.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        for part in reversed(self._started):
            part.stop()
        store().measures.close()
        threading.Thread(target=self._end_children, name="exit", daemon=True).start()

    def _end_children(self) -> None:
        """Kill children that would keep this process alive: in a call that does not end, or waiting for Redis.

        Nothing is lost. The job of a slot was handed back, and a delivery is made again when its claim has lapsed.
        """
        grace_s = settings().leases.cancel_grace_s
        waits_since = time.monotonic()
        while time.monotonic() - waits_since < grace_s:
            time.sleep(EXIT_CHECK_S)
            if not self._slot and self._redis_answers():
                waits_since = time.monotonic()  # a delivery may take its time
        logger.warning("the child does not end, killing it")
        for _ in range(KILL_ATTEMPTS):  # the pool may have started another child meanwhile
            signal_children(self._worker, signal.SIGKILL)
            time.sleep(EXIT_CHECK_S)
        logger.error("the worker does not end by itself")
        os._exit(1)

    def _redis_answers(self) -> bool:
        try:
            store().check_writable()
        except Unavailable:
            return False
        return True

    def _run(self) -> None:
        problem: Unavailable | None = None
        pause_s = 0.0  # the first beat comes at once: it asks for the models to preload
        while not self._stopping.wait(pause_s):
            pause_s = settings().leases.heartbeat_s
            before, problem = problem, self._beat(after_outage=problem is not None)
            if problem is None and before is not None:
                logger.info("Redis is back")
            elif problem is not None and (before is None or before.message != problem.message):
                logger.warning("waiting: %s", problem.message)

    def _beat(self, *, after_outage: bool) -> Unavailable | None:
        """Call every part; one that fails does not keep the others from renewing their leases.

        Returns:
            Why Redis did not answer or refused writes; None if it accepted them.
        """
        problem = None
        beats: list[Callable[[], None]] = [part.beat for part in self._parts]
        beats.append(partial(self._sweeper.beat, after_outage=after_outage))
        for beat in beats:
            try:
                beat()
            except Unavailable as exc:
                problem = exc
            except Exception:
                logger.exception("the heartbeat goes on after an error")
        return problem
