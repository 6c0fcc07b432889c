"""The simulated day of ``bench/day`` runs: it calls the store by itself, and knows what each script returns."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from bench.day.ideal import Ideal
from bench.day.population import Size
from bench.day.run import simulate


def test_a_day_with_few_jobs_loses_none() -> None:
    report = simulate(Size(slots=8, users=24, models=4, groups=2, jobs=120), 1, None)
    for line in ("jobs submitted | 120", "jobs lost (accepted and never ended) | 0", "runs that ended twice | 0"):
        assert f"| {line} |" in report


def test_a_job_counts_once_in_the_comparison_however_many_workers_it_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    totals: Counter[str] = Counter()
    submitted, served = Ideal.submitted, Ideal.served

    def note_submitted(ideal: Ideal, *args: Any) -> None:
        totals["submitted"] += args[-1]
        submitted(ideal, *args)

    def note_served(ideal: Ideal, *args: Any) -> None:
        totals["served"] += args[-1]
        served(ideal, *args)

    monkeypatch.setattr(Ideal, "submitted", note_submitted)
    monkeypatch.setattr(Ideal, "served", note_served)
    report = simulate(Size(slots=8, users=24, models=4, groups=2, jobs=120), 1, None, life_s=1000)
    lost = re.search(r"\| runs lost with their worker \| ([\d,]+) \|", report)
    assert lost, report
    assert int(lost[1]) >= 5, report
    # Negative: what was submitted and waits no more. So both sides have the same work in the end.
    assert totals["served"] == pytest.approx(totals["submitted"], rel=1e-9)
