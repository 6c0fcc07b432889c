"""One picture to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workers.delivery.encode.metadata import Metadata

#: Of thumbnails and posters.
PREVIEW_QUALITY = 80
#: Longest side of a preview of a running job that somebody else drew, pixels.
RUN_PREVIEW_PX = 512

#: Pillow's options by format, chosen by ``python -m bench.delivery`` (bench/RESULTS.md).
OPTIONS: dict[str, dict[str, Any]] = {
    # 1: a sixth of the time of Pillow's default 6, and 11 % more bytes of a photo.
    "png": {"compress_level": 1},
    "webp": {"method": 2},
    # Progressive files appear at once and sharpen; also a little smaller.
    "jpeg": {"optimize": True, "progressive": True},
}
#: From this quality on JPEG keeps colour at full resolution: fine coloured edges stay sharp.
FULL_COLOUR_QUALITY = 90


def write(frame: np.ndarray, path: Path, name: str, *, quality: int, metadata: Metadata | None) -> None:
    """Write (height, width, 3) uint8 RGB as ``png``, ``webp`` or ``jpeg``."""
    options = dict(OPTIONS[name])
    if name != "png":
        options["quality"] = quality
    if name == "jpeg":
        options["subsampling"] = "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"
    if metadata is not None:
        options |= metadata.png() if name == "png" else metadata.exif()
    Image.fromarray(frame).save(path, name, **options)


def small_jpeg(content: bytes) -> bytes:
    """A picture's file as a JPEG of the size of previews."""
    with Image.open(io.BytesIO(content)) as image:
        picture = image.convert("RGB")
    picture.thumbnail((RUN_PREVIEW_PX, RUN_PREVIEW_PX))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=PREVIEW_QUALITY)
    return file.getvalue()


def write_preview(frame: np.ndarray, path: Path, name: str, longest_px: int | None = None) -> tuple[int, int]:
    """Write a picture for looking at, without metadata: a thumbnail of at most ``longest_px``, else in full size.

    Returns:
        Width and height, pixels.
    """
    picture = Image.fromarray(frame)
    if longest_px is not None:
        picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    picture.save(path, name, quality=PREVIEW_QUALITY, **OPTIONS[name])
    return picture.width, picture.height
