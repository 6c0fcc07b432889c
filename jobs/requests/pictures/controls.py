"""Checks of the field ``controls``: images that steer an output, by the names of the model's controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.errors import Problem
from jobs.models.controls import SHARES, Control
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.pictures.preprocessing import preprocess_of
from jobs.requests.pictures.resizes import RESIZES
from jobs.suggestions import did_you_mean, listed

#: Most controls of a request, whatever the model allows.
MAX_CONTROLS = 8
#: How an image is fitted that names no way: scaled to cover the output, and the middle cut out.
DEFAULT_RESIZE = "crop"


def controls_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], problems: list[Problem]
) -> list[dict[str, Any]] | None:
    """Return name, image (object-store key), scale, start and end of each control; None without any.

    Args:
        spec: the model.
        kind: the kind of job.
        fields: the fields that the caller sent.
        problems: receives a problem for each value that is refused.
    """
    requested = fields.get("controls")
    if not requested:
        return None
    if not spec.controls:
        problems.append(Problem("controls", f"does not apply: model {spec.name} has no controls"))
        return None
    if len(requested) not in spec.limit("controls"):
        rule = f"must have at most {spec.limit('controls').high} entries for model {spec.name}"
        problems.append(Problem("controls", rule, len(requested)))
    checked = []
    for index, one in enumerate(requested):
        label, name = f"controls[{index}]", str(one.get("name") or "")
        if control := _control(spec, kind, name, label, problems):
            if fields.get("hires") and name not in spec.controls_of(Kind.IMG2IMG):
                rule = f"cannot be combined with hires: the second pass is img2img, which {name} does not have"
                problems.append(Problem(f"{label}.name", rule, name))
            if not one.get("image"):
                problems.append(Problem(f"{label}.image", "is required: a control needs an image"))
            checked.append(_checked(control, one, label, problems, is_remote=spec.executor == "remote"))
    _check_together([spec.controls[one["name"]] for one in checked], problems)
    return checked


def shape_of_controls(spec: ModelSpec, fields: Mapping[str, Any], sizes: Sequence[Any]) -> tuple[int, int] | None:
    """Return the size of the first image that is laid over the output, pixels; None without one, or not known yet.

    Args:
        spec: the model.
        fields: the fields that the caller sent.
        sizes: width and height of each control's image; None for one that is not known.
    """
    for one, size in zip(fields.get("controls") or (), sizes, strict=False):
        control = spec.controls.get(str(one.get("name")))
        if control and control.type.is_spatial and "resize" not in one:
            return None if size is None else (size[0], size[1])
    return None


def _control(spec: ModelSpec, kind: Kind, name: str, label: str, problems: list[Problem]) -> Control | None:
    """Return the control of this name; None, with a problem, if this kind has none."""
    offered = spec.controls_of(kind)
    if name in offered:
        return spec.controls[name]
    if name in spec.controls:
        kinds = [str(each) for each in spec.kinds if name in spec.controls_of(each)]
        rule = f"does not apply to {kind}: {name} has {', '.join(kinds) or 'no kind of this model'}"
    elif not name:
        rule = f"is required: model {spec.name} has {listed(offered) or 'no controls for ' + kind}"
    else:
        known = f"known: {listed(offered, name) or 'none'}"
        rule = f"is not a control of model {spec.name}{did_you_mean(name, offered) or f'; {known}'}"
    problems.append(Problem(f"{label}.name", rule, name or None))
    return None


def _checked(
    control: Control, one: Mapping[str, Any], label: str, problems: list[Problem], *, is_remote: bool
) -> dict[str, Any]:  # fmt: skip
    values = {name: float(_or(one.get(name), getattr(control, name))) for name in ("scale", "start", "end")}
    for name, allowed in (("scale", control.scales), ("start", SHARES), ("end", SHARES)):
        if values[name] not in allowed:
            problems.append(Problem(f"{label}.{name}", f"must be {allowed} for {control.name}", values[name]))
    if values["start"] >= values["end"]:
        problems.append(Problem(f"{label}.end", "must be more than start", values["end"]))
    if control.type == "t2i-adapter" and (values["start"], values["end"]) != (0.0, 1.0):
        name = "start" if values["start"] else "end"
        problems.append(Problem(f"{label}.{name}", "does not apply: a T2I-Adapter is used in every step", values[name]))
    checked = {"name": control.name, "image": one.get("image"), **values}
    resize = str(one.get("resize") or DEFAULT_RESIZE)
    if resize not in RESIZES:
        problems.append(Problem(f"{label}.resize", f"must be one of {', '.join(RESIZES)}", resize))
    elif "resize" in one and not control.type.is_spatial:
        problems.append(Problem(f"{label}.resize", "does not apply: an IP-Adapter takes images of any shape", resize))
    checked |= preprocess_of(one, label, problems, is_spatial=control.type.is_spatial, is_remote=is_remote)
    return {**checked, "resize": resize} if resize != DEFAULT_RESIZE else checked


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_together(controls: Sequence[Control], problems: list[Problem]) -> None:
    """Add problems of controls that no pipeline can use together."""
    for index, control in enumerate(controls):
        for other in controls[:index]:
            if control.type.is_spatial and other.type.is_spatial and control.type is not other.type:
                rule = f"cannot be combined with {other.name}: one is a {control.type}, one a {other.type}"
            elif control.type is other.type and not control.type.is_spatial and control.encoder != other.encoder:
                rule = f"cannot be combined with {other.name}: their image encoders differ"
            else:
                continue
            problems.append(Problem(f"controls[{index}].name", rule, control.name))
            break
