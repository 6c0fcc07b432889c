"""The open connections of a web process, and how many of them there may be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.server.connection import Connection

#: File descriptors for everything but clients: connections to Redis, files that are sent, downloads.
OTHER_FILES = 300
#: While the process is full, it looks for clients that have hung up this often, seconds.
LOOK_INTERVAL_S = 1.0
#: Idle connections are closed this long after their limit of time, seconds.
OVERDUE_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Limits:
    """Numbers of connections of one process."""

    #: Connections whose requests are being answered.
    busy: int
    #: Connections that wait for a request, in all.
    idle: int
    #: The same from one address.
    idle_per_address: int

    @property
    def most(self) -> int:
        """Connections that may be open at once, with as many whose clients have hung up as there are busy ones."""
        return 2 * self.busy + self.idle

    def within(self, file_descriptors: int) -> Limits:
        """Return these limits, or smaller ones for a process that may not open that many files."""
        share = min(1.0, max(0, file_descriptors - OTHER_FILES) / self.most)
        return Limits(*(max(1, int(share * number)) for number in (self.busy, self.idle, self.idle_per_address)))


class Connections:
    """Counts connections, and closes the oldest idle one when there are too many.

    A client that is about to send a request is thus always accepted, however many others are silent. Busy connections
    are never closed: a reverse proxy may hold many of them.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: In the order in which they became idle.
        self._idle: dict[Connection, None] = {}
        self._per_address: Counter[str] = Counter()
        self._busy: set[Connection] = set()
        #: Busy ones whose clients have hung up: their streams notice it at the next write.
        self._gone: set[Connection] = set()
        self._look_again_at = 0.0

    def is_full(self) -> bool:
        """Return whether more requests are being answered than there should be, without those of lost clients."""
        if len(self._busy) > self._limits.busy and time.monotonic() >= self._look_again_at:
            self._look_again_at = time.monotonic() + LOOK_INTERVAL_S
            gone = {connection for connection in self._busy if connection.is_gone()}
            self._busy -= gone
            self._gone |= gone
        return len(self._busy) > self._limits.busy

    @contextmanager
    def accepted(self, connection: Connection) -> Iterator[None]:
        """Count a connection, which is idle at first, until it is closed."""
        self._add(connection)
        try:
            yield
        finally:
            self._remove(connection)

    @contextmanager
    def answering(self, connection: Connection) -> Iterator[None]:
        """Count a connection as busy."""
        self._remove(connection)
        self._busy.add(connection)
        try:
            yield
        finally:
            self._busy.discard(connection)
            self._gone.discard(connection)
            self._add(connection)

    def close_overdue(self) -> None:
        """Close the idle connections whose clients were silent for too long, now and at every interval from then on.

        One look at all of them costs less than a timer for each read.
        """
        while True:
            for connection in [connection for connection in self._idle if connection.is_overdue()]:
                connection.hang_up()
            time.sleep(OVERDUE_INTERVAL_S)

    def close_idle(self) -> None:
        """Close all connections on which no request is being answered."""
        for connection in list(self._idle):
            connection.hang_up()

    def _add(self, connection: Connection) -> None:
        self._idle[connection] = None
        self._per_address[connection.address] += 1
        if connection.address and self._per_address[connection.address] > self._limits.idle_per_address:
            self._close_oldest(connection.address)
        if len(self._idle) > self._limits.idle:
            self._close_oldest("")

    def _close_oldest(self, address: str) -> None:
        for connection in self._idle:
            if address in ("", connection.address) and not connection.has_unread_data():
                self._remove(connection)
                connection.hang_up()
                return

    def _remove(self, connection: Connection) -> None:
        if connection in self._idle:
            del self._idle[connection]
            self._per_address[connection.address] -= 1
            if not self._per_address[connection.address]:
                del self._per_address[connection.address]
