"""The message of a GPU queue, as a text with gaps: the scripts that bind a job to a slot send it themselves.

So a job is bound and sent in one step: no process can die in between, and nobody pays a second round trip.
"""

from __future__ import annotations

import json
from typing import Any

from celery import Celery

from jobs.store.lua.words import MessageGap
from tasks.celery_app import GENERATE

JOB_ID, ATTEMPT, RETRIES, SLOT = MessageGap.JOB_ID, MessageGap.ATTEMPT, MessageGap.RETRIES, MessageGap.SLOT


def job_message(app: Celery) -> str:
    """A task message as kombu's Redis transport keeps it in a list.

    The body stands as it is: kombu decodes one only if ``properties.body_encoding`` says so.
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
    """A gap for a number."""
    return text.replace(f'"{gap}"', gap)
