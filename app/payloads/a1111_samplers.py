"""Map the sampler and the schedule of AUTOMATIC1111's body to a scheduler of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.models import schedulers
from jobs.models.schedulers import SAMPLERS, Choice
from jobs.models.spec import ModelSpec

#: Names of a schedule that leave the choice to the sampler.
_AUTOMATIC = ("", "automatic")


def scheduler_of_sampler(body: Mapping[str, Any], spec: ModelSpec, warnings: list[str]) -> str | None:
    """Return the scheduler for a sampler and its schedule; None for the model's own.

    A schedule in the name of the sampler precedes the field ``scheduler``, and without either the sampler decides, as
    in the original.

    Args:
        body: the fields of the body that are not null.
        spec: the model.
        warnings: receives the differences to what was requested.
    """
    requested = body.get("sampler_name") or body.get("sampler_index") or ""
    field = body.get("scheduler", "").strip()
    sampler, schedule = schedulers.split(requested or spec.scheduler or "")
    if requested and sampler is None:
        warnings.append(f"model {spec.name} has no sampler {requested}; its own was used")
        return None
    if not requested and field.lower() in _AUTOMATIC:
        return None
    if sampler is None:
        warnings.append(f"scheduler {field} was ignored: no sampler was named, and model {spec.name} has its own")
        return None
    schedule = (schedule if requested else "") or field
    offered = [choice for choice in map(schedulers.parse, (*spec.schedulers, spec.scheduler or "")) if choice]
    automatic = Choice(sampler, SAMPLERS[sampler].automatic)
    known = schedulers.schedule_of(schedule)
    is_automatic = schedule.lower() in _AUTOMATIC
    wanted = automatic if is_automatic or known is None else Choice(sampler, known)
    others = [choice for choice in offered if choice.sampler == sampler]
    choice = next((choice for choice in (wanted, automatic, Choice(sampler), *others) if choice in offered), None)
    if choice is None:
        warnings.append(f"model {spec.name} has no sampler {sampler}; its own was used")
        return None
    if known is None and not is_automatic:
        warnings.append(f"there is no schedule {schedule} here; {choice} was used")
    elif choice != wanted:
        warnings.append(f"model {spec.name} has no {wanted}; {choice} was used")
    return str(choice)
