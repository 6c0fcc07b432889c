"""Webhooks in Redis: whose they are, what is to be sent and when, and what came of it.

Deliveries are written by the scripts that change a job (``jobs/store/lua/include/webhooks.lua``), so none is lost
between a change and
its message.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import KeyNotFound
from jobs.outbound.webhook import Webhook, new_secret
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.lua.words import DeliveryState

#: Secrets that sign at once: the new one, and the one before it until its receiver has changed.
MAX_SECRETS = 2
#: Tries that a delivery remembers.
MAX_TRIES = 30


@dataclass(frozen=True)
class Delivery:
    """One event of one job on its way. Times are milliseconds since 1970."""

    job_id: str
    event: str
    #: Stays the same over all tries, so that a receiver knows a repeat.
    message_id: str
    written_at: int
    #: ``pending``, ``delivered``, ``failed`` (no more tries) or ``gone`` (the receiver answered 410).
    state: str = DeliveryState.PENDING
    #: When it is tried next; None: not at all.
    next_at: int | None = None
    #: Tries since it was written or sent again by hand.
    round: int = 0
    #: The newest tries: ``at``, ``duration_ms``, ``status``, ``error``.
    tries: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, job_id: str, event: str, text: str) -> Delivery:
        return cls(job_id, event, **json.loads(text))

    def to_json(self) -> str:
        values = {name: value for name, value in vars(self).items() if name not in ("job_id", "event")}
        # The scripts would write an empty list as an empty table.
        return json.dumps({name: value for name, value in values.items() if value not in (None, [])})


@dataclass(frozen=True)
class KeyWebhook:
    """Where the events of all jobs of a key go."""

    service: str
    webhook: Webhook
    #: When the receiver answered 410 Gone, milliseconds since 1970: nothing is sent there since.
    gone_at_ms: int | None = None


class Outbox:
    """What is to be sent. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    # ---- webhooks of keys

    def of_key(self, service: str) -> KeyWebhook | None:
        text = self._store.call(lambda c: c.hget(keys.WEBHOOKS, service))
        return KeyWebhook(service, Webhook.from_json(text), json.loads(text).get("gone_at")) if text else None

    def configure(self, service: str, webhook: Webhook | None, *, renew: bool = False) -> str | None:
        """Set (None: take away) where events of the key's jobs go; jobs that are there keep what they have.

        Args:
            service: whose key.
            webhook: None: only jobs that name one themselves have one.
            renew: make a new secret; the one before it signs, too, until the next renewal.

        Returns:
            The secret if it is new: the only time it can be seen.

        Raises:
            KeyNotFound: there is no key for this service.
        """
        if not self._store.call(lambda c: c.hexists(keys.API_KEY_NAMES, service)):
            raise KeyNotFound(f"there is no key for {service[:64]!r}")
        known = self._own_secrets(service)
        made = new_secret() if renew or not known else None

        def write(client: Any) -> None:
            pipe = client.pipeline()
            if webhook is None:
                pipe.hdel(keys.WEBHOOKS, service)
            else:
                pipe.hset(keys.WEBHOOKS, service, webhook.to_json())
            if made:
                pipe.hset(keys.WEBHOOK_SECRETS, service, json.dumps([made, *known][:MAX_SECRETS]))
            pipe.execute()

        self._store.call(write)
        return made

    def remove(self, service: str) -> None:
        """Take a key's webhook and its secrets away."""
        self._store.call(lambda c: (c.hdel(keys.WEBHOOKS, service), c.hdel(keys.WEBHOOK_SECRETS, service)))

    def secrets(self, service: str) -> list[str]:
        """What signs the messages about this key's jobs, newest first; without own ones the server's."""
        return self._own_secrets(service) or self._store.settings.webhook_secrets

    def _own_secrets(self, service: str) -> list[str]:
        found: list[str] = json.loads(self._store.call(lambda c: c.hget(keys.WEBHOOK_SECRETS, service)) or "[]")
        return found

    # ---- sending

    def due(self, limit: int = 1000) -> list[str]:
        """Receivers (``<key>|<host>:<port>``) with something to send, those first that have waited longest."""
        now = int(time.time() * 1000)
        found: list[str] = self._store.call(lambda c: c.zrangebyscore(keys.RECEIVERS, "-inf", now, start=0, num=limit))
        return found

    def claim(self, receiver: str, number: int, *, lease_s: float, sender: str) -> list[Delivery]:
        """Take so many due deliveries of a receiver; who dies with them leaves them to others after ``lease_s``."""
        claimed = self._store.script(
            "webhook_claim", receiver=receiver, limit=number, lease_ms=int(lease_s * 1000), sender=sender
        )
        return [Delivery.from_json(*parts) for parts in claimed]

    def settle(self, delivery: Delivery, sender: str, *, wait_s: float | None = None) -> bool:
        """A try is over; the next one is after ``wait_s`` (None: there is none). False: another sender has it."""
        settled = self._store.script(
            "webhook_settle", id=delivery.job_id, event=delivery.event, sender=sender, delivery=delivery.to_json(),
            wait_ms="" if wait_s is None else int(wait_s * 1000), gone=int(delivery.state == DeliveryState.GONE),
        )  # fmt: skip
        return bool(settled)

    # ---- looking and sending again

    def log(self, job_id: str) -> list[Delivery]:
        """What was written for a job, oldest first."""
        found: dict[str, str] = self._store.call(lambda c: c.hgetall(keys.HOOK + job_id))
        deliveries = [Delivery.from_json(job_id, event, text) for event, text in found.items() if event[:4] == "job."]
        return sorted(deliveries, key=lambda delivery: delivery.written_at)

    def resend(self, job_id: str, event: str = "") -> list[str]:
        """Send an event ('' all) of a job again, now, with all tries before it. Returns the events."""
        return list(self._store.script("webhook_resend", id=job_id, event=event))
