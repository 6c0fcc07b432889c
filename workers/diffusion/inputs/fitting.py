"""Fit pictures into other sizes, and find the region around a mask. Boxes are (left, top, right, bottom)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Fit:
    """Maps a part of a source picture to a place in the result; the rest of the result is border. All in pixels."""

    source: Size
    part: tuple[float, float, float, float]
    target: Size
    place: Box

    def apply(
        self, picture: Image.Image, *, black_border: bool = False, by: Image.Resampling = Image.Resampling.LANCZOS
    ) -> Image.Image:
        """Fit a picture as if it had the source's size. The border has the colours of the edge, or is black."""
        across, down = picture.width / self.source[0], picture.height / self.source[1]
        left, top, right, bottom = self.part
        part = (left * across, top * down, min(right * across, picture.width), min(bottom * down, picture.height))
        scaled = picture.resize(_size(self.place), by, box=part)
        if scaled.size == self.target:
            return scaled
        left, top, right, bottom = self.place
        border = [(top, self.target[1] - bottom), (left, self.target[0] - right), (0, 0)]
        pixels = np.asarray(scaled)
        return Image.fromarray(np.pad(pixels, border[: pixels.ndim], mode="constant" if black_border else "edge"))

    def back(self, result: Image.Image) -> Image.Image:
        """Return the place in a result, scaled back to the size of its part of the source."""
        left, top, right, bottom = self.part
        size = (round(right - left), round(bottom - top))
        return result.resize(self.target).crop(self.place).resize(size, Image.Resampling.LANCZOS)


def fit(source: Size, target: Size, resize: str) -> Fit:
    """Return the fit from one size to another; ``resize``: one of ``jobs.requests.pictures.resizes.RESIZES``."""
    (width, height), (wide, high) = source, target
    part, place = (0.0, 0.0, float(width), float(height)), (0, 0, wide, high)
    if resize == "crop":
        scale = max(wide / width, high / height)
        across, down = (width - wide / scale) / 2, (height - high / scale) / 2
        part = (max(0.0, across), max(0.0, down), min(width, width - across), min(height, height - down))
    elif resize == "pad":
        scale = min(wide / width, high / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top = (wide - size[0]) // 2, (high - size[1]) // 2
        place = (left, top, left + size[0], top + size[1])
    return Fit(source, part, target, place)


def grown(box: Box, by_px: int, size: Size) -> Box:
    """Return a box with ``by_px`` more pixels on each side, within the picture."""
    left, top, right, bottom = box
    return max(0, left - by_px), max(0, top - by_px), min(size[0], right + by_px), min(size[1], bottom + by_px)


def widened(box: Box, shape: Size, size: Size) -> Box:
    """Return the smallest box around this one with the aspect ratio of ``shape``, moved and cropped to the picture."""
    width, height = _size(box)
    wide, high = (
        max(width, math.ceil(height * shape[0] / shape[1])),
        max(height, math.ceil(width * shape[1] / shape[0])),
    )
    left, right = _span(box[0], box[2], min(wide, size[0]), size[0])
    top, bottom = _span(box[1], box[3], min(high, size[1]), size[1])
    return left, top, right, bottom


def _span(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """Return an interval of this length around low..high, within 0..limit."""
    start = min(max(0, (low + high - length) // 2), limit - length)
    return start, start + length


def _size(box: Box) -> Size:
    return box[2] - box[0], box[3] - box[1]
