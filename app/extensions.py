"""The parts of a Flask app: its settings, store, models, objects, events and dispatcher.

:func:`app.create_app` puts one :class:`Extensions` on the app object, so that several apps, each with its own Redis,
can run in one process. The functions below return the parts of the app of the current request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, current_app

from app.events.current_jobs import CurrentJobs
from app.events.hub import EventHub
from app.events.shared_reads import SharedReads
from jobs.models.registry import ModelRegistry
from jobs.objects.base import ObjectStore
from jobs.settings import Settings
from jobs.store.events import EventLog
from jobs.store.jobs import JobStore
from jobs.store.measuring.objects import open_measured
from tasks.celery_app import create_celery
from tasks.dispatch import Dispatcher
from tasks.message import job_message

_NAME = "framemill"
#: How long events for Flower are collected before they are sent, seconds.
EVENTS_DELAY_S = 0.5


@dataclass(frozen=True)
class Extensions:
    """The parts of one app."""

    settings: Settings
    store: JobStore
    #: Models that this service offers.
    models: ModelRegistry
    #: Where inputs and outputs are kept.
    objects: ObjectStore
    hub: EventHub
    #: Jobs as this process has read them.
    current_jobs: CurrentJobs
    dispatcher: Dispatcher
    #: What many requests ask for at the same time.
    reads: SharedReads = field(default_factory=SharedReads)
    #: What protocol adapters keep with the app, by name.
    adapters: dict[str, Any] = field(default_factory=dict)


def install(
    app: Flask, settings: Settings, models: ModelRegistry, *, note_job: Callable[[str], None] = lambda job_id: None,
    trace: Callable[[], str] | None = None,
) -> Extensions:
    """Create the parts of an app and attach them to it.

    Args:
        app, settings: of this process.
        models: models that this service offers.
        note_job, trace: see :class:`~tasks.dispatch.Dispatcher`.

    Raises:
        BadSetting.
    """
    celery = create_celery(settings)
    store = JobStore(settings, message=job_message(celery))
    extensions = Extensions(
        settings=settings,
        store=store,
        models=models,
        objects=open_measured(settings, store.measures),
        hub=EventHub(EventLog(store)),
        current_jobs=CurrentJobs(store),
        dispatcher=Dispatcher(settings, store, celery, events_delay_s=EVENTS_DELAY_S, note_job=note_job, trace=trace),
    )
    app.extensions[_NAME] = extensions
    return extensions


def of(app: Flask) -> Extensions:
    """Return the parts of an app."""
    extensions: Extensions = app.extensions[_NAME]
    return extensions


def current() -> Extensions:
    """Return the parts of the app of the current request."""
    # Every access to an attribute of the proxy itself would look the app up again.
    return of(current_app._get_current_object())  # type: ignore[attr-defined]


def settings() -> Settings:
    """Return the settings of the current app."""
    return current().settings


def store() -> JobStore:
    """Return the job store of the current app."""
    return current().store


def models() -> ModelRegistry:
    """Return the models that the current app offers."""
    return current().models


def objects() -> ObjectStore:
    """Return the object store of the current app."""
    return current().objects


def hub() -> EventHub:
    """Return the event hub of the current app."""
    return current().hub


def current_jobs() -> CurrentJobs:
    """Return the jobs as the process of the current app has read them."""
    return current().current_jobs


def dispatcher() -> Dispatcher:
    """Return the dispatcher of the current app."""
    return current().dispatcher
