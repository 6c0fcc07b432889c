"""The Celery message of a run, as a template: the scripts that bind a job to a slot fill it in and enqueue it.

A job is therefore bound and sent in one atomic step, with one round trip to Redis.
"""

from __future__ import annotations

import json
from typing import Any

from celery import Celery

from jobs.store.lua.words import MessageGap
from tasks.celery_app import GENERATE

JOB_ID, ATTEMPT, RETRIES, SLOT = MessageGap.JOB_ID, MessageGap.ATTEMPT, MessageGap.RETRIES, MessageGap.SLOT


def job_message(app: Celery) -> str:
    """Return the template of a task message, in the form in which kombu's Redis transport keeps messages in a list.

    The body is not encoded: kombu decodes it only if ``properties.body_encoding`` is set.
    """
    amqp: Any = app.amqp
    message = amqp.as_task_v2(JOB_ID, GENERATE, (JOB_ID, ATTEMPT), argsrepr=f"('{JOB_ID}', {ATTEMPT})", root_id=JOB_ID)
    text = json.dumps(
        {
            "body": _unquoted(json.dumps(message.body), ATTEMPT),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": message.headers | {"retries": RETRIES},
            "properties": {
                **message.properties,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": SLOT},
                "priority": 0,
                "delivery_tag": f"{JOB_ID}.{ATTEMPT}",
            },
        }
    )
    return _unquoted(text, RETRIES)


def _unquoted(text: str, gap: str) -> str:
    """Remove the quotes around a gap, which is filled with a number."""
    return text.replace(f'"{gap}"', gap)
