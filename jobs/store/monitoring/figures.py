"""Read what all processes have measured, and what else the metrics need, in two round trips."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jobs.states import JobState
from jobs.store import keys
from jobs.store.measuring.measures import values_of
from jobs.store.queries import pipelined
from jobs.store.scripts import Scripts

#: Series that are kept as they were parsed: most do not change from one look to the next.
_PARSED = 16384
#: How many of the oldest queued jobs are looked at in search of one that could run, and how many at a time.
_MAX_OLDEST, _PAGE = 1000, 100


@dataclass(frozen=True)
class Series:
    """The measurements of one family with certain values of its labels."""

    family: str
    labels: tuple[str, ...]
    #: Number of measurements by bucket, and ``sum``; of a counter, ``count``.
    values: Mapping[str, float]


@dataclass(frozen=True)
class Figures:
    """What the service has measured so far."""

    series: list[Series]
    #: Lost leases, lost runs and dead letters since the counters were started.
    lost_leases: int
    lost_runs: int
    dead_letters: int
    #: Jobs on the dead-letter list now.
    dead: int
    #: Age of the oldest job that waits, seconds; 0 without one.
    oldest_wait_s: float
    #: Units of work that wait, by model; measured seconds per unit, by model.
    work: Mapping[str, float]
    rates: Mapping[str, float]


def read(store: Scripts) -> Figures:
    """Return the figures of the service."""
    commands: list[tuple[Any, ...]] = [
        ("hgetall", keys.MEASURES),
        ("hmget", keys.COUNTERS, "lost_leases", "lost_runs", "dead_letters"),
        ("zcard", keys.DEAD),
        ("hgetall", keys.WORK),
        ("hgetall", keys.RATES),
    ]
    measures, lost, dead, work, rates = store.call(lambda c: pipelined(c, commands))
    lost_leases, lost_runs, dead_letters = (int(number or 0) for number in lost)
    return Figures(
        series=[_series(name, text) for name, text in sorted(measures.items())],
        lost_leases=lost_leases,
        lost_runs=lost_runs,
        dead_letters=dead_letters,
        dead=dead,
        oldest_wait_s=store.call(lambda client: _oldest_wait_s(client, store.settings.scheduling.class_weights)),
        work=_numbers(work),
        rates=_numbers(rates),
    )


def _oldest_wait_s(client: Any, weights: Mapping[str, int]) -> float:
    """Return for how long the oldest job waits; jobs that wait for their time, or run off-peak, are left out."""
    now_ms = 1000 * time.time()
    for start in range(0, _MAX_OLDEST, _PAGE):
        oldest = client.zrange(keys.STATE + JobState.QUEUED, start, start + _PAGE - 1, withscores=True)
        records = client.hmgets([keys.JOB + job_id for job_id, _ in oldest], ("class", "not_before"))
        since = [
            max(created_ms, float(not_before_ms or 0))
            for (_, created_ms), (job_class, not_before_ms) in zip(oldest, records, strict=True)
            if weights.get(job_class, 1)
        ]
        waiting = [since_ms for since_ms in since if since_ms <= now_ms]
        if waiting or len(oldest) < _PAGE:
            return (now_ms - min(waiting)) / 1000 if waiting else 0.0
    return 0.0


@lru_cache(maxsize=_PARSED)
def _series(name: str, text: str) -> Series:
    family, *labels = json.loads(name)
    return Series(family, tuple(labels), values_of(text))


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    return {name: float(text) for name, text in texts.items()}
