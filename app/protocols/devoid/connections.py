"""The sockets of a web process: which subscriber queues each of them owns, and when it has messages to send.

One thread listens to the events of all jobs, so that an idle socket costs nothing.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from typing import Protocol

from app import extensions
from app.events.hub import EventHub, Listener
from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.slots.slot import owner_name
from jobs.store.events import Event
from jobs.store.jobs import JobStore
from jobs.store.outgoing.subscriber_queue import RENEW_INTERVAL_S, SubscriberQueues

logger = logging.getLogger(__name__)

#: Name of the connections among the adapters of the app.
CONNECTIONS = "devoid.connections"
#: Field of an event with the subscriber queue of its job.
_QUEUE_FIELD = "mailbox"


class Connection(Protocol):
    """One open socket."""

    #: The owner of its jobs.
    key_id: str
    #: Subscriber queues that it owns; the first one receives the messages of its jobs.
    queues: list[str]

    def wake(self) -> None:
        """Note that a queue may have messages; return at once."""


class Connections:
    """The open sockets of this process."""

    def __init__(self, settings: Settings, store: JobStore, hub: EventHub) -> None:
        self._store, self._hub = store, hub
        self.owner = f"{owner_name(settings.node)}:{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._by_key_id: dict[str, list[Connection]] = {}
        self._by_queue: dict[tuple[str, str], Connection] = {}
        self._is_running = False

    def queues_of(self, key_id: str) -> SubscriberQueues:
        """Return the subscriber queues of a key, as this process uses them."""
        return SubscriberQueues(self._store, key_id, self.owner)

    def open(self, connection: Connection) -> None:
        """Register an open socket: it acquires queues, with the messages that they hold. Raises: Unavailable."""
        with self._lock:
            if not self._is_running:
                threading.Thread(target=self._run, name="devoid-connections", daemon=True).start()
                self._is_running = True
        acquired = self.queues_of(connection.key_id).acquire()
        with self._lock:
            self._by_key_id.setdefault(connection.key_id, []).append(connection)
            self._assign(connection, acquired)

    def close(self, connection: Connection) -> None:
        """Unregister a closed socket: the next one of its service acquires its queues."""
        with self._lock:
            open_ones = self._by_key_id.get(connection.key_id, [])
            if connection in open_ones:
                open_ones.remove(connection)
            if not open_ones:
                self._by_key_id.pop(connection.key_id, None)
            for name in connection.queues:
                self._by_queue.pop((connection.key_id, name), None)
        try:
            self.queues_of(connection.key_id).release(connection.queues)
        except Unavailable:
            logger.warning("subscriber queues stay until the lease lapses", extra={"key": connection.key_id})

    def _assign(self, connection: Connection, queues: list[str]) -> None:
        connection.queues.extend(name for name in queues if name not in connection.queues)
        self._by_queue |= {(connection.key_id, name): connection for name in queues}
        connection.wake()

    def _run(self) -> None:
        while True:
            try:
                with self._hub.listen() as listener:
                    self._serve(listener)
            except Unavailable:
                time.sleep(RENEW_INTERVAL_S)
            except Exception:
                logger.exception("the thread of the sockets continues after an error")
                time.sleep(RENEW_INTERVAL_S)

    def _serve(self, listener: Listener) -> None:
        next_renewal = time.monotonic()
        while True:
            if time.monotonic() >= next_renewal:
                self._renew()
                next_renewal = time.monotonic() + RENEW_INTERVAL_S
            try:
                event = listener.get(next_renewal - time.monotonic())
            except queue.Empty:
                continue
            for connection in self._concerned(event):
                connection.wake()

    def _concerned(self, event: Event | None) -> list[Connection]:
        """Return the sockets that may have messages after an event; None stands for events that were missed."""
        if event is None:
            with self._lock:
                return [connection for connections in self._by_key_id.values() for connection in connections]
        fields = event.fields
        is_step = fields["state"] == "running" and fields.get("step", "0") != "0"
        if _QUEUE_FIELD not in fields or is_step:
            return []
        connection = self._by_queue.get((event.key_id, fields[_QUEUE_FIELD]))
        return [connection] if connection else []

    def _renew(self) -> None:
        """Renew the leases of this process, and take over the queues of processes that died."""
        with self._lock:
            key_ids = list(self._by_key_id)
        for key_id in key_ids:
            taken_over = self.queues_of(key_id).renew()
            with self._lock:
                connections = self._by_key_id.get(key_id)
                if taken_over and connections:
                    self._assign(connections[-1], taken_over)


def connections() -> Connections:
    """Return the sockets of the current app."""
    registered: Connections = extensions.current().adapters[CONNECTIONS]
    return registered
