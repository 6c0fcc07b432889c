"""The post office of a web process: knows its sockets and their mailboxes, and wakes a socket that has mail.

One thread listens to events of all jobs, so that an idle socket costs nothing.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from typing import Protocol

from app import extensions
from app.events import EventHub, Listener
from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.slots.slot import owner_name
from jobs.store.events import Event
from jobs.store.jobs import JobStore
from jobs.store.subscriber_queue import RENEW_INTERVAL_S, SubscriberQueues

logger = logging.getLogger(__name__)


#: Name of the post office among the adapters of the app.
OFFICE = "devoid.office"


class Reader(Protocol):
    """A socket."""

    service: str
    #: Subscriber queues that it owns; the first one gets the messages of its jobs.
    queues: list[str]

    def wake(self) -> None:
        """There may be mail; returns at once."""


class PostOffice:
    """The sockets of this process."""

    def __init__(self, settings: Settings, store: JobStore, hub: EventHub) -> None:
        self._store, self._hub = store, hub
        self.owner = f"{owner_name(settings.node)}:{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._readers: dict[str, list[Reader]] = {}
        self._by_queue: dict[tuple[str, str], Reader] = {}
        self._running = False

    def queues_of(self, service: str) -> SubscriberQueues:
        """The mailboxes of a service, as this process sees them."""
        return SubscriberQueues(self._store, service, self.owner)

    def open(self, reader: Reader) -> None:
        """A socket opens: it has mailboxes from now on, and what lies in them. Raises: Unavailable."""
        with self._lock:
            if not self._running:
                threading.Thread(target=self._run, name="post", daemon=True).start()
                self._running = True
        taken = self.queues_of(reader.service).acquire()
        with self._lock:
            self._readers.setdefault(reader.service, []).append(reader)
            self._assign(reader, taken)

    def close(self, reader: Reader) -> None:
        """A socket is closed: the next one of its service gets what comes."""
        with self._lock:
            readers = self._readers.get(reader.service, [])
            if reader in readers:
                readers.remove(reader)
            if not readers:
                self._readers.pop(reader.service, None)
            for name in reader.queues:
                self._by_queue.pop((reader.service, name), None)
        try:
            self.queues_of(reader.service).release(reader.queues)
        except Unavailable:
            logger.warning("mailboxes are left when this process ends", extra={"service": reader.service})

    def _assign(self, reader: Reader, queues: list[str]) -> None:
        reader.queues.extend(name for name in queues if name not in reader.queues)
        self._by_queue |= {(reader.service, name): reader for name in queues}
        reader.wake()

    def _run(self) -> None:
        while True:
            try:
                with self._hub.listen() as listener:
                    self._serve(listener)
            except Unavailable:
                time.sleep(RENEW_INTERVAL_S)
            except Exception:
                logger.exception("the post office goes on after an error")
                time.sleep(RENEW_INTERVAL_S)

    def _serve(self, listener: Listener) -> None:
        next_beat = time.monotonic()
        while True:
            if time.monotonic() >= next_beat:
                self._beat()
                next_beat = time.monotonic() + RENEW_INTERVAL_S
            try:
                event = listener.get(next_beat - time.monotonic())
            except queue.Empty:
                continue
            self._wake(event)

    def _wake(self, event: Event | None) -> None:
        if event is None:  # something was missed
            with self._lock:
                readers = [reader for some in self._readers.values() for reader in some]
        else:
            fields = event.fields
            if "mailbox" not in fields or (fields["state"] == "running" and fields.get("step", "0") != "0"):
                return
            reader = self._by_queue.get((event.key_id, fields["mailbox"]))
            readers = [reader] if reader else []
        for one in readers:
            one.wake()

    def _beat(self) -> None:
        """Say that this process lives, and take over from those that do not."""
        with self._lock:
            services = list(self._readers)
        for service in services:
            found = self.queues_of(service).renew()
            with self._lock:
                readers = self._readers.get(service)
                if found and readers:
                    self._assign(readers[-1], found)


def office() -> PostOffice:
    """The post office of the current app."""
    found: PostOffice = extensions.current().adapters[OFFICE]
    return found
