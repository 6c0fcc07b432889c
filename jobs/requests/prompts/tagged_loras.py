"""Map the tags in a prompt, ``<lora:name:weight>`` and others, to LoRAs, as AUTOMATIC1111 does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jobs.models.loras import SUFFIX, by_short_name
from jobs.models.spec import ModelSpec
from jobs.requests.prompts.tags import Tag, quoted, taken_out

#: Tags of LoRAs.
_LORA = ("lora", "lyco")


def loras_of_tags(text: str, spec: ModelSpec, warnings: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the prompt without tags, and the LoRAs that they name. As in the original, unusable tags are left out.

    Args:
        text: the prompt.
        spec: the model.
        warnings: receives the tags without effect.
    """
    prompt, tags = taken_out(text)
    requested = [tag for tag in tags if tag.name in _LORA]
    known = by_short_name(spec.lora_names()) if requested else {}
    weights: dict[str, list[tuple[float, float]]] = {}
    missing, wrong = [], []
    for tag in requested:
        name, both = _lora(tag)
        if name.removesuffix(SUFFIX) not in known:
            missing.append(name)
        elif both is None:
            wrong.append(tag)
        else:
            weights.setdefault(known[name.removesuffix(SUFFIX)], []).append(both)
    if missing:
        warnings.append(f"prompt: model {spec.name} does not have the LoRA {quoted(missing)}, which was left out")
    if wrong:
        warnings.append(f"prompt: a weight of {quoted(wrong)} is not a number; the tag was left out")
    if others := [tag for tag in tags if tag.name not in _LORA]:
        warnings.append(f"prompt: {quoted(others)} was left out: only tags of LoRAs have an effect here")
    # A LoRA that is named twice is applied twice.
    return prompt, [_summed(name, pairs) for name, pairs in weights.items()]


def with_tags(spec: ModelSpec, fields: Mapping[str, Any], warnings: list[str]) -> Mapping[str, Any]:
    """Return the fields of a request with LoRAs in place of tags, if the model reads weights in its prompts."""
    if not spec.prompt_weighting or not fields.get("prompt"):
        return fields
    prompt, loras = loras_of_tags(fields["prompt"], spec, warnings)
    return {**fields, "prompt": prompt, **({"loras": [*fields.get("loras", ()), *loras]} if loras else {})}


def _lora(tag: Tag) -> tuple[str, tuple[float, float] | None]:
    """Return name and weights (in the text encoders, in the denoiser) of a tag; None if a weight is not a number.

    The second weight defaults to the first one. ``te=`` and ``unet=`` set them by name.
    """
    named = dict(part.split("=", 1) for part in tag.arguments if part.count("=") == 1)
    name, *weights = [part for part in tag.arguments if part.count("=") != 1] or [""]
    try:
        text_weight = float(named.get("te", weights[0] if weights and weights[0] else 1))
        weight = float(named.get("unet", weights[1] if len(weights) > 1 and weights[1] else text_weight))
    except ValueError:
        return name, None
    return name, (text_weight, weight) if math.isfinite(text_weight) and math.isfinite(weight) else None


def _summed(name: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    text_weight, weight = (math.fsum(weights) for weights in zip(*pairs, strict=True))
    return {"name": name, "weight": weight, **({} if text_weight == weight else {"text_encoder_weight": text_weight})}
