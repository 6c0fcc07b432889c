"""The webhook of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from app.access import auth
from app.extensions import settings, store
from jobs.errors import InvalidRequest, Problem
from jobs.outbound import webhook as webhooks
from jobs.outbound.webhook import ENDS, STARTED, Webhook
from jobs.store.outgoing.webhook_outbox import WebhookOutbox

#: Event of this protocol → those of a job. An output exists when the job is over, and no message is sent for a log.
_EVENTS: dict[str, tuple[str, ...]] = {
    "start": (STARTED,), "output": (ENDS[0],), "logs": (), "completed": ENDS
}  # fmt: skip


def requested(body: Mapping[str, Any]) -> Webhook | Literal[False] | None:
    """Return the webhook of a prediction: None is the key's webhook, False is no webhook. Raises: InvalidRequest."""
    field = "webhook" if body.get("webhook") else "webhook_completed"
    url = body.get(field)
    if not url:
        return None
    named = body.get("webhook_events_filter") or (_EVENTS if field == "webhook" else ("completed",))
    events = tuple(dict.fromkeys(event for name in named for event in _EVENTS[name]))
    webhook = webhooks.checked(url, events or ENDS, settings(), fields=(field, "webhook_events_filter"))
    if not WebhookOutbox(store()).secrets(auth.caller().key_id):
        rule = "needs a secret that signs: the setting WEBHOOK_SECRET, or a webhook secret of this key"
        raise InvalidRequest(Problem(field, rule))
    return webhook if events else False
