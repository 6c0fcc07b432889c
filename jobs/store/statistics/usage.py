"""What each API key used: GPU time, jobs and files by day and model.

The scripts count it (``lua/include/usage.lua``). Days are those of UTC, numbered from 1 January 1970.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from jobs.store import keys
from jobs.store.queries import pipelined
from jobs.store.scripts import Scripts

#: Days that share a hash in Redis, and hashes that are read in one round trip.
PERIOD_DAYS, HASHES_AT_ONCE = 30, 200
_EPOCH = datetime.date(1970, 1, 1)


@dataclass
class Used:
    """What was used. The fields have the order of the numbers in Redis."""

    #: Seconds of all runs on their slots, without loading where the run was measured; those of lost runs included.
    gpu_s: float = 0.0
    #: The part of them whose work was lost: the worker died or was stopped, or the frames were lost.
    lost_gpu_s: float = 0.0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    images: int = 0
    videos: int = 0
    #: Playing time of the videos.
    video_s: float = 0.0
    #: Size of the stored outputs with their thumbnails and posters.
    output_bytes: int = 0

    def __iadd__(self, other: Used) -> Used:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    @classmethod
    def from_text(cls, text: str) -> Used:
        """Read the numbers as the scripts write them."""
        numbers = zip(astuple(cls()), text.split(), strict=True)
        return cls(*(type(default)(float(number)) for default, number in numbers))


@dataclass(frozen=True)
class Row:
    """What one key used of one model on one day."""

    day: datetime.date
    key_id: str
    model: str
    used: Used


def rows(
    store: Scripts, since: datetime.date, until: datetime.date, key_ids: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yield what was used from one day to another, both included.

    Args:
        store: the store.
        since, until: the days.
        key_ids: only these keys; None: all.
    """
    first, last = (since - _EPOCH).days, (until - _EPOCH).days
    if key_ids is None:
        key_ids = _all_keys(store)
    periods = range(first // PERIOD_DAYS, last // PERIOD_DAYS + 1)
    names = [(key_id, f"{keys.USAGE}{key_id}:{period}") for key_id in key_ids for period in periods]
    for start in range(0, len(names), HASHES_AT_ONCE):
        some = names[start : start + HASHES_AT_ONCE]
        replies = store.call(_reader([name for _, name in some]))
        for (key_id, _), numbers in zip(some, replies, strict=True):
            for field, text in numbers.items():
                day, _, model = field.partition("|")
                if first <= int(day) <= last:
                    yield Row(_EPOCH + datetime.timedelta(int(day)), key_id, model, Used.from_text(text))


def _all_keys(store: Scripts) -> list[str]:
    """The keys that have used something, after forgetting those whose numbers have all expired."""
    kept_ms = (store.settings.retention.usage_days + PERIOD_DAYS) * 86_400_000
    commands: list[tuple[Any, ...]] = [
        ("zremrangebyscore", keys.USAGE_KEYS, "-inf", int(time.time() * 1000) - kept_ms),
        ("zrange", keys.USAGE_KEYS, 0, -1),
    ]
    return sorted(store.call(lambda client: pipelined(client, commands))[1])


def _reader(names: Sequence[str]) -> Any:
    return lambda client: pipelined(client, [("hgetall", name) for name in names])
