"""What the devices of slots measured in the last hour: one sample a minute."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from jobs.store import keys
from jobs.store.queries import pipelined
from jobs.store.scripts import Scripts

#: Interval between two samples of a slot, and how long they are kept, seconds.
INTERVAL_S, KEPT_S = 60, 3600


def add(store: Scripts, slot: str, sample: Mapping[str, Any]) -> None:
    """Add a sample, which has its time as ``at``, and forget those that are too old."""
    name, now = keys.SLOT_HISTORY + slot, time.time()
    commands: list[tuple[Any, ...]] = [
        ("zadd", name, {json.dumps(dict(sample), separators=(",", ":")): now}),
        ("zremrangebyscore", name, "-inf", f"({now - KEPT_S}"),
        ("zremrangebyrank", name, 0, -KEPT_S // INTERVAL_S - 1),  # also if workers begin again and again
        ("expire", name, KEPT_S),
    ]
    store.call(lambda client: pipelined(client, commands))


def of_all(store: Scripts) -> dict[str, list[str]]:
    """Return the samples of all slots, oldest first, as they are stored: JSON objects."""
    names = sorted(store.call(lambda client: client.smembers(keys.SLOTS)))
    since = time.time() - KEPT_S
    commands = [("zrangebyscore", keys.SLOT_HISTORY + name, since, "+inf") for name in names]
    return dict(zip(names, store.call(lambda client: pipelined(client, commands)), strict=True))
