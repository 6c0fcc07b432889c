"""Numbers of a request within the limits of its model: refused outside of them, or changed for a model that clamps."""

from __future__ import annotations

from typing import Any

from jobs.errors import Problem
from jobs.models.spec import ModelSpec, Range


def within(
    name: str, value: Any, spec: ModelSpec, problems: list[Problem], warnings: list[str], field: str = ""
) -> Any:
    """Return the value, or the nearest allowed one if the model clamps.

    Args:
        name: the field; it has a limit of the same name.
        value: what the caller sent.
        spec: the model.
        problems: receives a problem if the value is refused.
        warnings: receives a warning if the value is changed.
        field: the field's whole name, if it is part of an object.
    """
    limit = spec.limit(name)
    if value in limit:
        return value
    if not clamps(spec, value):
        problems.append(Problem(field or name, f"must be {limit} for model {spec.name}", value))
        return value
    nearest = limit.clamped(value)
    warnings.append(_changed(field or name, value, nearest, limit, spec))
    return nearest


def rounded(
    name: str, value: Any, spec: ModelSpec, step: int, offset: int, problems: list[Problem], warnings: list[str]
) -> int:  # fmt: skip
    """Return the allowed number ``step`` × n + ``offset`` that is nearest to the value. Arguments as :func:`within`."""
    limit = spec.limit(name)
    nearest = limit.nearest(value, step, offset)
    if value in limit:
        if nearest != value:
            warnings.append(f"{name} {value} was rounded to {nearest}")
    elif clamps(spec, value):
        warnings.append(_changed(name, value, nearest, limit, spec))
    else:
        problems.append(Problem(name, f"must be {limit} for model {spec.name}", value))
    return nearest


def clamps(spec: ModelSpec, value: float) -> bool:
    """Return whether a model takes a value outside of its limits for the nearest allowed one; never 0 or less."""
    return spec.clamp and value > 0


def _changed(field: str, value: Any, nearest: Any, limit: Range, spec: ModelSpec) -> str:
    return f"{field} {value} was changed to {nearest}: it must be {limit} for model {spec.name}"
