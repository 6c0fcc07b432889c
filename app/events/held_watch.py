"""Watches the connections of all held requests of a process: one thread checks them, and one call renews their claims.

So a request that waits costs nothing but a look at its socket. The thread ends when no request is held.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from jobs.errors import Unavailable
from jobs.store.held_requests import Claim, renew_claims
from jobs.store.scripts import Scripts

logger = logging.getLogger(__name__)

#: Interval of connection checks, seconds.
CHECK_INTERVAL_S = 0.5


class Watched(Protocol):
    """A connection that waits for the response to a held request."""

    #: Its claim, which answers the pings up to the newest one that a connection check has seen.
    claim: Claim

    def has_hung_up(self) -> bool:
        """Return whether the client has closed the connection."""

    def lose(self) -> None:
        """End the wait: the client has closed the connection."""


class HeldWatch:
    """The waiting connections of one process."""

    def __init__(self, store: Scripts) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._watched: set[Watched] = set()
        self._is_running = False

    @contextmanager
    def watching(self, connection: Watched) -> Iterator[None]:
        """Check a connection and renew its claim inside the block."""
        with self._lock:
            self._watched.add(connection)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="held requests", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.discard(connection)

    def _run(self) -> None:
        while True:
            time.sleep(CHECK_INTERVAL_S)
            with self._lock:
                connections = list(self._watched)
                if not connections:
                    self._is_running = False
                    return
            try:
                self._check(connections)
            except Unavailable:
                pass  # the claims lapse unless Redis is back in time
            except Exception:
                logger.exception("the watch of held requests continues after an error")

    def _check(self, connections: list[Watched]) -> None:
        """Check connections, and those that were pinged meanwhile once more: a ping asks about the connection now."""
        while connections:
            connected = []
            for connection in connections:
                if connection.has_hung_up():
                    connection.lose()
                else:
                    connected.append(connection)
            pings = renew_claims(self._store, [connection.claim for connection in connected])
            connections = []
            for connection, newest in zip(connected, pings, strict=True):
                if newest > connection.claim.answered:
                    connection.claim = connection.claim.answering(newest)
                    connections.append(connection)
