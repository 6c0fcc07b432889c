"""The Celery app, configured by ``celeryconfig.py``."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from functools import cache
from typing import Any

from celery import Celery, signals

from jobs import moderation
from jobs.backends import Backend, read_backends
from jobs.errors import BadSetting
from jobs.log import configure
from jobs.settings import Settings
from jobs.slots import owner_name, slot_of
from jobs.store import JobStore
from tasks.message import template
from tasks.slot_step import KeeperStep

#: Stops a run: the child's handler notes that the record must be looked at; the process and its model stay.
STOP_SIGNAL = signal.SIGUSR2
#: Set by the worker's parent before it forks: the slot its child computes for, and who holds it.
SLOT_VARIABLE = "FRAMEMILL_SLOT"
OWNER_VARIABLE = "FRAMEMILL_SLOT_OWNER"

#: Names of the tasks.
GENERATE = "tasks.generate"
DELIVER = "tasks.deliver"

app = Celery("framemill")
app.config_from_object("celeryconfig")
app.steps["worker"].add(KeeperStep)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_env()


@cache
def backends() -> dict[str, Backend]:
    """The back ends of others, by name."""
    return read_backends(settings().backends_file)


@cache
def _store_of(pid: int) -> JobStore:
    return JobStore(settings(), message=template(app, GENERATE))


def store() -> JobStore:
    """The store of this process (a forked child gets its own connections)."""
    return _store_of(os.getpid())


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
        importlib.import_module("workers.child").prepare(os.environ[SLOT_VARIABLE])


for _name in ("kombu", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)
