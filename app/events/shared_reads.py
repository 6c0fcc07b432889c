"""Values that many requests ask for at the same time, such as the state of the fleet: read for all of them at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

#: How old a value may be for pages that nobody asks right after a change, seconds.
RECENT_S = 1.0

T = TypeVar("T")


@dataclass
class _Entry:
    """The newest value under one name."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: float = float("-inf")
    outcome: Future[Any] = field(default_factory=Future)


class SharedReads:
    """Reads values by name, one read of each at a time."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        #: See :data:`RECENT_S`.
        self.recent_s = RECENT_S

    def get(self, name: str, read: Callable[[], T]) -> T:
        """Return a value whose read began after this call, so that it has every change that was made before.

        Requests that ask while a value is being read share the next read. An exception is raised to all who share it.
        """
        return self._get(name, read, time.monotonic())

    def recent(self, name: str, read: Callable[[], T]) -> T:
        """Return a value that was read at most ``recent_s`` ago."""
        return self._get(name, read, time.monotonic() - self.recent_s)

    def _get(self, name: str, read: Callable[[], T], since: float) -> T:
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
        with entry.lock:
            if entry.read_at < since:
                entry.outcome, entry.read_at = Future(), time.monotonic()
                try:
                    entry.outcome.set_result(read())
                except BaseException as exc:
                    entry.outcome.set_exception(exc)
            outcome = entry.outcome
        value: T = outcome.result()
        return value
