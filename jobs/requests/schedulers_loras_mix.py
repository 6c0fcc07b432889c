"""Checks of the fields ``scheduler``, ``loras`` and ``mix``.

Each function returns the value for the complete request and appends the problems that it finds to a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.errors import Problem
from jobs.models import loras, schedulers
from jobs.models.spec import ModelSpec, Range
from jobs.suggestions import did_you_mean, listed

MAX_LORAS = 8
_LORA_WEIGHTS = ("weight", "text_encoder_weight")
MAX_MIXED = 8
#: Weight of a text or image in ``mix``.
MIX_WEIGHT = Range(-4, 4)


def scheduler_of(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> str | None:
    """Return the canonical name of the requested or default scheduler; None: the one that the model's folder names."""
    requested = fields.get("scheduler")
    if not requested:
        return spec.scheduler
    name = str(schedulers.parse(requested) or "")
    if name == spec.scheduler or name in spec.schedulers:
        return name
    known = listed(spec.schedulers or [*filter(None, [spec.scheduler])], requested)
    if not known:
        rule = f"is not supported: model {spec.name} only has its own scheduler"
    elif name:
        rule = f"must be one of {known} for model {spec.name}"
    else:
        hint = did_you_mean(requested, spec.schedulers or [spec.scheduler or ""])
        rule = f"is not a known scheduler{hint or ';'} model {spec.name} has {known}"
    problems.append(Problem("scheduler", rule, requested))
    return None


def loras_of(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> list[dict[str, Any]] | None:
    """Return name and weights of each requested LoRA, or of the model's default ones. An empty list requests none.

    A LoRA in a subfolder is stored by its whole name.
    """
    if "loras" not in fields:
        return [{"name": name, "weight": weight} for name, weight in spec.default_loras.items()] or None
    known = loras.by_short_name(spec.lora_names()) if fields["loras"] else {}
    checked: list[dict[str, Any]] = []
    for index, requested in enumerate(fields["loras"]):
        if "name" not in requested:  # refused before
            continue
        label, sent = f"loras[{index}]", str(requested["name"]).removesuffix(loras.SUFFIX)
        name = known.get(sent, sent)
        if spec.loras is None:
            problems.append(Problem(f"{label}.name", f"is not supported: model {spec.name} has no LoRAs", sent))
        elif sent not in known:
            hint = did_you_mean(sent, known)
            rule = f"is not a LoRA of model {spec.name}{hint or ';'} known: {listed(spec.lora_names(), sent) or 'none'}"
            problems.append(Problem(f"{label}.name", rule, sent))
        elif any(name == other["name"] for other in checked):
            problems.append(Problem(f"{label}.name", "is named twice", sent))
        weights = {key: requested[key] for key in _LORA_WEIGHTS if requested.get(key) is not None}
        weights.setdefault("weight", spec.default_loras.get(name, 1.0))
        problems += [
            Problem(f"{label}.{key}", f"must be {spec.limit('lora_weight')}", weight)
            for key, weight in weights.items()
            if weight not in spec.limit("lora_weight")
        ]
        checked.append({"name": name, **{key: float(weight) for key, weight in weights.items()}})
    if len(checked) > MAX_LORAS:
        problems.append(Problem("loras", f"must have at most {MAX_LORAS} entries", len(checked)))
    return checked or None


def mix_of(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    """Return the parts of mix2img: each a text or the key of an image, with its weight."""
    checked: list[dict[str, Any]] = []
    for index, part in enumerate(fields.get("mix", ())):
        label = f"mix[{index}]"
        names = [name for name in ("text", "image") if part.get(name) is not None]
        weight = part.get("weight")
        weight = 1.0 if weight is None else float(weight)
        if len(names) != 1:
            problems.append(Problem(label, "must have either a text or an image"))
            continue
        [name] = names
        if weight not in MIX_WEIGHT:
            problems.append(Problem(f"{label}.weight", f"must be {MIX_WEIGHT}", weight))
        checked.append({name: part[name], "weight": weight})
    if len(checked) > MAX_MIXED:
        problems.append(Problem("mix", f"must have at most {MAX_MIXED} entries", len(checked)))
    if spec.executor == "remote" and kandinsky_parts(checked) is None:
        rule = f"must be two images, with at most one text before and one after them, for model {spec.name}"
        problems.append(Problem("mix", rule))
    return checked


def kandinsky_parts(mix: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Return the four parts that servers of Kandinsky mix: text, image, image, text. A missing text is empty.

    Returns None if the mix does not have this form.
    """
    empty = {"text": "", "weight": 0.0}
    shape = "".join("t" if "text" in part else "i" for part in mix)
    if shape not in ("ii", "tii", "iit", "tiit"):
        return None
    before = [] if shape.startswith("t") else [empty]
    after = [] if shape.endswith("t") else [empty]
    return [*before, *mix, *after]
