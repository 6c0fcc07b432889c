"""Samples of heartbeats: one a minute, with means."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workers.parent.devices.history import DeviceHistory


def test_a_sample_a_minute_has_the_means_since_the_one_before() -> None:
    written: list[dict[str, Any]] = []
    now = [0.0]
    history = DeviceHistory(written.append, lambda: now[0])
    for beat in range(61):
        now[0] = 2.0 * beat
        history.add({"memory_used_bytes": beat, "utilization_percent": 50.0 if beat % 2 else 100.0, "name": "A card"})
    assert all(datetime.fromisoformat(one.pop("at")).tzinfo for one in written)
    assert written == [
        {"memory_used_bytes": 0, "utilization_percent": 100.0},
        {"memory_used_bytes": 16, "utilization_percent": 75.0},
        {"memory_used_bytes": 46, "utilization_percent": 75.0},
    ]


def test_a_device_without_facts_has_no_samples() -> None:
    written: list[dict[str, Any]] = []
    DeviceHistory(written.append, lambda: 0.0).add({"name": "A card"})
    assert written == []
