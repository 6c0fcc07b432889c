"""Premium images and general videos compete, in simulated time: nobody starves (``bench/day/preempting``)."""

from __future__ import annotations

import statistics

import pytest

from bench.day.preempting import Demand, Outcome, Task, simulate

PREMIUM, GENERAL = "premium", "general"
SECONDS = 900.0


def simulated(premium: float, general: float, *, after_s: float, most: int = 2) -> Outcome:
    demands = [Demand(PREMIUM, 20, 0.3, premium), Demand(GENERAL, 50, 3.0, general)]
    return simulate(demands, slots=2, hour_s=SECONDS, after_s=after_s, most=most)


def of(outcome: Outcome, job_class: str) -> list[Task]:
    return [task for task in outcome.tasks if task.demand.job_class == job_class]


def share(outcome: Outcome, job_class: str) -> float:
    return outcome.used[job_class] / (outcome.slots * outcome.hour_s)


def waits(outcome: Outcome, job_class: str) -> list[float]:
    return sorted((task.started_s or 1e9) - task.submitted_s for task in of(outcome, job_class))


def test_a_flood_of_premium_jobs_leaves_the_others_their_share() -> None:
    """All premium jobs together ask for more than the slots can do; the weights give general jobs a quarter."""
    outcome = simulated(1.0, 0.8, after_s=5)
    assert all(task.ended_s is not None for task in outcome.tasks)
    assert max(task.preemptions for task in outcome.tasks) in (1, 2)
    assert not any(task.preemptions for task in of(outcome, PREMIUM))
    assert share(outcome, GENERAL) > 0.18


def test_premium_jobs_start_sooner_and_the_others_lose_little() -> None:
    calm, urgent = (simulated(0.1, 1.2, after_s=after_s, most=20) for after_s in (0.0, 5.0))
    assert statistics.mean(waits(urgent, PREMIUM)) < 5 < 20 < statistics.mean(waits(calm, PREMIUM))
    assert share(urgent, GENERAL) > share(calm, GENERAL) - 0.05
    computed = sum(task.computed_s for task in of(urgent, GENERAL))
    expected = sum(task.demand.run_s for task in of(urgent, GENERAL))
    assert computed == pytest.approx(expected, rel=0.001)  # no step was computed twice
