"""Read what all processes have measured, and what else the metrics need, in one round trip."""

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
        ("zrange", keys.STATE + JobState.QUEUED, 0, 0, False, True),
        ("hgetall", keys.WORK),
        ("hgetall", keys.RATES),
    ]
    measures, lost, dead, oldest, work, rates = store.call(lambda c: pipelined(c, commands))
    lost_leases, lost_runs, dead_letters = (int(number or 0) for number in lost)
    return Figures(
        series=[_series(name, text) for name, text in sorted(measures.items())],
        lost_leases=lost_leases,
        lost_runs=lost_runs,
        dead_letters=dead_letters,
        dead=dead,
        oldest_wait_s=max(0.0, time.time() - oldest[0][1] / 1000) if oldest else 0.0,
        work=_numbers(work),
        rates=_numbers(rates),
    )


@lru_cache(maxsize=_PARSED)
def _series(name: str, text: str) -> Series:
    family, *labels = json.loads(name)
    return Series(family, tuple(labels), values_of(text))


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    return {name: float(text) for name, text in texts.items()}
