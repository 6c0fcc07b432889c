"""Turn a Celery worker into a slot or a delivery worker: signals and a boot step. Loaded by Celery's ``imports``."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from typing import Any

from celery import bootsteps, signals
from celery.worker.consumer.connection import Connection
from celery.worker.state import maybe_shutdown

from jobs import moderation
from jobs.errors import BadSetting, Unavailable
from jobs.process import tracing
from jobs.process.log import configure, take_over
from jobs.slots.residency import memory_facts
from jobs.slots.slot import owner_name, slot_of
from jobs.startup import cannot_start, check_weights, log_notes, verify
from tasks.celery_app import app
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, backends, settings, store
from workers.parent.child import prepare
from workers.parent.process import ParentProcess

logger = logging.getLogger(__name__)

#: Pause between two looks whether Redis accepts writes, seconds.
STORE_PAUSE_S = 0.5


class ParentStep(bootsteps.StartStopStep):
    """Runs in every worker, after its pool has started and before it consumes."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        self._process: ParentProcess | None = None
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:
        self._process = ParentProcess(worker)
        self._process.start()

    def stop(self, worker: Any) -> None:
        """Called when the worker consumes no more; its pool still runs."""
        if self._process is not None:
            self._process.stop()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)


class StoreStep(bootsteps.StartStopStep):
    """Runs in every worker before it connects to Redis, also again: waits until Redis answers and accepts writes.

    Celery itself would connect again and again at once while Redis answers but refuses to declare a queue.
    """

    def start(self, consumer: Any) -> None:
        is_noted = False
        while True:
            maybe_shutdown()
            try:
                return store().check_writable()
            except Unavailable as exc:
                if not is_noted:
                    logger.warning("no messages are received: %s", exc.message)
                is_noted = True
                time.sleep(STORE_PAUSE_S)


app.steps["worker"].add(ParentStep)
Connection.requires = (StoreStep,)


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure(settings().process.log_level, settings().process.log_format)
    take_over()


@signals.celeryd_after_setup.connect
def _prepare_queues(sender: str, instance: Any, **_: Any) -> None:
    """Before the pool forks: set the environment of the child, and add this host's own delivery queue to ``io``."""
    queues = list(instance.app.amqp.queues.consume_from)
    try:
        log_notes(verify(settings()))
        slot = slot_of(queues, backends())
        if slot and slot not in backends():
            check_weights(settings(), slot)
        if "io" in queues:
            moderation.verify(settings(), outputs=True)
    except BadSetting as exc:
        raise cannot_start(exc) from exc  # Celery swallows other exceptions here
    if slot:
        os.environ[SLOT_VARIABLE] = slot
        os.environ[OWNER_VARIABLE] = owner_name(settings().node)
        # Messages are not tracked until they are acknowledged: the record decides what runs. If kombu put a message
        # back after a lost connection, it would only start the job a second time.
        for queue in instance.app.amqp.queues.consume_from.values():
            queue.no_ack = True
    if "io" in queues:
        instance.app.amqp.queues.select_add(settings().delivery_queue)


@signals.worker_process_shutdown.connect
def _publish_measures(**_: Any) -> None:
    """Runs in the pool's child when it ends."""
    store().measures.close()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _send_last_spans(**_: Any) -> None:
    """Runs when the pool's child ends, and when the parent does."""
    tracing.flush()


@signals.worker_process_init.connect
def _prepare_child(**_: Any) -> None:
    """Runs in the pool's child. Must be quick, because Celery waits for it."""
    if os.environ.get(SLOT_VARIABLE):
        prepare(os.environ[SLOT_VARIABLE])
        with suppress(Unavailable):  # a new process has no models in memory, whatever its predecessor had
            store().set_facts(os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE], memory_facts(()))
