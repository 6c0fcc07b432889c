"""The least strength of img2img: at least one of the steps has to run."""

from __future__ import annotations

import math

from jobs.errors import Problem
from jobs.models.spec import Range


def enough_for_one_step(
    name: str, strength: float, steps: int, limit: Range, problems: list[Problem], warnings: list[str]
) -> float:
    """Return a strength with which a step runs: pipelines run int(strength × steps) of the steps.

    Args:
        name: the field.
        strength: 0 to 1.
        steps: number of steps of the whole schedule.
        limit: allowed strengths.
        problems: receives a problem if the limit does not allow enough.
        warnings: receives a warning if the strength is raised.
    """
    if steps < 1 or strength not in limit or int(strength * steps):
        return strength
    least = 1 / steps
    if least * steps < 1:  # rounded down
        least = math.nextafter(least, 1)
    if least > limit.high:
        rule = f"must be at least 1 / steps, because strength × steps is the number of steps that run, and {limit}"
        problems.append(Problem(name, rule, strength))
        return strength
    warnings.append(f"{name} {strength:g} was raised to {least:.3g}: with {steps} steps, none would have run")
    return least
