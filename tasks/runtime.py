"""The parts of a worker process: its settings, store, back ends and dispatcher."""

from __future__ import annotations

import os
from functools import cache

from jobs.models.backends import Backend, read_backends
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from tasks.celery_app import app
from tasks.dispatch import Dispatcher
from tasks.message import job_message

#: Environment variables that the worker's parent sets before it forks: the child's slot, and the owner of its lease.
SLOT_VARIABLE = "FRAMEMILL_SLOT"
OWNER_VARIABLE = "FRAMEMILL_SLOT_OWNER"


@cache
def settings() -> Settings:
    """Return the settings of this process."""
    return Settings.from_env()


@cache
def backends() -> dict[str, Backend]:
    """Return the back ends that are servers of others, by name."""
    return read_backends(settings().paths.backends_file)


@cache
def _store_of(pid: int) -> JobStore:
    return JobStore(settings(), message=job_message(app))


def store() -> JobStore:
    """Return the store of this process; a forked child has its own connections."""
    return _store_of(os.getpid())


@cache
def _dispatcher_of(pid: int) -> Dispatcher:
    return Dispatcher(settings(), store(), app)


def dispatcher() -> Dispatcher:
    """Return the dispatcher of this process."""
    return _dispatcher_of(os.getpid())
