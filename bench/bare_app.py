"""A minimal job server of Flask and Celery, the baseline of ``bench/overhead.py``.

Run ``gunicorn -k gevent bench.bare_app:app`` and ``celery -A bench.bare_app:celery worker -c 1`` with the path of the
Redis socket in ``BARE_REDIS_SOCKET``, outside the project's folder, where gunicorn would read Framemill's options.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, Response, jsonify, request

_SOCKET = os.environ["BARE_REDIS_SOCKET"]

celery = Celery("bare", broker=f"redis+socket://{_SOCKET}", backend=f"redis+socket://{_SOCKET}")
celery.conf.update(worker_hijack_root_logger=False, result_expires=7 * 24 * 3600)

app = Flask("bare")


@celery.task(name="bare.noop")
def noop(fields: dict[str, Any]) -> dict[str, Any]:
    return {"steps": fields.get("steps", 1)}


@app.post("/jobs")
def submit() -> Response:
    """Submit a job and wait for its end."""
    result = noop.delay(request.get_json())
    return jsonify({"task_id": result.id, "result": result.get(timeout=30), "state": "SUCCESS"})
