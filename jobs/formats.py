"""File formats of outputs, and the check of the fields ``output_format`` and ``output_quality``."""

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
    #: Whether it has a quality from 1 to 100.
    lossy: bool = True
    #: Whether width and height must be even (yuv420p video).
    even: bool = False
    #: Whether it can hold the sound of a video.
    has_sound: bool = False
    #: Longest side, pixels; 0: no limit that matters here.
    max_side_px: int = 0


FORMATS = {
    "png": Format("image/png", "png", lossy=False),
    "webp": Format("image/webp", "webp", max_side_px=16_383),
    "jpeg": Format("image/jpeg", "jpg", max_side_px=65_500),
    "gif": Format("image/gif", "gif", lossy=False),
    "mp4": Format("video/mp4", "mp4", even=True, has_sound=True),
    "webm": Format("video/webm", "webm", even=True, has_sound=True),
}
#: Media types that browsers only show or play, and never run as a page. Workers over HTTP may send other types.
INLINE_MEDIA_TYPES = frozenset(
    {
        "image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "video/mp4", "video/webm",
        "audio/mpeg", "audio/wav", "audio/x-wav", "audio/vnd.wave", "audio/ogg", "audio/flac", "audio/x-flac",
        "audio/aac", "audio/mp4", "audio/webm",
    }
)  # fmt: skip
#: Media type of all other files on their way to a client.
UNKNOWN_MEDIA_TYPE = "application/octet-stream"
IMAGE_FORMATS = ("png", "webp", "jpeg")
#: GIF and WebP videos are animations.
VIDEO_FORMATS = ("mp4", "webm", "gif", "webp")


def is_inline(media_type: str) -> bool:
    """Return whether a browser may show a file of this type; any other file is a download."""
    return media_type.partition(";")[0].strip().lower() in INLINE_MEDIA_TYPES


def served_type(media_type: str) -> str:
    """Return the media type under which a file is sent: its own if a browser may show it."""
    return media_type if is_inline(media_type) else UNKNOWN_MEDIA_TYPE


def disposition(media_type: str, file_name: str = "") -> str:
    """Return the ``Content-Disposition`` of a file. ``file_name`` consists of the characters of ids and suffixes."""
    how = "inline" if is_inline(media_type) else "attachment"
    return f'{how}; filename="{file_name}"' if file_name else how


def choose(
    fields: Mapping[str, Any], *, is_video: bool, default: str, quality: int
) -> tuple[dict[str, Any], list[Problem]]:
    """Choose the format of a job's outputs.

    Args:
        fields: the fields that the caller sent; ``output_format`` and ``output_quality`` are used.
        is_video: whether the job makes videos.
        default: the format if the caller names none.
        quality: the quality if the caller names none, 1 to 100.

    Returns:
        ``output_format`` and ``output_quality`` (None for a format without quality), and the problems.
    """
    allowed = VIDEO_FORMATS if is_video else IMAGE_FORMATS
    name = fields.get("output_format", default)
    if name not in allowed:
        medium = "a video" if is_video else "an image"
        return {}, [Problem("output_format", f"must be one of {', '.join(allowed)} for {medium}", name)]
    problems = []
    requested = fields.get("output_quality")
    if requested is not None and not FORMATS[name].lossy:
        problems.append(Problem("output_quality", f"does not apply: {name} has no quality", requested))
    elif requested is not None and not 1 <= requested <= 100:
        problems.append(Problem("output_quality", "must be between 1 and 100", requested))
    chosen = (requested or quality) if FORMATS[name].lossy else None
    return {"output_format": name, "output_quality": chosen}, problems


def even_size(name: str, width: int, height: int) -> tuple[int, int]:
    """Return the size of an image in this format, pixels. If sides must be even, the last row or column is cropped."""
    return (width // 2 * 2, height // 2 * 2) if FORMATS[name].even else (width, height)
