"""The parts of a request that are more than one value: scheduler, LoRAs, and what is mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import Problem
from jobs.models import loras, schedulers
from jobs.models.spec import ModelSpec, Range

MAX_LORAS = 8
MAX_MIXED = 8
#: Of a text or image that is mixed.
MIX_WEIGHT = Range(-4, 4)


def scheduler_of(spec: ModelSpec, sent: Mapping[str, Any], problems: list[Problem]) -> str | None:
    """The canonical name of the wanted scheduler, or of the model's default; None: the one in its folder."""
    wanted = sent.get("scheduler")
    if not wanted:
        return spec.scheduler
    name = str(schedulers.parse(wanted) or "")
    if name == spec.scheduler or name in spec.schedulers:
        return name
    offered = ", ".join(spec.schedulers) or spec.scheduler or "none but its own"
    rule = (
        f"model {spec.name} offers {offered}" if name else f"is no known scheduler; model {spec.name} offers {offered}"
    )
    problems.append(Problem("scheduler", rule, wanted))
    return None


def loras_of(spec: ModelSpec, sent: Mapping[str, Any], problems: list[Problem]) -> list[dict[str, Any]] | None:
    """Name and weight of each wanted LoRA, or the model's default ones; an empty list asks for none."""
    if "loras" not in sent:
        return [{"name": name, "weight": weight} for name, weight in spec.default_loras.items()] or None
    found: list[dict[str, Any]] = []
    for index, part in enumerate(sent["loras"]):
        name = str(part["name"]).removesuffix(loras.SUFFIX)
        weight = part.get("weight")
        weight = spec.default_loras.get(name, 1.0) if weight is None else weight
        if spec.loras is None:
            problems.append(Problem(f"loras[{index}].name", f"model {spec.name} takes no LoRAs", name))
        elif loras.path_of(Path(spec.loras), name) is None:
            rule = f"model {spec.name} has no such LoRA; known: {', '.join(spec.lora_names()) or 'none'}"
            problems.append(Problem(f"loras[{index}].name", rule, name))
        elif any(name == other["name"] for other in found):
            problems.append(Problem(f"loras[{index}].name", "is named twice", name))
        if weight not in spec.limit("lora_weight"):
            problems.append(Problem(f"loras[{index}].weight", f"must be {spec.limit('lora_weight')}", weight))
        found.append({"name": name, "weight": float(weight)})
    if len(found) > MAX_LORAS:
        problems.append(Problem("loras", f"must be at most {MAX_LORAS}", len(found)))
    return found or None


def mix_of(spec: ModelSpec, sent: Mapping[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    """What mix2img mixes: each a text or the key of an image, with its weight."""
    found: list[dict[str, Any]] = []
    for index, part in enumerate(sent.get("mix", ())):
        what = [name for name in ("text", "image") if part.get(name) is not None]
        weight = part.get("weight")
        weight = 1.0 if weight is None else float(weight)
        if len(what) != 1:
            problems.append(Problem(f"mix[{index}]", "must have either a text or an image"))
            continue
        if what == ["text"] and len(part["text"]) not in spec.limit("prompt_chars"):
            rule = f"length must be {spec.limit('prompt_chars')} characters"
            problems.append(Problem(f"mix[{index}].text", rule, part["text"]))
        if weight not in MIX_WEIGHT:
            problems.append(Problem(f"mix[{index}].weight", f"must be {MIX_WEIGHT}", weight))
        found.append({what[0]: part[what[0]], "weight": weight})
    if len(found) > MAX_MIXED:
        problems.append(Problem("mix", f"must be at most {MAX_MIXED}", len(found)))
    if spec.executor == "remote" and in_fours(found) is None:
        problems.append(
            Problem("mix", f"model {spec.name} takes two images, at most one text before and one after them")
        )
    return found


def in_fours(mix: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """What Kandinsky's servers mix: text, image, image, text. A missing text is empty; None: it does not fit."""
    nothing = {"text": "", "weight": 0.0}
    shape = "".join("t" if "text" in part else "i" for part in mix)
    if shape not in ("ii", "tii", "iit", "tiit"):
        return None
    before = [] if shape.startswith("t") else [nothing]
    after = [] if shape.endswith("t") else [nothing]
    return [*before, *mix, *after]
