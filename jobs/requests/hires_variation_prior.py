"""Checks of the fields ``hires`` (a second, larger pass), ``variation`` (noise of two seeds) and ``prior``.

Each function returns the value for the complete request and appends the problems that it finds to a list.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec, Range
from jobs.requests.limits import clamps, within
from jobs.requests.size import within_limits
from jobs.requests.strength import enough_for_one_step

#: Largest seed.
MAX_SEED = 2**63 - 1
#: Defaults of a second pass: factor for width and height, and strength.
HIRES_SCALE, HIRES_STRENGTH = 2.0, 0.7

_SHARE = Range(0, 1)
_SEED = Range(0, MAX_SEED)
_SCALE = Range(1, 64)
_PRIOR = {"steps": Range(1, 200), "guidance_scale": Range(0, 50)}


def random_seed() -> int:
    """Return the seed of a request that names none."""
    return secrets.randbelow(2**32)


def variation_of(fields: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """Return the second seed and the share of its noise; None if the share is 0 or absent."""
    variation = _object(fields, "variation")
    strength, seed = variation.get("strength", 0.0), variation.get("seed", -1)
    if strength not in _SHARE:
        problems.append(Problem("variation.strength", f"must be {_SHARE}", strength))
    if seed > MAX_SEED:
        problems.append(Problem("variation.seed", f"must be {_SEED}, or negative for a random seed", seed))
    if not strength:
        return None
    return {"seed": seed if seed >= 0 else random_seed(), "strength": float(strength)}


def prior_of(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """Return the prior's values that the request sets; the model has the others."""
    prior = _object(fields, "prior")
    if not prior:
        return None
    if not spec.has_prior:
        problems.append(Problem("prior", f"does not apply: model {spec.name} has no prior"))
    problems += [
        Problem(f"prior.{name}", f"must be {allowed}", prior[name])
        for name, allowed in _PRIOR.items()
        if name in prior and prior[name] not in allowed
    ]
    return prior


def hires_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], first: Mapping[str, int], problems: list[Problem],
    warnings: list[str],
) -> dict[str, Any] | None:  # fmt: skip
    """Return size, steps and strength of the second pass; None if there is none.

    Args:
        spec: the model.
        kind: the kind of job.
        fields: the fields that the caller sent.
        first: ``width`` and ``height`` (pixels) and ``steps`` of the first pass.
        problems: problems are appended to it.
        warnings: warnings about rounded values are appended to it.
    """
    if fields.get("hires") is None:
        return None
    if kind is not Kind.TEXT2IMG:
        problems.append(Problem("hires", f"does not apply to {kind}: a second pass needs text2img"))
        return None
    if Kind.IMG2IMG not in spec.kinds:
        rule = f"does not apply: the second pass is img2img, which model {spec.name} does not have"
        problems.append(Problem("hires", rule))
        return None
    hires = _object(fields, "hires")
    second: dict[str, Any] = _size(spec, hires, first, problems, warnings)
    strengths = spec.limit("strength")
    second["steps"] = int(
        within("steps", hires.get("steps", first["steps"]), spec, problems, warnings, field="hires.steps")
    )
    second["strength"] = float(hires.get("strength", min(max(HIRES_STRENGTH, strengths.low), strengths.high)))
    if second["strength"] not in strengths:
        rule = f"must be {strengths} for model {spec.name}"
        problems.append(Problem("hires.strength", rule, second["strength"]))
    if spec.executor != "remote":  # a back end has its own rule
        second["strength"] = enough_for_one_step(
            "hires.strength", second["strength"], second["steps"], strengths, problems, warnings
        )
    return second


def _size(
    spec: ModelSpec, hires: Mapping[str, Any], first: Mapping[str, int], problems: list[Problem], warnings: list[str]
) -> dict[str, int]:
    """Return width and height in pixels: as requested, one in proportion to the other, or both by ``scale``."""
    sides = ("width", "height")
    named = [name for name in sides if name in hires]
    scale = hires.get("scale", HIRES_SCALE)
    if named and "scale" in hires:
        problems.append(Problem("hires.scale", "cannot be combined with width or height", scale))
    elif "scale" in hires and scale not in _SCALE:
        problems.append(Problem("hires.scale", f"must be {_SCALE}", scale))
        scale = 1.0
    if named:
        scale = hires[named[0]] / max(1, first[named[0]])
    size = {}
    requested_size = {name: hires.get(name, first[name] * scale) for name in sides}
    outside = [requested for name, requested in requested_size.items() if requested not in spec.limit(name)]
    if outside and all(clamps(spec, requested) for requested in outside):
        fitted = dict(zip(sides, within_limits(spec, *requested_size.values()), strict=True))
        size = {name: max(fitted[name], first[name]) for name in sides}
        sent, used = (" × ".join(str(round(side)) for side in pixels.values()) for pixels in (requested_size, size))
        warnings.append(f"hires: {sent} was changed to {used}, which is within the limits of model {spec.name}")
        return size
    for name, requested in requested_size.items():
        limit = spec.limit(name)
        size[name] = side = limit.nearest(requested, spec.size_multiple_px)
        if requested not in limit:
            problems.append(_size_problem(name, named, f"{limit} for model {spec.name}", round(requested)))
        elif side < first[name]:
            rule = f"at least that of the first pass, {first[name]}"
            problems.append(_size_problem(name, named, rule, side))
        elif name in hires and side != requested:
            warnings.append(f"hires.{name} {requested} was rounded to {side}")
    return size


def _size_problem(side: str, named: list[str], rule: str, pixels: int) -> Problem:
    """Return the problem of a side for the field that determines it: the side itself, or ``scale``."""
    if named:
        return Problem(f"hires.{side}", f"must be {rule}", pixels)
    return Problem("hires.scale", f"must give a {side} of {rule}: {pixels}")


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values of a field that is an object; None counts as absent."""
    return {key: value for key, value in (fields.get(name) or {}).items() if value is not None}
