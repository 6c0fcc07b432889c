"""From the body of a prediction to fields of the native API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.fields import load
from app.protocols.replicate import files, schemas
from jobs.models.spec import ModelSpec
from jobs.prediction_view import INPUT_NAMES
from jobs.requests.size import default_area, shape_of

#: Native name → the inputs that mean it, of which the first counts.
_INPUTS = {
    **{name: (sent,) for name, sent in INPUT_NAMES.items()},
    "steps": ("num_inference_steps", "steps"),
    "guidance_scale": ("guidance_scale", "guidance"),
    "strength": ("prompt_strength", "strength"),
    "fps": ("fps", "frames_per_second"),
}
#: Native name → the inputs with pictures that mean it, of which the first counts.
_PICTURES = {
    "image": ("image", "input_image"),
    "mask": ("mask",),
    "last_image": ("last_image", "last_frame_image", "end_image", "last_frame"),
    "video": ("video", "input_video"),
    "audio": ("audio", "input_audio"),
    "images": ("images", "input_images", "image_input"),
}
#: Inputs that have other names here.
_FORMATS = {"jpg": "jpeg"}
_SIZE = re.compile(r"\s*(\d{1,5})\s*[x*]\s*(\d{1,5})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Mapped:
    """A prediction with the native API's field names."""

    values: dict[str, Any]
    pictures: Pictures
    warnings: list[str]
    #: Native field name → the name that the client sent.
    names: dict[str, str]
    #: Whether small outputs are sent within the prediction.
    as_data: bool


def map_input(body: Mapping[str, Any], spec: ModelSpec) -> Mapped:
    """Check and translate a body, whose other fields were checked. Raises: InvalidRequest."""
    sent = {name: value for name, value in (body.get("input") or {}).items() if value is not None}
    values: dict[str, Any] = {"model": spec.name}
    names: dict[str, str] = {}
    for native, possible in _INPUTS.items():
        name = next((name for name in possible if name in sent), possible[0])
        names[native] = f"input.{name}"
        if name in sent:
            values[native] = sent[name]
    if "output_format" in values:
        values["output_format"] = _FORMATS.get(values["output_format"], values["output_format"])
    _add_size(sent, values, names, spec)
    if "duration" in sent and "frames" not in values:
        fps = values.get("fps") or spec.default("fps")
        values["frames"], names["frames"] = max(1, round(sent["duration"] * fps)), "input.duration"
    pictures = Pictures(may_be_animated=True)
    for name, possible in _PICTURES.items():
        sent_as = next((one for one in possible if sent.get(one)), possible[0])
        names[name] = f"input.{sent_as}"
        value = sent.get(sent_as)
        for one in value if isinstance(value, list) else [value]:
            if one:
                pictures.add(values, name, files.content_of(one))
    _add_control(sent, values, names, pictures, spec)
    known = schemas.ReplicateInputSchema._declared_fields.keys()
    warnings = [f"unknown input {str(name)[:80]!r} was ignored" for name in sent if name not in known][:20]
    return Mapped(values, pictures, warnings, names, bool(sent.get("output_data_uri")))


def _add_control(
    sent: Mapping[str, Any], values: dict[str, Any], names: dict[str, str], pictures: Pictures, spec: ModelSpec
) -> None:
    """Add the control that ``control_image`` is for: the one that is named, or the model's first ControlNet."""
    if not sent.get("control_image"):
        return
    first = next((name for name, control in spec.controls.items() if control.type.is_spatial), "")
    pictures.contents["controls[0].image"] = files.content_of(sent["control_image"])
    control = {"name": sent.get("control_type") or first, "image": UNSTORED, "scale": sent.get("control_strength")}
    values["controls"], names["controls"] = [control], "input.control_image"
    names["controls[0].name"], names["controls[0].scale"] = "input.control_type", "input.control_strength"


def checked(body: Mapping[str, Any], *, of_version: bool) -> dict[str, Any]:
    """Return the known fields of a body. Raises: InvalidRequest."""
    values, _ = load(schemas.OF_VERSION if of_version else schemas.PREDICTION, body)
    return values


def _add_size(sent: Mapping[str, Any], values: dict[str, Any], names: dict[str, str], spec: ModelSpec) -> None:
    """Add width and height by ``size`` or ``aspect_ratio``, unless they are given."""
    if "width" in values or "height" in values:
        return
    if found := _SIZE.fullmatch(sent.get("size", "")):
        values["width"], values["height"] = int(found[1]), int(found[2])
        names["width"] = names["height"] = "input.size"
        return
    ratio = sent.get("aspect_ratio", "").strip()
    if not ratio or ratio in ("custom", "match_input_image"):
        return
    values["width"], values["height"] = default_area(spec, shape_of(ratio, "input.aspect_ratio"))
    names["width"] = names["height"] = "input.aspect_ratio"
