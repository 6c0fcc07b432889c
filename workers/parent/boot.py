"""What makes a Celery worker a slot or a delivery worker: signals and the boot step. Loaded by Celery's ``imports``."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from celery import bootsteps, signals

from jobs import moderation
from jobs.errors import BadSetting, Unavailable
from jobs.log import configure
from jobs.slots.residency import held_facts
from jobs.slots.slot import owner_name, slot_of
from tasks.celery_app import app
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, backends, settings, store
from workers.gpu.child import prepare
from workers.parent.keeper import Keeper


class KeeperStep(bootsteps.StartStopStep):
    """Starts with the worker (``gpuN`` and ``io`` alike), after its pool and before it consumes."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        self._keeper: Keeper | None = None
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:
        self._keeper = Keeper(worker)
        self._keeper.start()

    def stop(self, worker: Any) -> None:
        """The worker consumes no more; its pool still runs."""
        if self._keeper is not None:
            self._keeper.stop()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)


app.steps["worker"].add(KeeperStep)


@signals.setup_logging.connect
def _logging(**_: Any) -> None:
    configure(settings().log_level)


@signals.celeryd_after_setup.connect
def _queues(sender: str, instance: Any, **_: Any) -> None:
    """Before the pool forks: what the child must know, and this host's own delivery queue for ``io``."""
    queues = list(instance.app.amqp.queues.consume_from)
    try:
        slot = slot_of(queues, backends())
        if "io" in queues:
            moderation.verify(settings(), outputs=True)
    except BadSetting as exc:
        raise SystemExit(f"this worker cannot start: {exc.message}") from exc  # Celery swallows other exceptions here
    if slot:
        os.environ[SLOT_VARIABLE] = slot
        os.environ[OWNER_VARIABLE] = owner_name(settings().node)
        # No bookkeeping of unacknowledged messages: the record decides, and kombu's putting a message back when a
        # connection is lost would only start the job a second time.
        for queue in instance.app.amqp.queues.consume_from.values():
            queue.no_ack = True
    if "io" in queues:
        instance.app.amqp.queues.select_add(settings().delivery_queue)


@signals.worker_process_init.connect
def _child(**_: Any) -> None:
    """In the pool's child. Must be quick: Celery waits for it."""
    if os.environ.get(SLOT_VARIABLE):
        prepare(os.environ[SLOT_VARIABLE])
        with suppress(Unavailable):  # a new process holds nothing, whatever the one before it held
            store().set_facts(os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE], held_facts(()))
