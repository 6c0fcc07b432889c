"""Units of the ControlNet extension in a body of AUTOMATIC1111, as fields of the native API.

Source: Mikubill/sd-webui-controlnet, ``internal_controlnet/args.py`` and ``scripts/enums.py`` (version 1.1.455).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import INCLUDE, Schema, fields

from app.fields import Flag, Number, PictureText, Text, load
from jobs.errors import InvalidRequest, Problem
from jobs.models.controls import SHARES, Control
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.pictures.preprocessing import PREPROCESSORS, THRESHOLDS
from jobs.suggestions import did_you_mean, listed

#: The name of the script, in lower case.
SCRIPT = "controlnet"
#: Where a body has the units.
FIELD = f"alwayson_scripts.{SCRIPT}.args"
NAMES = {"controls": FIELD}
#: Most units of a body.
MAX_UNITS = 16
#: Value of ``resize_mode`` → value of ``resize``; also its numbers, and the names of older versions.
_RESIZES = {
    "just resize": "stretch", "crop and resize": "crop", "resize and fill": "pad", "0": "stretch", "1": "crop",
    "2": "pad", "inner fit (scale to fit)": "crop", "scale to fit (inner fit)": "crop",
    "outer fit (shrink to fit)": "pad", "envelope (outer fit)": "pad",
}  # fmt: skip
#: Shares of the steps; the last one is an older name of the second.
_GUIDANCE = ("guidance_start", "guidance_end", "guidance")
_BALANCED = ("balanced", "0", "")
#: Preprocessors that only read the image with the encoder of an IP-Adapter.
_OF_IP_ADAPTERS = re.compile(r"ip-adapter|clip_vision")
_NO_MODULE = ("", "none", "none (none)")
#: End of a model's title: a file extension, a hash, or both.
_TITLE_END = re.compile(r"(\.safetensors|\.pth|\.ckpt)?( \[[0-9a-f]+\])?$")


class _Unit(Schema):
    """A unit; other fields have no effect here."""

    class Meta:
        unknown = INCLUDE

    enabled = Flag(allow_none=True)
    module = Text(allow_none=True)
    model = Text(allow_none=True)
    weight = Number(allow_none=True)
    guidance_start = Number(allow_none=True)
    guidance_end = Number(allow_none=True)
    guidance = Number(allow_none=True)
    threshold_a = Number(allow_none=True)
    threshold_b = Number(allow_none=True)
    resize_mode = fields.Raw(allow_none=True)
    control_mode = fields.Raw(allow_none=True)
    hr_option = fields.Raw(allow_none=True)


_UNIT = _Unit()
_PICTURE = PictureText()


def units_of(payload: Mapping[str, Any]) -> list[Any]:
    """Return the units of a body, whatever they contain."""
    scripts = payload.get("alwayson_scripts")
    units: list[Any] = []
    for name, script in scripts.items() if isinstance(scripts, Mapping) else ():
        if str(name).lower() == SCRIPT and isinstance(script, Mapping) and isinstance(script.get("args"), list):
            units += script["args"]
    return units


def control_values(
    payload: Mapping[str, Any], images: Sequence[str], kind: Kind, spec: ModelSpec, warnings: list[str]
) -> dict[str, Any]:
    """Return the field ``controls``, if the body has enabled units.

    Args:
        payload: the body.
        images: the input images, of which the first stands for the image of a unit without one.
        kind: the kind of job.
        spec: the model.
        warnings: receives what has no effect.

    Raises:
        InvalidRequest: names each unit and field.
    """
    scripts = payload.get("alwayson_scripts") or {}
    if isinstance(scripts, Mapping) and any(str(name).lower() != SCRIPT for name in scripts):
        warnings.append("alwayson_scripts was ignored")
    controls, problems = [], list[Problem]()
    units = units_of(payload)
    if len(units) > MAX_UNITS:
        raise InvalidRequest(Problem(FIELD, f"must have at most {MAX_UNITS} units", len(units)))
    for index, unit in enumerate(units):
        try:
            control = _control(unit, f"{FIELD}[{index}]", images, kind, spec, warnings)
        except InvalidRequest as exc:
            problems += exc.problems
        else:
            controls += [control] if control else []
    if problems:
        raise InvalidRequest(*problems)
    return {"controls": controls} if controls else {}


def _control(
    unit: Any, label: str, images: Sequence[str], kind: Kind, spec: ModelSpec, warnings: list[str]
) -> dict[str, Any] | None:
    """Return the control of a unit; None: it is disabled. Raises: InvalidRequest."""
    if not isinstance(unit, Mapping):
        raise InvalidRequest(Problem(label, "must be an object"))
    try:
        loaded, _ = load(_UNIT, unit)
    except InvalidRequest as exc:
        raise InvalidRequest(*(Problem(f"{label}.{one.field}", one.rule, one.value) for one in exc.problems)) from exc
    values = {name: value for name, value in loaded.items() if value is not None}
    if values.get("enabled") is False:
        return None
    control = _named(values, label, kind, spec)
    image, mask = _pictures(unit, label)
    image = image or (images[0] if images else None)
    if not image:
        rule = "is required: the unit has no image, and there is no init image"
        raise InvalidRequest(Problem(f"{label}.image", rule))
    for name, allowed in (("weight", control.scales), *((one, SHARES) for one in _GUIDANCE)):
        if name in values and values[name] not in allowed:
            raise InvalidRequest(Problem(f"{label}.{name}", f"must be {allowed} for {control.name}", values[name]))
    if mask:
        warnings.append(f"{label}.mask was ignored")
    if str(values.get("control_mode", "")).lower() not in _BALANCED:
        warnings.append(f"{label}.control_mode was ignored: it is Balanced")
    if str(values.get("hr_option", "Both")).lower() not in ("both", "hiresfixoption.both"):
        warnings.append(f"{label}.hr_option was ignored: both passes are controlled")
    mapped: dict[str, Any] = {
        "name": control.name, "image": image, "scale": values.get("weight"), "start": values.get("guidance_start"),
        "end": values.get("guidance_end", values.get("guidance")), **_preprocessor(values, label, control),
    }  # fmt: skip
    if control.type.is_spatial and "resize_mode" in values:
        mode = str(values["resize_mode"])
        if mode.lower() not in _RESIZES:
            known = "Just Resize, Crop and Resize, Resize and Fill"
            raise InvalidRequest(Problem(f"{label}.resize_mode", f"must be one of {known}", mode[:80]))
        mapped["resize"] = _RESIZES[mode.lower()]
    return {name: value for name, value in mapped.items() if value is not None}


def _named(values: Mapping[str, Any], label: str, kind: Kind, spec: ModelSpec) -> Control:
    """Return the control that the unit's model names, which may end in an extension and a hash."""
    offered = spec.controls_of(kind)
    sent = str(values.get("model") or "None")
    name = _TITLE_END.sub("", sent.strip())
    by_name = {each.lower(): each for each in offered}
    if name.lower() in by_name:
        return spec.controls[by_name[name.lower()]]
    if not offered:
        rule = f"does not apply: model {spec.name} has no controls for {kind}"
    elif name == "None":
        rule = f"is required: model {spec.name} has {listed(offered)}"
    else:
        hint = did_you_mean(name, offered) or f"; it has {listed(offered, name)}"
        rule = f"is not a control of model {spec.name}{hint}"
    raise InvalidRequest(Problem(f"{label}.model", rule, sent[:80]))


def _preprocessor(values: Mapping[str, Any], label: str, control: Control) -> dict[str, Any]:
    """Return how the image is preprocessed. Raises: InvalidRequest: this server cannot do that."""
    module = str(values.get("module") or "").strip()
    name = module.lower().partition(" (")[0]
    if name in _NO_MODULE or (not control.type.is_spatial and _OF_IP_ADAPTERS.match(name)):
        return {}
    if name not in PREPROCESSORS or not control.type.is_spatial:
        known = listed(("none", *PREPROCESSORS)) if control.type.is_spatial else "none"
        rule = f"is not available: send the processed image with module none; there are {known}"
        raise InvalidRequest(Problem(f"{label}.module", rule, module[:80]))
    thresholds = (values.get("threshold_a", -1.0), values.get("threshold_b", -1.0))
    sent = {key: value for key, value in zip(THRESHOLDS, thresholds, strict=True) if value > 0}
    return {"preprocess": name, **(sent if name == "canny" else {})}


def _pictures(unit: Mapping[str, Any], label: str) -> tuple[str | None, Any]:
    """Return image and mask of a unit, in each of the forms that the extension takes."""
    image: Any = unit.get("image", unit.get("input_image"))
    mask = unit.get("mask", unit.get("mask_image"))
    if isinstance(image, list) and image:
        if len(image) == 2 and isinstance(image[0], str):
            image, mask = image
        elif len(image) == 1:
            image = image[0]
        else:
            raise InvalidRequest(Problem(f"{label}.image", "must be one image: name the model in a unit for each"))
    if isinstance(image, Mapping):
        image, mask = image.get("image"), image.get("mask", mask)
    if not image:
        return None, mask
    if not isinstance(image, str):
        raise InvalidRequest(Problem(f"{label}.image", "must be base64 or a link"))
    return image, mask
