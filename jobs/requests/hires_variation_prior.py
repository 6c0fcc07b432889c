"""The passes of a run, as a request asks for them: noise of two seeds, a second and larger pass, and the prior's."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec, Range

#: Seeds go from 0 to this.
MAX_SEED = 2**63 - 1
#: How much larger a second pass is whose size is not said, and how far it changes the first picture.
HIRES_SCALE, HIRES_STRENGTH = 2.0, 0.7

_SHARE = Range(0, 1)
_SEED = Range(0, MAX_SEED)
_PRIOR = {"steps": Range(1, 200), "guidance_scale": Range(0, 50)}


def random_seed() -> int:
    """For a request that names none."""
    return secrets.randbelow(2**32)


def variation_of(sent: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """The second seed and how much of its noise is mixed in; None: nothing is."""
    part = _part(sent, "variation")
    strength, seed = part.get("strength", 0.0), part.get("seed", -1)
    if strength not in _SHARE:
        problems.append(Problem("variation.strength", f"must be {_SHARE}", strength))
    if seed > MAX_SEED:
        problems.append(Problem("variation.seed", f"must be {_SEED}, or negative for a random one", seed))
    if not strength:
        return None
    return {"seed": seed if seed >= 0 else random_seed(), "strength": float(strength)}


def prior_of(spec: ModelSpec, sent: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """What was sent of the prior's settings; the model has the others."""
    part = _part(sent, "prior")
    if not part:
        return None
    if not spec.has_prior:
        problems.append(Problem("prior", f"model {spec.name} has no prior"))
    problems += [
        Problem(f"prior.{name}", f"must be {allowed}", part[name])
        for name, allowed in _PRIOR.items()
        if name in part and part[name] not in allowed
    ]
    chars = spec.limit("prompt_chars")
    if len(part.get("negative_prompt", "")) not in chars:
        problems.append(Problem("prior.negative_prompt", f"length must be {chars} characters", part["negative_prompt"]))
    return part


def hires_of(
    spec: ModelSpec, kind: Kind, sent: Mapping[str, Any], first: Mapping[str, int], problems: list[Problem],
    warnings: list[str],
) -> dict[str, Any] | None:  # fmt: skip
    """Size, steps and strength of the second pass; None: there is none.

    Args:
        spec: the model.
        kind: the kind of job.
        sent: what the caller sent.
        first: ``width`` and ``height`` (pixels) and ``steps`` of the first pass.
        problems: gets what is wrong.
        warnings: gets what was rounded.
    """
    if sent.get("hires") is None:
        return None
    if kind is not Kind.TEXT2IMG or Kind.IMG2IMG not in spec.kinds:
        rule = f"{kind} has no second pass" if kind is not Kind.TEXT2IMG else (
            f"the second pass is img2img, which model {spec.name} does not offer"
        )  # fmt: skip
        problems.append(Problem("hires", rule))
        return None
    part = _part(sent, "hires")
    found: dict[str, Any] = _size(spec, part, first, problems, warnings)
    allowed = spec.limit("strength")
    found["steps"] = int(part.get("steps", first["steps"]))
    found["strength"] = float(part.get("strength", min(max(HIRES_STRENGTH, allowed.low), allowed.high)))
    for name in ("steps", "strength"):
        if found[name] not in spec.limit(name):
            rule = f"must be {spec.limit(name)} for model {spec.name}"
            problems.append(Problem(f"hires.{name}", rule, found[name]))
    if found["strength"] * found["steps"] < 1:
        rule = "strength × steps must be at least 1: that many steps are run"
        problems.append(Problem("hires.strength", rule, found["strength"]))
    return found


def _size(
    spec: ModelSpec, part: Mapping[str, Any], first: Mapping[str, int], problems: list[Problem], warnings: list[str]
) -> dict[str, int]:
    """Width and height in pixels: as sent, the other one in proportion, or both by ``scale``."""
    sides = ("width", "height")
    named = [name for name in sides if name in part]
    scale = part.get("scale", HIRES_SCALE)
    if named and "scale" in part:
        problems.append(Problem("hires.scale", "must not be sent together with width or height", scale))
    elif "scale" in part and not 1 <= scale <= 64:
        problems.append(Problem("hires.scale", "must be between 1 and 64", scale))
        scale = 1.0
    if named:
        scale = part[named[0]] / max(1, first[named[0]])
    found = {}
    for name in sides:
        wanted = part.get(name, first[name] * scale)
        limit, field = spec.limit(name), f"hires.{name}" if named else "hires.scale"
        found[name] = side = limit.nearest(wanted, spec.size_multiple_px)
        if wanted not in limit:
            problems.append(Problem(field, f"{name} must be {limit} for model {spec.name}", round(wanted)))
        elif side < first[name]:
            problems.append(Problem(field, f"{name} must be at least that of the first pass, {first[name]}", side))
        elif name in part and side != wanted:
            warnings.append(f"hires.{name} {wanted} was rounded to {side}")
    return found


def _part(sent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What was sent of a field that has several values; None counts as not sent."""
    return {key: value for key, value in (sent.get(name) or {}).items() if value is not None}
