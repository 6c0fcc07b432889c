"""Checks of fields that only some pipelines have: ``clip_skip`` and ``distilled_guidance_scale``.

The models file says that a pipeline takes such a field by naming an argument for it in ``fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec


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
