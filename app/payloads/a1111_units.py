"""Take the images of ControlNet units out of a body that a back end receives; they are stored as inputs.

Source: Mikubill/sd-webui-controlnet, ``internal_controlnet/args.py`` (version 1.1.455): ``get_input_images_rgba``,
``legacy_field_alias``, ``mask_alias``. Deviation: the extension also reads paths of its own host; they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.payloads.a1111_controls import SCRIPT
from jobs import strict_json
from jobs.errors import InvalidRequest, Problem

#: Fields of a unit that have an image, or several.
FIELDS = ("image", "input_image", "mask", "mask_image", "effective_region_mask")
#: Fields of an image that is an object.
_PARTS = ("image", "mask")
#: Most images of all units of a body.
MAX_IMAGES = 32
_FORMS = "must be an image, an object with image and mask, or a list of them"


@dataclass
class TakenImages:
    """Images of the units of a body, and the body without them."""

    #: The body, with None in the place of each image.
    body: dict[str, Any]
    #: Where each image belongs, and the image as it was sent: value of ``GenerationRequest.passed_images``.
    images: list[dict[str, Any]] = field(default_factory=list)
    #: Field of the native API → field of the body.
    names: dict[str, str] = field(default_factory=dict)


def take_images(payload: Mapping[str, Any]) -> TakenImages:
    """Return the images of a body's units and the body without them. Everything else is unchanged.

    Args:
        payload: the body, which is not changed.

    Raises:
        InvalidRequest: names each field that has no image, or the units that have too many.
    """
    taken, problems = TakenImages(dict(payload)), list[Problem]()
    scripts = payload.get("alwayson_scripts")
    if not isinstance(scripts, Mapping):
        return taken
    taken.body["alwayson_scripts"] = scripts = dict(scripts)
    for name, script in scripts.items():
        if str(name).lower() != SCRIPT or not isinstance(script, Mapping) or not isinstance(script.get("args"), list):
            continue
        path = ("alwayson_scripts", name, "args")
        units = [
            _without_images(unit, (*path, index), FIELDS, taken, problems) if isinstance(unit, Mapping) else unit
            for index, unit in enumerate(script["args"])
        ]
        scripts[name] = {**script, "args": units}
        if len(taken.images) > MAX_IMAGES:
            rule = f"must have at most {MAX_IMAGES} images and masks"
            raise InvalidRequest(Problem(_label(path), rule, len(taken.images)))
    if problems:
        raise InvalidRequest(*problems)
    return taken


def _without_images(
    values: Mapping[str, Any], path: tuple[str | int, ...], names: tuple[str, ...], taken: TakenImages,
    problems: list[Problem], *, nested: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Return an object with None for each image in fields of these names."""
    rest = dict(values)
    for name in names:
        if name in rest:
            rest[name] = _without_image(rest[name], (*path, name), taken, problems, nested=nested)
    return rest


def _without_image(
    value: Any, path: tuple[str | int, ...], taken: TakenImages, problems: list[Problem], *, nested: bool
) -> Any:
    """Return None for an image, which is added to ``taken``; else the value without the images in it."""
    if not value:
        return value
    if isinstance(value, str) and strict_json.is_text(value):
        taken.names[f"passed_images[{len(taken.images)}].image"] = _label(path)
        taken.images.append({"at": list(path), "image": value})
        return None
    if nested and isinstance(value, list) and not any(isinstance(one, list) for one in value):
        return [_without_image(one, (*path, index), taken, problems, nested=True) for index, one in enumerate(value)]
    if nested and isinstance(value, Mapping):
        return _without_images(value, path, _PARTS, taken, problems, nested=False)
    problems.append(Problem(_label(path), _FORMS if nested else "must be an image"))
    return value


def _label(path: tuple[str | int, ...]) -> str:
    """Return a path as errors name it: ``alwayson_scripts.controlnet.args[0].image``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
