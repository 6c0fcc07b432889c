"""Many clients of server-sent events in one thread, on bare sockets, so that a thousand of them cost little.

``python -m bench.listeners [--listeners 1000] [--seconds 15]`` measures the delay of step events, and the CPU
time that the web process spends on each message.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import time
from types import TracebackType
from typing import Self

import psutil

from bench.common import machine, noop_stack, quantile, table
from tests.support.harness import ENDLESS_STEPS, Stack

#: The id of an event is the time of its write in Redis, milliseconds since 1970.
_PROGRESS = re.compile(rb"id: (\d+)-\d+\nevent: progress\n")


class Listeners:
    """``count`` connections to the events of one job. Use as a context manager."""

    def __init__(self, port: int, job_id: str, count: int, path: str = "") -> None:
        self._selector = selectors.DefaultSelector()
        self._request = f"GET {path or f'/v1/jobs/{job_id}/events'} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._port, self._count = port, count
        self._begun: set[int] = set()

    def __enter__(self) -> Self:
        for number in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            connection.sendall(self._request)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            if number % 20 == 19:
                self.collect(0.05)
        while len(self._begun) < self._count:  # each listener is told the present state first
            self.collect(0.1)
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
                self._begun.add(key.fd)
                delays_ms += [now_ms - int(match[1]) for match in _PROGRESS.finditer(content)]
        return delays_ms


def web_process(stack: Stack) -> psutil.Process:
    """Return the only worker process of gunicorn."""
    (child,) = psutil.Process(stack.processes["web"].pid).children()
    return child


def measure(listeners: int, seconds: float, step_ms: int, path: str) -> list[tuple[str, str]]:
    """Return what one job with this many listeners costs."""
    with noop_stack("gpu0", "io", NOOP_STEP_MS=step_ms) as stack:
        job_id = stack.submit(model="noop", steps=ENDLESS_STEPS)
        stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
        web = web_process(stack)
        with Listeners(stack.port, job_id, listeners, path) as clients:
            before = web.cpu_times()
            delays_ms = clients.collect(seconds)
            spent_s = sum(web.cpu_times()[:2]) - sum(before[:2])
        stack.cancel(job_id)
    p50, p95, p99 = (quantile(delays_ms, share) for share in (0.5, 0.95, 0.99))
    return [
        (f"step event → client, {listeners:,} listeners", f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms"),
        ("messages", f"{len(delays_ms):,}"),
        ("CPU of the web process for a message", f"{1e6 * spent_s / max(1, len(delays_ms)):.1f} µs"),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--listeners", type=int, default=1000)
    options.add_argument("--seconds", type=float, default=15)
    options.add_argument("--step-ms", type=int, default=500)
    options.add_argument("--all-jobs", action="store_true", help="follow the events of all jobs instead of one job")
    chosen = options.parse_args()
    path = "/v1/events" if chosen.all_jobs else ""
    print(machine())
    print(table(("what", "measured"), measure(chosen.listeners, chosen.seconds, chosen.step_ms, path)))


if __name__ == "__main__":
    main()
