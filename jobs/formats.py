"""The formats of outputs: what each is, and which of them a request may ask for. Knows neither settings nor pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import Problem


@dataclass(frozen=True)
class Format:
    """One file format."""

    media_type: str
    suffix: str
    #: Whether it has a quality to choose.
    lossy: bool = True
    #: Whether it only holds pictures of even width and height (yuv420p video).
    even: bool = False
    #: Longest side it can hold, pixels; 0: longer than any input.
    max_side_px: int = 0


FORMATS = {
    "png": Format("image/png", "png", lossy=False),
    "webp": Format("image/webp", "webp", max_side_px=16_383),
    "jpeg": Format("image/jpeg", "jpg", max_side_px=65_500),
    "gif": Format("image/gif", "gif", lossy=False),
    "mp4": Format("video/mp4", "mp4", even=True),
    "webm": Format("video/webm", "webm", even=True),
}
IMAGE_FORMATS = ("png", "webp", "jpeg")
#: GIF and WebP are animated.
VIDEO_FORMATS = ("mp4", "webm", "gif", "webp")


def choose(
    sent: Mapping[str, Any], *, is_video: bool, default: str, quality: int
) -> tuple[dict[str, Any], list[Problem]]:
    """The format of a job's outputs.

    Args:
        sent: what the caller sent; ``output_format`` and ``output_quality`` matter here.
        is_video: whether the job makes videos.
        default: the format where none was asked for.
        quality: the quality where none was asked for, 1 to 100.

    Returns:
        ``output_format`` and ``output_quality`` (None for a format that has none), and what is wrong.
    """
    allowed = VIDEO_FORMATS if is_video else IMAGE_FORMATS
    name = sent.get("output_format", default)
    if name not in allowed:
        what = "a video" if is_video else "an image"
        return {}, [Problem("output_format", f"must be one of {', '.join(allowed)} for {what}", name)]
    problems = []
    wanted = sent.get("output_quality")
    if wanted is not None and not FORMATS[name].lossy:
        problems.append(Problem("output_quality", f"{name} has no quality to choose", wanted))
    elif wanted is not None and not 1 <= wanted <= 100:
        problems.append(Problem("output_quality", "must be between 1 and 100", wanted))
    chosen = (wanted or quality) if FORMATS[name].lossy else None
    return {"output_format": name, "output_quality": chosen}, problems


def even_size(name: str, width: int, height: int) -> tuple[int, int]:
    """Pixels of a picture in this format: one that needs even sides loses the last row or column."""
    return (width // 2 * 2, height // 2 * 2) if FORMATS[name].even else (width, height)
