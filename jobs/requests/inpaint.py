"""How a request's input image and mask are used: checked, and with what was left out filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, Range

#: How an input image, and its mask alike, get to width × height: scaled in both directions; scaled to cover, the
#: middle cut out; scaled to fit, the border filled with the colours of the edge.
RESIZES = ("stretch", "crop", "pad")
#: What is computed: the whole image, or the region around the mask in the image's own size.
AREAS = ("whole", "masked")
#: What lies under the mask when the run begins: the image, the colours around the mask, noise, or one colour.
FILLS = ("original", "blurred", "noise", "nothing")
PADDING_PX = Range(0, 512)
BLUR_PX = Range(0, 256)


@dataclass(frozen=True)
class Inpaint:
    """How a mask is used."""

    area: str = "whole"
    #: Of area ``masked``: so many pixels of the image around the mask belong to the region.
    padding_px: int = 0
    #: Standard deviation of the Gaussian that softens the mask, pixels of the output.
    blur_px: float = 0.0
    fill: str = "original"

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Inpaint:
        """From the field ``inpaint`` of a request, which only has what differs from the defaults."""
        return cls(**(stored or {}))

    def stored(self) -> dict[str, Any] | None:
        """The field ``inpaint`` of a request."""
        usual = asdict(Inpaint())
        return {name: value for name, value in asdict(self).items() if value != usual[name]} or None


def resize_of(kind: Kind, sent: Mapping[str, Any], problems: list[Problem]) -> str | None:
    """One of :data:`RESIZES` but the first, which is the usual one: None."""
    wanted = sent.get("resize", RESIZES[0])
    if wanted not in RESIZES:
        problems.append(Problem("resize", f"must be one of {', '.join(RESIZES)}", wanted))
    elif wanted != RESIZES[0] and "image" not in kind.inputs:
        problems.append(Problem("resize", f"{kind} has no input image", wanted))
    return None if wanted == RESIZES[0] else wanted


def inpaint_of(kind: Kind, sent: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    """What of :class:`Inpaint` differs from the defaults; None: nothing."""
    wanted = {name: value for name, value in sent.get("inpaint", {}).items() if value is not None}
    for name, allowed in (("area", AREAS), ("fill", FILLS)):
        if name in wanted and wanted[name] not in allowed:
            problems.append(Problem(f"inpaint.{name}", f"must be one of {', '.join(allowed)}", wanted[name]))
    for name, limit in (("padding_px", PADDING_PX), ("blur_px", BLUR_PX)):
        if name in wanted and wanted[name] not in limit:
            problems.append(Problem(f"inpaint.{name}", f"must be {limit}", wanted[name]))
    found = Inpaint.of(wanted).stored()
    if found and kind is not Kind.INPAINT:
        problems.append(Problem("inpaint", f"{kind} has no mask", found))
    return found
