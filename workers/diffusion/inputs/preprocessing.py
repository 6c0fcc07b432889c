"""Turn the image of a control into what the control reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps

#: Tangent of 22.5 degrees, in 32768ths.
_TAN = 13573


def preprocessed(picture: Image.Image, control: dict[str, Any]) -> Image.Image:
    """Return an RGB picture as a control of a request says (``jobs.requests.pictures.preprocessing``)."""
    match control.get("preprocess"):
        case "canny":
            edges = canny(np.asarray(picture), control["low_threshold"], control["high_threshold"])
            return Image.fromarray(edges).convert("RGB")
        case "invert":
            return ImageOps.invert(picture)
    return picture


def canny(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the edges of a picture as OpenCV's ``Canny(pixels, low, high)`` finds them.

    Args:
        pixels: (height, width, 3) uint8.
        low: weakest gradient that continues an edge; the sum of both directions.
        high: weakest gradient that begins one.

    Returns:
        (height, width) uint8: 255 on edges, else 0.
    """
    across, down = _gradient(pixels)
    strength = np.abs(across) + np.abs(down)
    around = np.pad(strength, 1)

    def at(y: int, x: int) -> np.ndarray:
        return around[1 + y : around.shape[0] - 1 + y, 1 + x : around.shape[1] - 1 + x]

    # An edge is one pixel wide: the strongest one across its direction.
    flat, steep = np.abs(across) * _TAN, np.abs(down) << 15
    is_across, is_down = steep < flat, steep > flat + (np.abs(across) << 16)
    rising = (across ^ down) < 0
    diagonal = np.where(rising, (strength > at(-1, 1)) & (strength > at(1, -1)),
                        (strength > at(-1, -1)) & (strength > at(1, 1)))  # fmt: skip
    thin = np.select(
        [is_across, is_down],
        [(strength > at(0, -1)) & (strength >= at(0, 1)), (strength > at(-1, 0)) & (strength >= at(1, 0))],
        diagonal,
    ) & (strength > low)
    return _continued(thin & (strength > high), thin)


def _gradient(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients across and down, of each pixel's channel with the strongest one."""
    padded = np.pad(pixels.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    smooth_down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    across, down = smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2]
    strongest = (np.abs(across) + np.abs(down)).argmax(axis=2)[..., None]
    return np.take_along_axis(across, strongest, 2)[..., 0], np.take_along_axis(down, strongest, 2)[..., 0]


def _continued(begun: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Return 255 where pixels are begun, or possible and connected with such a pixel."""
    height, width = begun.shape
    open_ = np.zeros((height + 2, width + 2), dtype=bool)
    open_[1:-1, 1:-1] = possible & ~begun
    found = np.zeros_like(open_)
    found[1:-1, 1:-1] = begun
    row = width + 2
    neighbours = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])
    flat_open, flat_found = open_.reshape(-1), found.reshape(-1)
    frontier = np.flatnonzero(flat_found)
    while frontier.size:
        reached = np.unique(frontier[:, None] + neighbours)
        frontier = reached[flat_open[reached]]
        flat_open[frontier] = False
        flat_found[frontier] = True
    return found[1:-1, 1:-1].astype(np.uint8) * 255
