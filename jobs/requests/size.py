"""The size and length of an output: as requested, those of its input, or the model's default; within the limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.requests import limits

Size = tuple[int, int]
SIDES = ("width", "height")
#: Largest share of an input image that is cut off without a warning, to make the sides multiples.
MAX_SILENT_CUT = 0.05
#: Weight of the area against the shape, where multiples miss both.
AREA_WEIGHT = 0.25
#: Durations are stated in fractions that miss a whole frame by less.
_ROUNDING = 1e-3


class OutputSize(NamedTuple):
    """Width and height of an output in pixels."""

    width: int
    height: int
    #: How the input image is fitted to it, if the image decided about the size; None: as the request says.
    resize: str | None = None


def size_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], image_size: Size | None, problems: list[Problem],
    warnings: list[str], control_size: Size | None = None,
) -> OutputSize:  # fmt: skip
    """Return the size of the output, in the model's multiple.

    Args:
        spec: the model.
        kind: the kind of job.
        fields: the fields that the caller sent.
        image_size: size of the input image; None: it has none, or its size is not known yet.
        problems: receives a problem for each refused side.
        warnings: receives a warning if a size is changed, or much of the image is cut off.
        control_size: size of an image that is laid over the output; decides if no input image does.
    """
    sent = {side: fields[side] for side in SIDES if side in fields}
    if image_size and len(sent) < len(SIDES) and _image_decides(kind, fields):
        width, height = _in_shape(spec, sent, image_size, problems, warnings)
        if kind is Kind.EDIT:  # the pipeline gets the images as they are
            return OutputSize(width, height)
        return _cropped(width, height, image_size, warnings)
    if control_size and len(sent) < len(SIDES) and not kind.inputs:
        return OutputSize(*_in_shape(spec, sent, control_size, problems, warnings))
    size = {side: sent.get(side, spec.default(side)) for side in SIDES}
    outside = [value for side, value in size.items() if value not in spec.limit(side)]
    if outside and all(limits.clamps(spec, value) for value in outside):
        return OutputSize(*_clamped(spec, size["width"], size["height"], warnings))
    width, height = (
        limits.rounded(side, value, spec, spec.size_multiple_px, 0, problems, warnings) for side, value in size.items()
    )
    return OutputSize(width, height)


def _image_decides(kind: Kind, fields: Mapping[str, Any]) -> bool:
    """Return whether an output has the shape of its input image, as far as the request names no size.

    A request with ``resize`` means the model's default size. With area ``masked``, the size is that of the region
    around the mask.
    """
    is_region = (fields.get("inpaint") or {}).get("area") == "masked"
    return bool(kind.inputs & {"image", "images", "video"}) and "resize" not in fields and not is_region


def shape_of(text: str, field: str) -> float:
    """Return width / height of an aspect ratio such as ``16:9``. Raises: InvalidRequest: for ``field``."""
    try:
        across, down = (float(part) for part in text.split(":"))
        ratio = across / down
    except (ValueError, ZeroDivisionError):
        ratio = math.nan
    if not 0.1 <= ratio <= 10:
        raise InvalidRequest(Problem(field, "must be like 16:9, from 1:10 to 10:1", text))
    return ratio


def default_area(spec: ModelSpec, ratio: float) -> Size:
    """Return about the model's default area in a shape: ``ratio`` is width / height. Sides are within the limits."""
    area = spec.default("width") * spec.default("height")
    return within_limits(spec, math.sqrt(area * ratio), math.sqrt(area / ratio))


def within_limits(spec: ModelSpec, width: float, height: float) -> Size:
    """Scale a size until it is within the model's limits; an extreme shape is changed.

    Of the multiples around the scaled size, those in nearly the same shape are returned.
    """
    sides, multiple = {"width": width, "height": height}, spec.size_multiple_px
    scale = min([1.0, *(spec.limit(side).high / length for side, length in sides.items())])
    scale = max([scale, *(spec.limit(side).low / length for side, length in sides.items())])
    across, down = (
        [spec.limit(side).nearest(part * multiple, multiple) for part in _around(length * scale / multiple)]
        for side, length in sides.items()
    )

    def difference(size: Size) -> float:
        shape = abs(math.log(size[0] / size[1] * height / width))
        return shape + AREA_WEIGHT * abs(math.log(size[0] * size[1] / (width * height * scale**2)))

    return min(itertools.product(across, down), key=difference)


def _clamped(spec: ModelSpec, width: float, height: float, warnings: list[str]) -> Size:
    """Return :func:`within_limits`, with a warning."""
    size = within_limits(spec, width, height)
    allowed = f"width must be {spec.limit('width')} and height {spec.limit('height')} for model {spec.name}"
    warnings.append(f"{round(width)} × {round(height)} was changed to {size[0]} × {size[1]}: {allowed}")
    return size


def _around(number: float) -> tuple[int, int]:
    return math.floor(number), math.ceil(number)


def _in_shape(
    spec: ModelSpec, sent: Mapping[str, int], shape: Size, problems: list[Problem], warnings: list[str]
) -> Size:
    """Return the size for an image: its shape, with the side that was sent or the model's default area."""
    ratio = shape[0] / shape[1]
    if not sent:
        size = default_area(spec, ratio)
    else:
        [(side, value)] = sent.items()
        width, height = (value, value / ratio) if side == "width" else (value * ratio, value)
        is_outside = width not in spec.limit("width") or height not in spec.limit("height")
        if is_outside and limits.clamps(spec, value):
            size = _clamped(spec, width, height, warnings)
        else:
            pixels = limits.rounded(side, value, spec, spec.size_multiple_px, 0, problems, warnings)
            if side == "width":
                size = (pixels, spec.limit("height").nearest(pixels / ratio, spec.size_multiple_px))
            else:
                size = (spec.limit("width").nearest(pixels * ratio, spec.size_multiple_px), pixels)
    return size


def _cropped(width: int, height: int, shape: Size, warnings: list[str]) -> OutputSize:
    """Return the size, with the way to fit an image of this shape to it."""
    ratio = shape[0] / shape[1]
    cut = 1 - min(ratio * height / width, width / height / ratio)
    if cut > MAX_SILENT_CUT:
        warnings.append(
            f"{cut:.0%} of the image ({shape[0]} × {shape[1]}) was cut off: the output is {width} × {height}"
        )
    return OutputSize(width, height, resize="crop" if shape[0] * height != shape[1] * width else None)


def frames_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], fps: float, video_s: float | None, problems: list[Problem],
    warnings: list[str],
) -> int:  # fmt: skip
    """Return the number of frames, ``frames_step`` × n + 1.

    Args:
        spec: the model. It makes a video longer if its table names an argument for ``frames`` of video2video.
        kind: the kind of job.
        fields: the fields that the caller sent.
        fps: frames per second of the output.
        video_s: duration of the input video, seconds; None: it has none, or it is not known yet.
        problems: receives a problem if the number is refused.
        warnings: receives a warning if it is changed.
    """
    if kind is not Kind.VIDEO2VIDEO or video_s is None:
        value = fields.get("frames", spec.default("frames"))
        return limits.rounded("frames", value, spec, spec.frames_step, 1, problems, warnings)
    available = max(1, math.floor(video_s * fps + _ROUNDING))
    limit = spec.limit("frames")
    if "frames" not in fields:
        length = int(min(available, limit.high))
        if available > limit.high:
            warnings.append(f"video: its first {limit.high / fps:g} s are used: frames must be {limit}")
        length -= (length - 1) % spec.frames_step
        if length < limit.low:
            problems.append(Problem("video", f"must have at least {limit.low} frames at {fps:g} fps", available))
        return length
    frames = limits.rounded("frames", fields["frames"], spec, spec.frames_step, 1, problems, warnings)
    if frames > available and not spec.offers("frames", kind):
        rule = f"must be at most {available}: the video has so many at {fps:g} frames per second"
        problems.append(Problem("frames", rule, frames))
    return frames
