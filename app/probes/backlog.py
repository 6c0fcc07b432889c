"""How long the fleet needs for the jobs that wait, by model: the number by which slots are added and removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from jobs.store.monitoring.figures import Figures
from jobs.store.queries import Fleet

#: Seconds that a job of a model is expected to take before the first one was measured, as the scheduler assumes.
UNMEASURED_S = 1.0


def slots_by_model(fleet: Fleet) -> Counter[str]:
    """Return the number of slots that run jobs of a model now, busy or not; one of several models counts for each."""
    offers = Counter(slot.models for slot in fleet.slots if fleet.state_of(slot) in ("idle", "busy"))
    found = Counter[str]()
    for models, slots in offers.items():  # most slots run the same models
        found.update(dict.fromkeys(models, slots))
    return found


def backlog_seconds(
    fleet: Fleet, figures: Figures, models: Iterable[str], slots: Counter[str]
) -> dict[str, float]:  # fmt: skip
    """Return the expected GPU seconds of waiting jobs by model, each divided by the slots that run it.

    Without such a slot, the seconds are those that one slot would need.

    Args:
        fleet: the slots, and the numbers of waiting jobs.
        figures: work that waits, and how long it takes.
        models: those of the service; ones that jobs wait for, or that a slot runs, are added.
        slots: number of slots by model.
    """
    names = sorted({*models, *slots, *fleet.waiting_models})
    return {model: _expected_s(model, fleet, figures) / max(1, slots[model]) for model in names}


def _expected_s(model: str, fleet: Fleet, figures: Figures) -> float:
    waiting, rate = fleet.waiting_models.get(model, 0), figures.rates.get(model, 0.0)
    if not waiting:
        return 0.0
    return rate * figures.work.get(model, 0.0) if rate > 0 else UNMEASURED_S * waiting
