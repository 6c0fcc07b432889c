"""Samples of what a slot's device measures, one a minute, for graphs of the last hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jobs.store.statistics.slot_history import INTERVAL_S

#: Facts that change all the time; a sample has their means.
_MEASURED = ("memory_used_bytes", "memory_total_bytes", "utilization_percent", "temperature_c", "load_1min", "cores")


class DeviceHistory:
    """Makes samples of the facts of each heartbeat.

    Args:
        write: stores a sample.
        now: a clock that never goes back, seconds.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write, self._now = write, now
        self._seen: list[Mapping[str, Any]] = []
        self._due_at = now()

    def add(self, facts: Mapping[str, Any]) -> None:
        """Note the facts of a heartbeat; write a sample at the first one, and then each ``INTERVAL_S`` seconds."""
        self._seen.append(facts)
        if self._now() < self._due_at:
            return
        means = {name: mean for name in _MEASURED if (mean := self._mean(name)) is not None}
        self._seen, self._due_at = [], self._now() + INTERVAL_S
        if means:
            self._write({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **means})

    def _mean(self, name: str) -> float | int | None:
        values = [facts[name] for facts in self._seen if name in facts]
        if not values:
            return None
        mean = sum(values) / len(values)
        return round(mean) if name.endswith("_bytes") or name == "cores" else round(mean, 2)
