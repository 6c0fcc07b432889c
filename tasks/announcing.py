"""Celery events that no worker sends, for Flower."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError, OperationalError

from jobs.errors import Unavailable
from jobs.store.jobs import JobStore

logger = logging.getLogger(__name__)

#: Exceptions of a publication while Redis does not answer.
AWAY = (OperationalError, KombuError, CeleryError, OSError)
#: Interval of the check whether anybody listens to Celery's events, seconds.
WATCH_LOOKUP_S = 1.0
#: Number of events after which a batch is sent at once.
BATCH_LENGTH = 500


@dataclass(frozen=True)
class _Announcement:
    """One event, with the name of the worker that it belongs to."""

    hostname: str
    kind: str
    fields: dict[str, Any]


class Announcer:
    """Sends events, unless nobody listens to them.

    Args:
        store: knows whether somebody listens.
        celery: sends them.
        delay_s: how long events are collected, seconds. A message of many events costs little more than one of a
            single event, and Celery's receivers understand both. 0: each is sent at once.
    """

    def __init__(self, store: JobStore, celery: Celery, delay_s: float = 0.0) -> None:
        self._store, self._celery, self._delay_s = store, celery, delay_s
        self._watched = False
        self._next_lookup_at = 0.0
        self._lock = threading.Lock()
        self._collected: list[_Announcement] = []
        self._is_due = False

    def is_watched(self) -> bool:
        """Return whether anybody listens to Celery's events; looked up once a second."""
        now = time.monotonic()
        if now >= self._next_lookup_at:
            self._next_lookup_at = now + WATCH_LOOKUP_S
            try:
                self._watched = self._store.is_watched()
            except Unavailable:
                self._watched = False
        return self._watched

    def send(self, hostname: str, kind: str, **fields: Any) -> None:
        """Send an event of the worker of this name, now or with the next batch."""
        announcement = _Announcement(hostname, kind, {"timestamp": time.time(), **fields})
        if not self._delay_s:
            self._publish([announcement])
            return
        with self._lock:
            self._collected.append(announcement)
            if self._is_due and len(self._collected) < BATCH_LENGTH:
                return
            is_first, self._is_due = not self._is_due, True
        if is_first:
            timer = threading.Timer(self._delay_s, self._publish_batch)
            timer.daemon = True
            timer.start()
        else:
            self._publish(self._taken())

    def _publish_batch(self) -> None:
        with self._lock:
            self._is_due = False
        self._publish(self._taken())

    def _taken(self) -> list[_Announcement]:
        with self._lock:
            taken, self._collected = self._collected, []
        return taken

    def _publish(self, announcements: Iterable[_Announcement]) -> None:
        by_hostname: dict[str, list[_Announcement]] = {}
        for one in announcements:
            by_hostname.setdefault(one.hostname, []).append(one)
        try:
            for hostname, batch in by_hostname.items():
                self._publish_of(hostname, batch)
        except AWAY as exc:
            logger.debug("events not sent", extra={"error": repr(exc)})

    def _publish_of(self, hostname: str, batch: list[_Announcement]) -> None:
        options = {"buffer_group": {"task"}, "buffer_limit": len(batch) + 1} if len(batch) > 1 else {}
        with (
            self._celery.amqp.producer_pool.acquire(block=True) as producer,
            self._celery.events.Dispatcher(
                producer.connection, hostname=hostname, channel=producer.channel, buffer_while_offline=False, **options
            ) as events,
        ):
            for one in batch:
                events.send(one.kind, **one.fields)
            events.flush()
