"""Map the hires fix and subseed fields of AUTOMATIC1111's body to ``hires`` and ``variation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.fields import Flag, Number, Text, TextSchema, Whole
from app.payloads.a1111_samplers import scheduler_of_sampler
from jobs.models.spec import Kind, ModelSpec

#: Field of the native API → field of the body.
NAMES = {
    "hires": "enable_hr",
    "hires.scale": "hr_scale",
    "hires.width": "hr_resize_x",
    "hires.height": "hr_resize_y",
    "hires.steps": "hr_second_pass_steps",
    "hires.strength": "denoising_strength",
    "variation": "subseed",
    "variation.seed": "subseed",
    "variation.strength": "subseed_strength",
}
#: Prefixes of upscaler names that Lanczos replaces without a warning.
_UPSCALERS = ("none", "latent", "lanczos", "nearest")
#: Fields of the second pass that are not supported → the field of the first pass whose value is used, and the values
#: that mean "the same".
_SAME = {
    "hr_prompt": ("prompt", ()),
    "hr_negative_prompt": ("negative_prompt", ()),
    "hr_sampler_name": ("sampler_name", ("Use same sampler",)),
    "hr_scheduler": ("scheduler", ("Use same scheduler",)),
    "hr_checkpoint_name": ("", ("Use same checkpoint",)),
}


class PassFields(TextSchema):
    """The hires fix and subseed fields. Clients may send any of them as null."""

    enable_hr = Flag(allow_none=True)
    hr_scale = Number(allow_none=True)
    hr_resize_x = Whole(allow_none=True)
    hr_resize_y = Whole(allow_none=True)
    hr_second_pass_steps = Whole(allow_none=True)
    hr_upscaler = Text(allow_none=True)
    hr_prompt = Text(allow_none=True)
    hr_negative_prompt = Text(allow_none=True)
    hr_sampler_name = Text(allow_none=True)
    hr_scheduler = Text(allow_none=True)
    hr_checkpoint_name = Text(allow_none=True)
    subseed = Whole(allow_none=True)
    subseed_strength = Number(allow_none=True)


def pass_values(body: Mapping[str, Any], kind: Kind, spec: ModelSpec, warnings: list[str]) -> dict[str, Any]:
    """Return ``hires`` and ``variation``, each None if it is not requested.

    Args:
        body: the fields of the body that are not null.
        kind: the kind of the job; only text2img has a second pass.
        spec: the model.
        warnings: receives the requested features that are not supported.
    """
    strength = body.get("subseed_strength", 0)
    return {
        "variation": {"seed": body.get("subseed", -1), "strength": strength} if strength else None,
        # Some clients always send the other fields; they apply only with enable_hr.
        "hires": _hires(body, spec, warnings) if body.get("enable_hr") and kind is Kind.TEXT2IMG else None,
    }


def _hires(body: Mapping[str, Any], spec: ModelSpec, warnings: list[str]) -> dict[str, Any] | None:
    if Kind.IMG2IMG not in spec.kinds:
        warnings.append(f"enable_hr was ignored: model {spec.name} offers no img2img")
        return None
    upscaler = body.get("hr_upscaler", "")
    if upscaler and not upscaler.lower().startswith(_UPSCALERS):
        warnings.append(f"there is no hr_upscaler {upscaler}; Lanczos was used")
    own = {of: body[name] for name, (of, same) in _SAME.items() if body.get(name, "") not in ("", *same)}
    sampling: dict[str, Any] = {of: own[of] for of in ("sampler_name", "scheduler") if of in own}
    # Other words for the same sampler and schedule are no difference.
    scheduler = scheduler_of_sampler(body, spec, [])
    is_same = scheduler is not None and scheduler_of_sampler({**body, **sampling}, spec, []) == scheduler
    for name, (of, _) in _SAME.items():
        if of in own and own[of] != body.get(of) and not (of in sampling and is_same):
            warnings.append(f"{name} was ignored: the second pass has that of the first")
    sides = {"width": body.get("hr_resize_x", 0), "height": body.get("hr_resize_y", 0)}
    size = {side: pixels for side, pixels in sides.items() if pixels} or {"scale": body.get("hr_scale", 2.0)}
    return {
        **size,
        "steps": body.get("hr_second_pass_steps", 0) or None,
        "strength": body.get("denoising_strength"),
    }
