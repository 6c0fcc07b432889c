"""The Celery app, configured by ``celeryconfig.py``, and the names that workers and web processes share."""

from __future__ import annotations

import logging
import signal

from celery import Celery

from jobs.settings import Settings

#: Names of the tasks. The bodies are in ``workers.gpu.task`` and ``workers.delivery.task``.
GENERATE = "tasks.generate"
DELIVER = "tasks.deliver"
#: Stops a run: the child's handler notes that the record must be looked at; the process and its model stay.
STOP_SIGNAL = signal.SIGUSR2


def create_celery(settings: Settings) -> Celery:
    """A Celery app that sends through the Redis of these settings."""
    celery = Celery("framemill", set_as_current=False)
    celery.config_from_object("celeryconfig")
    celery.conf["broker_url"] = settings.broker_url
    return celery


#: The app of ``celery -A tasks``.
app = Celery("framemill")
app.config_from_object("celeryconfig")

for _name in ("kombu", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)
