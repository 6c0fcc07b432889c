"""Checks of fields that only some models have: ``clip_skip``, ``distilled_guidance_scale`` and ``quality``.

The models file says that a pipeline takes one of the first two by naming an argument for it in ``fields``, and has a
table for each quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.models.quality import STANDARD, fields_of
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import did_you_mean, listed


def with_quality(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> Mapping[str, Any]:
    """Return the fields with the values of the requested quality; fields that the caller sent take precedence."""
    requested = fields.get("quality")
    if requested is not None and requested not in spec.qualities:
        hint, known = did_you_mean(requested, spec.qualities), listed(spec.qualities, requested)
        problems.append(Problem("quality", f"is not one of model {spec.name}{hint or ';'} it has {known}", requested))
    return {**fields_of(spec.quality.get(requested or STANDARD, {})), **fields}


def clip_skip_of(spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], problems: list[Problem]) -> int | None:
    """Return how many of the text encoder's last layers are skipped; None: none."""
    skipped = _checked("clip_skip", spec, kind, fields, problems) if fields.get("clip_skip") else None
    return None if skipped is None else int(skipped)


def distilled_guidance_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], problems: list[Problem]
) -> float | None:  # fmt: skip
    """Return the requested guidance; None: the pipeline's default."""
    name = "distilled_guidance_scale"
    return float(_checked(name, spec, kind, fields, problems)) if fields.get(name) is not None else None


def _checked(name: str, spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], problems: list[Problem]) -> Any:
    value = fields[name]
    if not spec.offers(name, kind):
        problems.append(Problem(name, f"does not apply: model {spec.name} has none for {kind}", value))
    elif value not in spec.limit(name):
        problems.append(Problem(name, f"must be {spec.limit(name)} for model {spec.name}", value))
    return value
