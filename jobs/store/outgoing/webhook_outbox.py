"""The webhook outbox: webhooks of keys, and the deliveries of events that wait, were made or failed.

The script that changes a job also writes its deliveries (``jobs/store/lua/include/webhooks.lua``), so none is lost
between the change and its message.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import KeyNotFound
from jobs.outbound.webhook import Webhook, new_secret
from jobs.store import keys
from jobs.store.lua.words import DeliveryState
from jobs.store.scripts import Scripts

#: Number of secrets that sign a message: the newest, and the previous one until the receiver has changed to it.
MAX_SECRETS = 2
#: Number of attempts that are kept with a delivery.
MAX_TRIES = 30
#: Number of deliveries that are found without their job: of the newest, and of the newest that were given up.
MAX_INDEXED = 1000


@dataclass(frozen=True)
class Delivery:
    """The delivery of one event of one job. Times are milliseconds since 1970."""

    job_id: str
    event: str
    #: The same in all attempts, so that a receiver recognises a repeat.
    message_id: str
    written_at: int
    #: ``pending``, ``delivered``, ``failed`` (no further attempt) or ``gone`` (the receiver answered 410).
    state: str = DeliveryState.PENDING
    #: Time of the next attempt; None: there is none.
    next_at: int | None = None
    #: Number of attempts since it was written or resent by hand.
    round: int = 0
    #: The newest attempts: ``at``, ``duration_ms``, ``status``, ``error``.
    tries: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, job_id: str, event: str, text: str) -> Delivery:
        return cls(job_id, event, **json.loads(text))

    def to_json(self) -> str:
        values = {name: value for name, value in vars(self).items() if name not in ("job_id", "event")}
        # The scripts would write an empty list as an empty table.
        return json.dumps({name: value for name, value in values.items() if value not in (None, [])})


@dataclass(frozen=True)
class TriedDelivery:
    """A delivery that was tried, with what its job says about it."""

    delivery: Delivery
    key_id: str
    #: Host and port of the receiver. The rest of its URL may contain secrets.
    receiver: str


@dataclass(frozen=True)
class KeyWebhook:
    """The webhook of a key, which receives the events of all its jobs."""

    service: str
    webhook: Webhook
    #: When the receiver answered 410 Gone, in milliseconds since 1970; nothing is sent to it since then.
    gone_at_ms: int | None = None


class WebhookOutbox:
    """Webhooks and their deliveries. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: Scripts) -> None:
        self._store = store

    # ---- webhooks of keys

    def of_key(self, service: str) -> KeyWebhook | None:
        """Return the webhook of a key, or None."""
        text = self._store.call(lambda c: c.hget(keys.WEBHOOKS, service))
        return _key_webhook(service, text) if text else None

    def of_all_keys(self) -> dict[str, KeyWebhook]:
        """Return the webhooks of all keys that have one, by the service."""
        texts = self._store.call(lambda c: c.hgetall(keys.WEBHOOKS))
        return {service: _key_webhook(service, text) for service, text in texts.items() if text}

    def configure(self, service: str, webhook: Webhook | None, *, renew: bool = False) -> str | None:
        """Set or remove the webhook of a key; existing jobs keep theirs.

        Args:
            service: the service that has the key.
            webhook: the webhook; None removes it.
            renew: whether to create a new secret; the previous one also signs until the next renewal.

        Returns:
            The secret if it is new; it cannot be read later.

        Raises:
            KeyNotFound: the service has no key.
        """
        if not self._store.call(lambda c: c.hexists(keys.API_KEY_NAMES, service)):
            raise KeyNotFound(f"there is no key for {service[:64]!r}")
        existing = self._secrets_of_key(service)
        created = new_secret() if renew or not existing else None

        def write(client: Any) -> None:
            pipe = client.pipeline()
            if webhook is None:
                pipe.hdel(keys.WEBHOOKS, service)
            else:
                pipe.hset(keys.WEBHOOKS, service, webhook.to_json())
            if created:
                pipe.hset(keys.WEBHOOK_SECRETS, service, json.dumps([created, *existing][:MAX_SECRETS]))
            pipe.execute()

        self._store.call(write)
        return created

    def remove(self, service: str) -> None:
        """Remove the webhook of a key, and its secrets."""
        self._store.call(lambda c: (c.hdel(keys.WEBHOOKS, service), c.hdel(keys.WEBHOOK_SECRETS, service)))

    def secrets(self, service: str) -> list[str]:
        """Return the secrets that sign messages about a key's jobs, newest first: its own, else the server's."""
        return self._secrets_of_key(service) or self._store.settings.webhooks.secrets

    def _secrets_of_key(self, service: str) -> list[str]:
        text = self._store.call(lambda c: c.hget(keys.WEBHOOK_SECRETS, service))
        return list(json.loads(text or "[]"))

    # ---- sending

    def due(self, limit: int = 1000) -> list[str]:
        """Return the receivers (``<key>|<host>:<port>``) with due deliveries, those that waited longest first."""
        now = int(time.time() * 1000)
        return list(self._store.call(lambda c: c.zrangebyscore(keys.RECEIVERS, "-inf", now, start=0, num=limit)))

    def claim(self, receiver: str, number: int, *, lease_s: float, sender: str) -> list[Delivery]:
        """Claim up to ``number`` due deliveries of a receiver.

        If the sender dies, the claim expires after ``lease_s``.
        """
        claimed = self._store.script(
            "webhook_claim", receiver=receiver, limit=number, lease_ms=int(lease_s * 1000), sender=sender
        )
        return [Delivery.from_json(*parts) for parts in claimed]

    def settle(self, delivery: Delivery, sender: str, *, wait_s: float | None = None) -> bool:
        """Record the outcome of an attempt; return False if another sender has claimed the delivery meanwhile.

        ``wait_s``: time to the next attempt, in seconds; None: there is none.
        """
        settled = self._store.script(
            "webhook_settle", id=delivery.job_id, event=delivery.event, sender=sender, delivery=delivery.to_json(),
            wait_ms="" if wait_s is None else int(wait_s * 1000), gone=int(delivery.state == DeliveryState.GONE),
        )  # fmt: skip
        if settled:
            self._index(delivery)
        return bool(settled)

    # ---- log and resending

    def _index(self, delivery: Delivery) -> None:
        """Remember a delivery among the newest of all jobs. A process that dies before forgets one line of a log."""
        member, now = f"{delivery.job_id} {delivery.event}", int(time.time() * 1000)
        is_given_up = delivery.state in (DeliveryState.FAILED, DeliveryState.GONE)

        def write(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            for index, belongs in ((keys.WEBHOOKS_TRIED, True), (keys.WEBHOOKS_GIVEN_UP, is_given_up)):
                if belongs:
                    pipe.zadd(index, {member: now}).zremrangebyrank(index, 0, -MAX_INDEXED - 1)
                else:
                    pipe.zrem(index, member)
            pipe.execute()

        self._store.call(write)

    def newest(self, limit: int, *, given_up: bool = False) -> list[TriedDelivery]:
        """Return the deliveries of all jobs that were tried last, newest first.

        Args:
            limit: how many.
            given_up: only those that were not delivered and have no further try.
        """
        index = keys.WEBHOOKS_GIVEN_UP if given_up else keys.WEBHOOKS_TRIED

        def read(client: Any) -> list[tuple[str, str | None, list[str | None]]]:
            members = client.zrevrange(index, 0, limit - 1)
            pipe = client.pipeline(transaction=False)
            for job_id, event in map(_parts, members):
                pipe.hget(keys.WEBHOOK_DELIVERIES + job_id, event).hmget(keys.JOB + job_id, "key", "webhook")
            replies = pipe.execute()
            return list(zip(members, replies[::2], replies[1::2], strict=True))

        found = self._store.call(read)
        if forgotten := [member for member, text, _ in found if not text]:  # their records were deleted
            self._store.call(lambda c: c.zrem(index, *forgotten))
        return [
            TriedDelivery(Delivery.from_json(*_parts(member), text), key, json.loads(webhook)["to"])
            for member, text, (key, webhook) in found
            if text and key and webhook
        ]

    def log(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job, oldest first."""
        texts: dict[str, str] = self._store.call(lambda c: c.hgetall(keys.WEBHOOK_DELIVERIES + job_id))
        deliveries = [Delivery.from_json(job_id, event, text) for event, text in texts.items() if event[:4] == "job."]
        return sorted(deliveries, key=lambda delivery: delivery.written_at)

    def resend(self, job_id: str, event: str = "") -> list[str]:
        """Send an event of a job ('': all of them) again, with the full number of attempts; return the events."""
        resent = list(self._store.script("webhook_resend", id=job_id, event=event))
        if resent:
            members = [f"{job_id} {one}" for one in resent]
            self._store.call(lambda c: c.zrem(keys.WEBHOOKS_GIVEN_UP, *members))
        return resent


def _parts(member: str) -> tuple[str, str]:
    """Return job and event of a delivery in an index."""
    job_id, _, event = member.partition(" ")
    return job_id, event


def _key_webhook(service: str, text: str) -> KeyWebhook:
    return KeyWebhook(service, Webhook.from_json(text), json.loads(text).get("gone_at"))
