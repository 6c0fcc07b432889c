"""Map the image and mask fields of AUTOMATIC1111's body. Absent fields have the defaults of the original API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.fields import Flag, Number, TextSchema, Whole
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind

#: Field of the native API → field of the body.
NAMES = {
    "resize": "resize_mode",
    "inpaint.padding_px": "inpaint_full_res_padding",
    "inpaint.blur_px": "mask_blur",
}
#: Resize modes by number. The last one scales the latents in the original; here the image is stretched.
_RESIZES = ("stretch", "crop", "pad", "stretch")
_FILLS = ("blurred", "original", "noise", "nothing")


class MaskFields(TextSchema):
    """The image and mask fields."""

    resize_mode = Whole(allow_none=True)
    mask_blur = Number(allow_none=True)
    mask_blur_x = Number(allow_none=True)
    mask_blur_y = Number(allow_none=True)
    mask_round = Flag(allow_none=True)
    inpainting_fill = Whole(allow_none=True)
    inpaint_full_res = Flag(allow_none=True)
    inpaint_full_res_padding = Whole(allow_none=True)
    inpainting_mask_invert = Whole(allow_none=True)


def mask_values(body: Mapping[str, Any], kind: Kind, warnings: list[str]) -> dict[str, Any]:
    """Return ``resize``, ``inpaint`` and ``mask_inverted``, as far as the kind has them.

    Args:
        body: the fields of the body that are not null.
        kind: the kind of the job.
        warnings: receives the differences to the original.

    Raises:
        InvalidRequest: a number is not a valid choice.
    """
    values: dict[str, Any] = {}
    if "image" in kind.inputs:
        values["resize"] = _numbered(body, "resize_mode", 0, _RESIZES)
        if body.get("resize_mode") == len(_RESIZES) - 1:
            warnings.append("resize_mode 3: the image was stretched, its latents are not")
    if kind is Kind.INPAINT:
        across, down = (body.get("mask_blur", body.get(f"mask_blur_{axis}", 4)) for axis in "xy")
        if across != down:
            warnings.append(f"mask_blur_x and mask_blur_y: their mean {(across + down) / 2:g} was used")
        if not body.get("mask_round", True):
            warnings.append("mask_round was ignored: a mask counts from half-way grey on")
        values["inpaint"] = {
            "area": "masked" if body.get("inpaint_full_res", True) else "whole",
            "padding_px": body.get("inpaint_full_res_padding", 0),
            "blur_px": (across + down) / 2,
            "fill": _numbered(body, "inpainting_fill", 0, _FILLS),
        }
        values["mask_inverted"] = bool(body.get("inpainting_mask_invert"))
    return values


def _numbered(body: Mapping[str, Any], name: str, default: int, meanings: tuple[str, ...]) -> str:
    number = body.get(name, default)
    if not 0 <= number < len(meanings):
        raise InvalidRequest(Problem(name, f"must be between 0 and {len(meanings) - 1}", number))
    return meanings[number]
