"""The Celery app, configured by ``celeryconfig.py``, and the names of its tasks."""

from __future__ import annotations

import logging

from celery import Celery

#: Names of the tasks. The bodies are in ``workers.gpu.task`` and ``workers.delivery.task``.
GENERATE = "tasks.generate"
DELIVER = "tasks.deliver"

app = Celery("framemill")
app.config_from_object("celeryconfig")

for _name in ("kombu", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)
