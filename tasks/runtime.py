"""What one worker process works with: its settings, its store and its back ends."""

from __future__ import annotations

import os
from functools import cache

from jobs.models.backends import Backend, read_backends
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from tasks.celery_app import app
from tasks.dispatch import Dispatcher
from tasks.message import job_message

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
    return read_backends(settings().paths.backends_file)


@cache
def _store_of(pid: int) -> JobStore:
    return JobStore(settings(), message=job_message(app))


def store() -> JobStore:
    """The store of this process (a forked child gets its own connections)."""
    return _store_of(os.getpid())


@cache
def _dispatcher_of(pid: int) -> Dispatcher:
    return Dispatcher(settings(), store(), app)


def dispatcher() -> Dispatcher:
    """The dispatcher of this process."""
    return _dispatcher_of(os.getpid())
