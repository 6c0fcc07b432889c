"""Checks of the fields ``resize`` and ``inpaint``: how a request's input image and mask are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, Range
from jobs.requests.pictures.resizes import RESIZES

#: The computed area: the whole image, or only the region around the mask in the image's own size.
AREAS = ("whole", "masked")
#: Content under the mask when the run starts: the image, the colours around the mask, noise, or one colour.
FILLS = ("original", "blurred", "noise", "nothing")
PADDING_PX = Range(0, 512)
BLUR_PX = Range(0, 256)


@dataclass(frozen=True)
class Inpaint:
    """How a mask is used."""

    area: str = "whole"
    #: Width of the border around the mask that belongs to the region, pixels of the image; for area ``masked``.
    padding_px: int = 0
    #: Standard deviation of the Gaussian that softens the mask, pixels of the output.
    blur_px: float = 0.0
    fill: str = "original"

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Inpaint:
        """Return the values of a request's field ``inpaint``, which omits defaults."""
        return cls(**(stored or {}))

    def stored(self) -> dict[str, Any] | None:
        """Return the value of a request's field ``inpaint``: what differs from the defaults; None if nothing does."""
        defaults = asdict(Inpaint())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]} or None


def resize_of(kind: Kind, fields: Mapping[str, Any], problems: list[Problem]) -> str | None:
    """Return one of :data:`RESIZES`; None for the default."""
    default = RESIZES[0]
    resize = str(fields.get("resize", default))
    if resize not in RESIZES:
        problems.append(Problem("resize", f"must be one of {', '.join(RESIZES)}", resize))
    elif resize != default and not kind.inputs & {"image", "video"}:
        problems.append(Problem("resize", f"does not apply: {kind} has no input image", resize))
    return None if resize == default else resize


def inpaint_of(kind: Kind, fields: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """Return the values of :class:`Inpaint` that differ from the defaults; None if none does."""
    if not fields.get("inpaint"):
        return None
    values = {name: value for name, value in fields["inpaint"].items() if value is not None}
    for name, choices in (("area", AREAS), ("fill", FILLS)):
        if name in values and values[name] not in choices:
            problems.append(Problem(f"inpaint.{name}", f"must be one of {', '.join(choices)}", values[name]))
    for name, limit in (("padding_px", PADDING_PX), ("blur_px", BLUR_PX)):
        if name in values and values[name] not in limit:
            problems.append(Problem(f"inpaint.{name}", f"must be {limit}", values[name]))
    inpaint = Inpaint.of(values).stored()
    if inpaint and kind is not Kind.INPAINT:
        problems.append(Problem("inpaint", f"does not apply: {kind} has no mask", inpaint))
    return inpaint
