"""Map what AUTOMATIC1111's body overrides: settings of the server, and the distilled guidance of Forge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.prompts.tags import quoted

#: Field of the native API → field of the body.
NAMES = {"clip_skip": "CLIP_stop_at_last_layers", "distilled_guidance_scale": "distilled_cfg_scale"}
CLIP_SKIP = "CLIP_stop_at_last_layers"
#: Number of layers of the text encoder that the original assumes.
MAX_CLIP_SKIP = 12
#: Settings that change images in the original and have no effect here → their values without effect.
IGNORED: dict[str, tuple[Any, ...]] = {
    "sd_vae": ("Automatic", "None", ""),
    "eta_noise_seed_delta": (0,),
    "img2img_color_correction": (False,),
    "sd_lora": ("None", ""),
}
#: Settings that have an effect, and beginnings of those that do not change images.
_OTHERS = (
    "sd_model_checkpoint", "sd_checkpoint_hash", "samples_", "grid_", "save_", "live_preview", "show_progress",
    "face_restoration_model", "do_not_",
)  # fmt: skip


def override_values(body: Mapping[str, Any], kind: Kind, spec: ModelSpec, warnings: list[str]) -> dict[str, Any]:
    """Return ``clip_skip`` and ``distilled_guidance_scale``, as far as the model has them.

    Args:
        body: the fields of the body that are not null.
        kind: the kind of the job.
        spec: the model.
        warnings: receives every override without effect.

    Raises:
        InvalidRequest: a value has the wrong type.
    """
    overrides = {name: value for name, value in body.get("override_settings", {}).items() if value is not None}
    values: dict[str, Any] = {}
    if (last := _layers(overrides)) > 1:
        if spec.offers("clip_skip", kind):
            values["clip_skip"] = last - 1
        else:
            warnings.append(f"{CLIP_SKIP} was ignored: model {spec.name} has no clip skip")
    if (guidance := body.get("distilled_cfg_scale")) is not None:
        if spec.offers("distilled_guidance_scale", kind):
            values["distilled_guidance_scale"] = guidance
        else:
            warnings.append(f"distilled_cfg_scale was ignored: model {spec.name} has no distilled guidance")
    ignored = [name for name in IGNORED if name in overrides and overrides[name] not in IGNORED[name]]
    warnings += [f"{name} was ignored" for name in ignored]
    unknown = [name for name in overrides if name not in IGNORED and not name.startswith((CLIP_SKIP, *_OTHERS))]
    if unknown:
        warnings.append(f"override_settings: {quoted(unknown)} was ignored")
    return values


def _layers(overrides: Mapping[str, Any]) -> int:
    """Return at which of the last layers the text encoder stops, from 1. Raises: InvalidRequest."""
    last = overrides.get(CLIP_SKIP, 1)
    if last not in range(MAX_CLIP_SKIP + 1):  # 2.0 too
        rule = f"{CLIP_SKIP} must be a whole number between 1 and {MAX_CLIP_SKIP}"
        raise InvalidRequest(Problem("override_settings", rule, str(last)[:80]))
    return int(last)
