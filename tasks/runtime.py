"""What one worker process works with: its settings, its store and its back ends."""

from __future__ import annotations

import os
import signal
from functools import cache

from jobs.models.backends import Backend, read_backends
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from tasks.celery_app import GENERATE, app
from tasks.message import template

#: Stops a run: the child's handler notes that the record must be looked at; the process and its model stay.
STOP_SIGNAL = signal.SIGUSR2
#: Set by the worker's parent before it forks: the slot its child computes for, and who holds it.
SLOT_VARIABLE = "FRAMEMILL_SLOT"
OWNER_VARIABLE = "FRAMEMILL_SLOT_OWNER"


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
