"""The Celery app, which ``celeryconfig.py`` configures, and the names that workers and web processes share."""

from __future__ import annotations

import logging
import signal

from celery import Celery

from jobs.settings import Settings
from tasks import transport
from tasks.broker import broker_settings
from tasks.transport import DELIVER as DELIVER
from tasks.transport import GENERATE as GENERATE

transport.install()

#: Signal that stops a run: its handler makes the child check the job's record. The process and its model stay alive.
STOP_SIGNAL = signal.SIGUSR2
#: Control command that sends this signal to the runs of some jobs.
CHECK_RUNS = "check_runs"


def create_celery(settings: Settings) -> Celery:
    """Return a Celery app that sends to the Redis of these settings."""
    celery = Celery("framemill", set_as_current=False)
    celery.config_from_object("celeryconfig")
    celery.conf.update(broker_settings(settings))
    return celery


#: The app of ``celery -A tasks``.
app = Celery("framemill")
app.config_from_object("celeryconfig")

for _name in ("kombu", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)
