"""What AUTOMATIC1111's body says of images and masks as fields of ours. Its API's defaults count for what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from app.fields import Number, Whole
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind

#: Our field → theirs.
NAMES = {
    "resize": "resize_mode",
    "inpaint.padding_px": "inpaint_full_res_padding",
    "inpaint.blur_px": "mask_blur",
}
#: By their number. The last one scales latents, which gives a stretched picture, too.
_RESIZES = ("stretch", "crop", "pad", "stretch")
_FILLS = ("blurred", "original", "noise", "nothing")


class MaskFields(Schema):
    """Their fields."""

    resize_mode = Whole(allow_none=True)
    mask_blur = Number(allow_none=True)
    mask_blur_x = Number(allow_none=True)
    mask_blur_y = Number(allow_none=True)
    mask_round = fields.Boolean(allow_none=True)
    inpainting_fill = Whole(allow_none=True)
    inpaint_full_res = fields.Boolean(allow_none=True)
    inpaint_full_res_padding = Whole(allow_none=True)
    inpainting_mask_invert = Whole(allow_none=True)


def values_of(sent: Mapping[str, Any], kind: Kind, warnings: list[str]) -> dict[str, Any]:
    """Our fields for this kind.

    Args:
        sent: the body, without what is null.
        kind: what it asks for.
        warnings: what is done in another way is added.

    Raises:
        InvalidRequest: a number that stands for nothing.
    """
    found: dict[str, Any] = {}
    if "image" in kind.inputs:
        found["resize"] = _numbered(sent, "resize_mode", 0, _RESIZES)
        if sent.get("resize_mode") == len(_RESIZES) - 1:
            warnings.append("resize_mode 3: the image was stretched, its latents are not")
    if kind is Kind.INPAINT:
        across, down = (sent.get("mask_blur", sent.get(f"mask_blur_{axis}", 4)) for axis in "xy")
        if across != down:
            warnings.append(f"mask_blur_x and mask_blur_y: their mean {(across + down) / 2:g} was used")
        if not sent.get("mask_round", True):
            warnings.append("mask_round was ignored: a mask counts from half-way grey on")
        found["inpaint"] = {
            "area": "masked" if sent.get("inpaint_full_res", True) else "whole",
            "padding_px": sent.get("inpaint_full_res_padding", 0),
            "blur_px": (across + down) / 2,
            "fill": _numbered(sent, "inpainting_fill", 0, _FILLS),
        }
        found["mask_inverted"] = bool(sent.get("inpainting_mask_invert"))
    return found


def _numbered(sent: Mapping[str, Any], name: str, default: int, meanings: tuple[str, ...]) -> str:
    number = sent.get(name, default)
    if not 0 <= number < len(meanings):
        raise InvalidRequest(Problem(name, f"must be between 0 and {len(meanings) - 1}", number))
    return meanings[number]
