"""Encode one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workers.delivery.encode.metadata import Metadata

#: Quality of thumbnails and posters.
PREVIEW_QUALITY = 80

#: Pillow's options by format, which ``python -m bench.delivery`` compares (bench/RESULTS.md).
OPTIONS: dict[str, dict[str, Any]] = {
    # 1: a sixth of the time of Pillow's default 6, and 11 % more bytes of a photo.
    "png": {"compress_level": 1},
    "webp": {"method": 2},
    # Progressive files appear at once and then sharpen; they are also a little smaller.
    "jpeg": {"optimize": True, "progressive": True},
}
#: From this quality on, JPEG stores colour at full resolution, so fine coloured edges stay sharp.
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


def write_preview(frame: np.ndarray, path: Path, name: str, longest_px: int | None = None) -> tuple[int, int]:
    """Write a thumbnail of at most ``longest_px`` (None: a poster in full size), without metadata.

    Returns:
        Width and height, pixels.
    """
    picture = Image.fromarray(frame)
    if longest_px is not None:
        picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    picture.save(path, name, quality=PREVIEW_QUALITY, **OPTIONS[name])
    return picture.width, picture.height
