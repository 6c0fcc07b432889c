"""The samples of slots: what is kept, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from jobs.store import keys
from jobs.store.statistics import slot_history
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def values(here: StoreDriver) -> dict[str, list[int]]:
    found = slot_history.of_all(here.store)
    return {name: [json.loads(one)["value"] for one in samples] for name, samples in found.items()}


def test_samples_of_the_last_hour_are_returned_oldest_first(driver: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    here = driver()
    here.open("gpu0")
    here.open("gpu1")
    now = [1_000_000.0]
    monkeypatch.setattr("jobs.store.statistics.slot_history.time.time", lambda: now[0])
    for minute in range(100):
        now[0] += 60
        slot_history.add(here.store, "gpu0", {"at": str(minute), "value": minute})
    assert values(here) == {"gpu0": [*range(40, 100)], "gpu1": []}
    assert here.redis.zcard(keys.SLOT_HISTORY + "gpu0") == 60
    now[0] += 1800
    assert values(here)["gpu0"] == [*range(69, 100)]
    assert 0 < here.redis.ttl(keys.SLOT_HISTORY + "gpu0") <= slot_history.KEPT_S


def test_workers_that_begin_again_and_again_fill_no_memory(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    for number in range(80):
        slot_history.add(here.store, "gpu0", {"at": str(number), "value": number})
    assert values(here)["gpu0"] == [*range(20, 80)]
