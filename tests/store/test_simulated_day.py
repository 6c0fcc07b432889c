"""The simulated day of ``bench/day`` runs: it calls the store by itself, and knows what each script returns."""

from __future__ import annotations

from bench.day.population import Size
from bench.day.run import simulate


def test_a_day_with_few_jobs_loses_none() -> None:
    report = simulate(Size(slots=8, users=24, models=4, groups=2, jobs=120), 1, None)
    for line in ("jobs submitted | 120", "jobs lost (accepted and never ended) | 0", "runs that ended twice | 0"):
        assert f"| {line} |" in report
