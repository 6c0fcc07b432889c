"""Many clients of server-sent events in one thread, on bare sockets, so that a thousand of them cost little."""

from __future__ import annotations

import re
import selectors
import socket
import time
from types import TracebackType
from typing import Self

#: The id of an event is the time of its write in Redis, milliseconds since 1970.
_PROGRESS = re.compile(rb"id: (\d+)-\d+\nevent: progress\n")


class Listeners:
    """``count`` connections to the events of one job. Use as a context manager."""

    def __init__(self, port: int, job_id: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self._port, self._count = port, count

    def __enter__(self) -> Self:
        for number in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            connection.sendall(self._request)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            if number % 20 == 19:
                self.collect(0.05)
        self.collect(1.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def collect(self, duration_s: float) -> list[float]:
        """Return the milliseconds from the write of an event to its arrival, for every event at every listener."""
        delays_ms: list[float] = []
        deadline = time.monotonic() + duration_s
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                assert isinstance(key.fileobj, socket.socket)
                content = key.fileobj.recv(65536)
                now_ms = time.time() * 1000
                assert content, "the server closed a stream"
                delays_ms += [now_ms - int(match[1]) for match in _PROGRESS.finditer(content)]
        return delays_ms
