"""From LightX2V's fields to the native ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.extensions import models, settings
from app.fields import load
from app.protocols.lightx2v import schemas
from app.protocols.lightx2v.paths import output_path, read_image
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.spec import Kind, ModelSpec

#: Native name by LightX2V's.
NAMES = {"infer_steps": "steps", "target_video_length": "frames", "target_fps": "fps",
         "i2i_denoise_strength": "strength"}  # fmt: skip
#: Fields that are called the same.
_SAME = ("task_id", "prompt", "negative_prompt", "seed", "model", "guidance_scale", "width", "height", "slot",
         "priority", "start_within_s", "max_run_s", "retention", *NAMES.values())  # fmt: skip
#: The seed of a form, and of a service as LightX2V's documents describe it, when the client sends none.
DEFAULT_SEED = 42


@dataclass(frozen=True)
class Task:
    """A task in the native API's words."""

    values: dict[str, Any]
    pictures: Pictures
    #: The client's name for the output; '' for none.
    path: str
    warnings: list[str]
    #: The client's word for the field of a problem.
    words: Mapping[str, str]

    def renamed(self, exc: InvalidRequest) -> InvalidRequest:
        """The same refusal with the field names that the client sent."""
        return InvalidRequest(*(replace(p, field=self.words.get(p.field, p.field)) for p in exc.problems))


def read(sent: Mapping[str, Any], *, video: bool, form: bool) -> Task:
    """Check and translate what was sent.

    Args:
        sent: fields of a body or a form, an upload as bytes under ``image_file``.
        video: whether a video is asked for, else an image.
        form: whether it came by one of the ``/form`` routes, which set a seed.

    Raises:
        InvalidRequest: naming each field as the client does.
    """
    values, unknown = load(schemas.TASK, {name: v for name, v in sent.items() if not isinstance(v, bytes)})
    values = {name: value for name, value in values.items() if value is not None}
    refused = [Problem(name, rule) for name, rule in schemas.REFUSED.items() if sent.get(name) or values.get(name)]
    if refused:
        raise InvalidRequest(*refused)
    warnings = [f"unknown field {name!r} was ignored" for name in unknown]
    warnings += [f"{name} has no effect here" for name, nothing in schemas.IGNORED.items()
                 if values.get(name, nothing) not in (nothing, "")]  # fmt: skip
    field = next((name for name in ("image_file", "image_path", "image") if sent.get(name)), "image_path")
    pictures = Pictures()
    for name, sent_as in (("image", field), ("mask", "image_mask_path")):
        if picture := _picture(sent.get(sent_as), sent_as):
            pictures.contents[name] = picture
    kind = _kind(video, pictures.contents)
    native = {name: values[name] for name in _SAME if name in values}
    native |= {name: values[own] for own, name in NAMES.items() if own in values}
    native |= {"kind": kind, "output_format": "mp4" if video else "png"}  # what the paths end in
    if "seed" not in native and (form or settings().lightx2v.profile == "single"):
        native["seed"] = DEFAULT_SEED
    native |= dict.fromkeys(pictures.contents, UNSTORED)
    if lora := values.get("lora_name", "").strip():
        native["loras"] = [{"name": lora, "weight": values.get("lora_strength")}]
    words = {name: own for own, name in NAMES.items() if own in values}
    words |= {
        "image": field,
        "mask": "image_mask_path",
        "loras[0].name": "lora_name",
        "loras[0].weight": "lora_strength",
    }
    size = _size(values, native)
    if size:
        native |= dict(zip(("width", "height"), size, strict=True))
        source = "target_shape" if values.get("target_shape") else "aspect_ratio"
        words |= {"width": source, "height": source}
    path, warning = output_path(
        values.get("save_result_path") or values.get("save_video_path") or "", ".mp4" if video else ".png"
    )
    return Task(native, pictures, path, [*warnings, warning] if warning else warnings, words)


def _picture(sent: Any, field: str) -> str | bytes | None:
    if isinstance(sent, str):
        return read_image(sent, settings(), field) if sent.strip() else None
    return sent or None


def _kind(video: bool, pictures: Collection[str]) -> Kind:
    if video:
        return Kind.IMG2VIDEO if "image" in pictures else Kind.TEXT2VIDEO
    if "mask" in pictures:
        return Kind.INPAINT
    return Kind.IMG2IMG if "image" in pictures else Kind.TEXT2IMG


def _size(values: Mapping[str, Any], native: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that ``target_shape`` or ``aspect_ratio`` asks for, pixels."""
    if shape := values.get("target_shape"):
        if len(shape) != 2:
            raise InvalidRequest(Problem("target_shape", "must be height and width, pixels", shape))
        return shape[1], shape[0]
    ratio = values.get("aspect_ratio", "").strip()
    if not ratio:
        return None
    try:
        across, down = (float(part) for part in ratio.split(":"))
        quotient = across / down
    except (ValueError, ZeroDivisionError):
        quotient = math.nan
    if not 0.1 <= quotient <= 10:
        raise InvalidRequest(Problem("aspect_ratio", "must be like 16:9, from 1:10 to 10:1", ratio))
    spec = _spec(native)
    return _fitted(quotient, spec) if spec else None


def _spec(native: Mapping[str, Any]) -> ModelSpec | None:
    """The model that will be used; None if that is refused later."""
    registry = models()
    try:
        return registry.get(native["model"]) if "model" in native else registry.default_for(native["kind"])
    except ModelNotFound:
        return None


def _fitted(ratio: float, spec: ModelSpec) -> tuple[int, int]:
    """About the model's default area in this shape, in its multiples, as large as its limits allow."""
    area = spec.default("width") * spec.default("height")
    wanted = math.sqrt(area * ratio), math.sqrt(area / ratio)
    scale = min(1.0, spec.limit("width").high / wanted[0], spec.limit("height").high / wanted[1])
    multiple = spec.size_multiple_px
    width, height = (max(multiple, round(side * scale / multiple) * multiple) for side in wanted)
    return width, height
