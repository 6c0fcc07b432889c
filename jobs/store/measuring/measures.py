"""The measurements of one process, until they are added to those of all processes.

An observation costs a lock and a few assignments. A thread sends what was observed every :data:`INTERVAL_S` in one
call, and ends when nothing more was, so that an idle process sends nothing.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from itertools import islice

from jobs.errors import Unavailable
from jobs.store.measuring.families import Counter, Histogram

#: Pause between two calls that send measurements, seconds.
INTERVAL_S = 5.0
#: Series in one call, so that it does not hold Redis for long.
SERIES_PER_CALL = 200
#: Names of values of a series besides its buckets: the sum of its durations; a count.
SUM, COUNT = "sum", "count"

#: Adds a batch of this process: its name, the number of the batch, and the values to add by series.
Send = Callable[[str, int, Mapping[str, str]], object]
#: Name of the family and values of its labels.
_Series = tuple[str, ...]


class Measures:
    """Safe to share between threads and greenlets; create a new one after a fork.

    Args:
        send: raises Unavailable. A batch that is sent again is counted once.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._process = secrets.token_hex(6)
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._values: dict[_Series, dict[str, float]] = {}
        self._is_running, self._closing = False, threading.Event()
        self._number, self._unsent = 0, dict[str, str]()

    def observe(self, family: Histogram, *labels: str, seconds: float, times: int = 1) -> None:
        """Note that something took so many seconds, ``times`` times."""
        seconds = max(0.0, seconds)
        self._add((family.name, *labels), family.bucket_of(seconds), times, seconds * times)

    def count(self, family: Counter, *labels: str) -> None:
        """Note that something happened."""
        self._add((family.name, *labels), COUNT, 1, 0.0)

    def publish(self) -> bool:
        """Send what was observed. Return whether there was anything; what could not be sent is kept."""
        with self._sending:
            batch = self._unsent or self._next_batch()
            if not batch:
                return False
            try:
                self._send(self._process, self._number, batch)
            except Unavailable:
                return True
            self._unsent = {}
            return True

    def close(self) -> None:
        """Send what is left: the process ends."""
        self._closing.set()
        before = -1
        while self.publish() and before != self._number:  # until nothing is left, or Redis does not answer
            before = self._number

    def _add(self, series: _Series, name: str, number: int, total: float) -> None:
        with self._lock:
            values = self._values.get(series)
            if values is None:
                values = self._values[series] = {}
            values[name] = values.get(name, 0) + number
            if total:
                values[SUM] = values.get(SUM, 0.0) + total
            must_start, self._is_running = not self._is_running, True
        if must_start:
            threading.Thread(target=self._run, name="measures", daemon=True).start()

    def _next_batch(self) -> dict[str, str]:
        with self._lock:
            names = list(islice(self._values, SERIES_PER_CALL))
            taken = {series: self._values.pop(series) for series in names}
        self._unsent = {series_name(series): text_of(values) for series, values in taken.items()}
        self._number += 1
        return self._unsent

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL_S):
            if self.publish():
                continue
            with self._lock:
                if not self._values:
                    self._is_running = False
                    return


def series_name(series: _Series) -> str:
    """Return the name of a series in Redis: a JSON list."""
    return json.dumps(series, separators=(",", ":"), ensure_ascii=False)


def text_of(values: Mapping[str, float]) -> str:
    """Return values as Redis keeps them: ``name:number name:number …``."""
    return " ".join(f"{name}:{number:.10g}" for name, number in values.items())


def values_of(text: str) -> dict[str, float]:
    """Read what :func:`text_of` or the script ``add_measures`` wrote."""
    pairs = (pair.rpartition(":") for pair in text.split())
    return {name: float(number) for name, _, number in pairs}
