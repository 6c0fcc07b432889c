"""The image model's latents: a coarse colour picture, and one channel that says which shape lies where.

The latents are designed, not learned. Each of their cells covers 16x16 pixels. Three channels hold the mean
colour of the cell. The fourth holds a sign pattern over the disc of every shape: the sign alone, or the sign
and a direction, tells the six shapes apart. A denoiser learns such patterns as easily as colours, whereas
it learns outlines slowly; the decoder turns them into outlines.
"""

from __future__ import annotations

import random

import numpy as np

from models.training.scenes import Scene, draw

CELL = 16  # pixels per cell and axis
CHANNELS = 4
COLOUR_SCALE, COLOUR_SHIFT = 3.4, -1.7  # from colours 0..1 to latents with a deviation of about one
STRENGTH = 2.0  # of the shape pattern
# Per shape: what the strength is multiplied by, as a constant and as factors of x and y (in radii, clipped).
PATTERNS: dict[str, tuple[float, float, float]] = {
    "circle": (1, 0, 0),
    "square": (-1, 0, 0),
    "triangle": (0, 0, 1),
    "heart": (0, 0, -1),
    "star": (0, 1, 0),
    "diamond": (0, -1, 0),
}
STEEPNESS = 1.6


def centres(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The x (1, columns) and y (rows, 1) of all cell centres, in cells."""
    return np.arange(columns)[None, :] + 0.5, np.arange(rows)[:, None] + 0.5


def latents(scene: Scene, rows: int, columns: int) -> np.ndarray:
    """The latents of a scene, float32 (CHANNELS, rows, columns)."""
    colours = draw(scene.background, scene.things, (columns, rows), oversample=CELL).astype(np.float32) / 255
    made = np.zeros((CHANNELS, rows, columns), dtype=np.float32)
    made[:3] = colours.transpose(2, 0, 1) * COLOUR_SCALE + COLOUR_SHIFT
    x, y = centres(rows, columns)
    side = min(rows, columns)
    for thing in scene.things:
        radius = thing.radius * side
        right, down = x - thing.x * columns, y - thing.y * rows
        # The disc's edge is one cell wide: from it, place and size can be read more finely than the cells.
        disc = np.clip(radius - np.hypot(right, down) + 0.5, 0, 1)
        even, across, along = PATTERNS[thing.shape]
        slope = STEEPNESS / radius
        wave = even + across * np.clip(right * slope, -1, 1) + along * np.clip(down * slope, -1, 1)
        made[3] += STRENGTH * disc * wave
    return made


def grid(chance: random.Random) -> tuple[int, int]:
    """Rows and columns of the latents of a batch: mostly those of 256x256 pixels, sometimes smaller, larger or
    not square.
    """
    if chance.random() < 0.8:
        return 16, 16
    return chance.choice(((8, 8), (12, 12), (12, 16), (16, 12), (16, 24), (24, 16), (20, 20)))


def count_for(batch: int, rows: int, columns: int) -> int:
    """How many samples of a size cost at most what `batch` samples of 256x256 pixels cost, at least eight."""
    return min(batch, max(8, batch * 256 // (rows * columns)))
