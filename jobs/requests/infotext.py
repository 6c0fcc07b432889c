"""Infotext: the generation parameters of an image as AUTOMATIC1111 writes them into files.

The text has the prompt, the negative prompt, and one line of ``Key: value`` pairs. Workers write it into outputs, and
AUTOMATIC1111's API returns it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs import strict_json
from jobs.errors import InvalidRequest
from jobs.models import schedulers
from jobs.requests.inpaint import Inpaint
from jobs.requests.prompts.tags import with_loras
from jobs.strict_json import Limits

_NEGATIVE = "Negative prompt:"
#: The length of names is bounded: otherwise a long line without pairs would take quadratic time.
_PAIR = re.compile(r'(\w[\w \-/]{0,60}):\s{0,9}("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
#: Content under a mask → AUTOMATIC1111's name for it. It omits its default, "original".
_MASKED_CONTENT = {"blurred": "fill", "noise": "latent noise", "nothing": "latent nothing"}
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
#: A last line with fewer pairs belongs to the prompt.
_FEWEST_PAIRS = 3
#: Longer texts are not parsed, characters.
MAX_CHARS = 200_000


def write(values: Mapping[str, Any]) -> str:
    """Return the infotext of one image.

    Args:
        values: the request as a dict, with the seeds of this image: ``seed``, and ``variation_seed`` if the request has
            a variation.
    """
    lines = [with_loras(str(values["prompt"]), values.get("loras"))]
    if values.get("negative_prompt"):
        lines.append(f"{_NEGATIVE} {values['negative_prompt']}")
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(value)}" for name, value in _pairs(values))])


def parse(text: str) -> dict[str, str]:
    """Return the values of an infotext by AUTOMATIC1111's names; ``Size`` becomes ``Size-1`` and ``Size-2``.

    A text that is empty or too long has no values.
    """
    if not text.strip() or len(text) > MAX_CHARS:
        return {}
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < _FEWEST_PAIRS:
        lines, pairs = [*lines, last], []
    at = next((n for n, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[at:]).removeprefix(_NEGATIVE)
    values = {"Prompt": "\n".join(lines[:at]).strip(), "Negative prompt": negative.strip()}
    for name, value in pairs:
        plain = _unquoted(value.strip())
        if size := _SIZE.fullmatch(plain):
            values |= {f"{name}-1": size[1], f"{name}-2": size[2]}
        else:
            values[name] = plain
    return values


def _pairs(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    name = values.get("scheduler")
    choice, hires = schedulers.parse(name) if name else None, values.get("hires")
    pairs = {
        "Steps": values["steps"],
        "Sampler": choice.sampler if choice else name,
        "Schedule type": choice.schedule_type if choice else None,
        "CFG scale": values["guidance_scale"],
        "Distilled CFG Scale": values.get("distilled_guidance_scale"),
        "Seed": values["seed"],
        "Size": f"{values['width']}x{values['height']}",
        "Model": values["model"],
        "Variation seed": values.get("variation_seed"),
        "Variation seed strength": (values.get("variation") or {}).get("strength"),
        "Denoising strength": hires["strength"] if hires else values.get("strength"),
        "Hires resize": f"{hires['width']}x{hires['height']}" if hires else None,
        "Hires steps": hires["steps"] if hires else None,
        "Hires upscaler": "Lanczos" if hires else None,
        "Clip skip": values["clip_skip"] + 1 if values.get("clip_skip") else None,
        **_masking(Inpaint.of(values.get("inpaint"))),
        "Frames": values["frames"] if values["frames"] > 1 else None,
        "FPS": values["fps"] or None,
        "Version": "framemill",
    }
    return ((name, f"{value:g}" if isinstance(value, float) else value) for name, value in pairs.items()
            if value is not None)  # fmt: skip


def _masking(inpaint: Inpaint) -> dict[str, Any]:
    is_masked = inpaint.area == "masked"
    return {
        "Mask blur": inpaint.blur_px or None,
        "Inpaint area": "Only masked" if is_masked else None,
        "Masked area padding": inpaint.padding_px if is_masked else None,
        "Masked content": _MASKED_CONTENT.get(inpaint.fill),
    }


def _quoted(value: Any) -> str:
    """Return a value as AUTOMATIC1111 writes it: as a JSON string if it contains separators."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(strict_json.loads(text, Limits(MAX_CHARS * 4, MAX_CHARS * 4)))
    except InvalidRequest:
        return text
