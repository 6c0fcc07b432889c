"""The small world of shapes: scenes, their rendering as images and clips, and their layout grids.

A scene is a plain background with one to four flat shapes; a clip is a scene whose shapes move or change
size. All lengths are fractions of the picture side, the origin is the top left corner, y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 36),
    "orange": (250, 140, 20),
    "yellow": (252, 224, 44),
    "green": (34, 160, 62),
    "blue": (36, 84, 220),
    "purple": (132, 48, 176),
    "pink": (252, 150, 196),
    "cyan": (70, 208, 220),
    "white": (250, 250, 250),
    "black": (16, 16, 18),
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "heart", "diamond")
MOTIONS: tuple[str, ...] = ("right", "left", "up", "down", "growing", "shrinking")

# Similar hues that a small autoencoder (and an eye) may confuse: never drawn on each other.
CLOSE_PAIRS = frozenset(
    frozenset(pair) for pair in (("red", "orange"), ("orange", "yellow"), ("pink", "white"), ("blue", "purple"))
)

TRAVEL = 0.42  # distance of a moving shape from the first to the last frame
SHRUNK, GROWN = 0.65, 1.5  # factors on the radius at the small and at the large end of growing and shrinking


@dataclass(frozen=True)
class Thing:
    """One flat shape: centre (x, y) and radius, all as fractions of the picture side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """A plain background, the shapes on it, and the motion of a clip of it (None: a still picture)."""

    background: str
    things: tuple[Thing, ...]
    motion: str | None = None


def outline(shape: str, steps: int = 96) -> np.ndarray:
    """Points of a shape's outline, float array (n, 2), about its centre, with radius one."""
    if shape == "circle":
        angle = np.linspace(0, 2 * math.pi, steps, endpoint=False)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.96
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.84
    if shape == "triangle":
        return np.array([(0, -1.0), (1.05, 0.86), (-1.05, 0.86)])
    if shape == "diamond":
        return np.array([(0, -1.12), (0.8, 0), (0, 1.12), (-0.8, 0)])
    if shape == "star":
        angle = np.arange(10) * math.pi / 5 - math.pi / 2
        length = np.where(np.arange(10) % 2 == 0, 1.14, 0.48)
        return np.stack([np.cos(angle) * length, np.sin(angle) * length + 0.06], axis=1)
    if shape == "heart":
        angle = np.linspace(0, 2 * math.pi, steps, endpoint=False)
        x = np.sin(angle) ** 3
        y = -(13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)) / 16
        return np.stack([x * 1.05, y * 1.05 + 0.08], axis=1)
    raise ValueError(f"unknown shape: {shape}")


OUTLINES: dict[str, np.ndarray] = {shape: outline(shape) for shape in SHAPES}


def draw(
    background: str,
    things: Sequence[Thing],
    size: int | tuple[int, int],
    oversample: int = 4,
    window: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Renders one still picture, edges smoothed by drawing larger and averaging.

    Args:
        background: the name of the background's colour.
        things: the shapes; their radii are fractions of the shorter side.
        size: side in pixels, or width and height.
        oversample: how many times larger the picture is drawn.
        window: left, top, width and height in pixels of the part to render; None for the whole.

    Returns:
        The picture, uint8 (height, width, 3).
    """
    width, height = (size, size) if isinstance(size, int) else size
    left, top, wide, high = window or (0, 0, width, height)
    canvas = Image.new("RGB", (wide * oversample, high * oversample), COLOURS[background])
    pen = ImageDraw.Draw(canvas)
    for thing in things:
        centre = (thing.x * width - left, thing.y * height - top)
        points = (OUTLINES[thing.shape] * thing.radius * min(width, height) + centre) * oversample
        pen.polygon([(float(x), float(y)) for x, y in points], fill=COLOURS[thing.colour])
    return np.asarray(canvas.reduce(oversample))


def at_time(scene: Scene, moment: float) -> tuple[Thing, ...]:
    """The shapes of a clip at a moment between 0 (first frame) and 1 (last frame)."""
    if scene.motion is None:
        return scene.things
    moved = []
    for thing in scene.things:
        x, y, radius = thing.x, thing.y, thing.radius
        if scene.motion in ("right", "left"):
            way = (moment - 0.5) * (1 if scene.motion == "right" else -1)
            x += way * TRAVEL
        elif scene.motion in ("down", "up"):
            way = (moment - 0.5) * (1 if scene.motion == "down" else -1)
            y += way * TRAVEL
        else:
            part = moment if scene.motion == "growing" else 1 - moment
            radius *= SHRUNK + (GROWN - SHRUNK) * part
        moved.append(Thing(thing.shape, thing.colour, x, y, radius))
    return tuple(moved)


def draw_clip(scene: Scene, frames: int, size: int) -> np.ndarray:
    """Renders a clip: uint8 array (frames, size, size, 3)."""
    moments = np.linspace(0, 1, frames)
    return np.stack([draw(scene.background, at_time(scene, float(moment)), size) for moment in moments])


def layout(scene: Scene, cells: int, moments: Sequence[float] = (0.0,)) -> np.ndarray:
    """The layout: int64 array (2, len(moments), cells, cells) of colour index and shape index (0:
    none).
    """
    centres = (np.arange(cells) + 0.5) / cells
    grid = np.zeros((2, len(moments), cells, cells), dtype=np.int64)
    grid[0] = COLOUR_NAMES.index(scene.background)
    for index, moment in enumerate(moments):
        for thing in at_time(scene, moment):
            # 0.85: shapes fill only a part of their circle; a disc is accurate enough for a coarse grid.
            reach = (thing.radius * 0.85) ** 2
            inside = (centres[None, :] - thing.x) ** 2 + (centres[:, None] - thing.y) ** 2 < reach
            grid[0, index][inside] = COLOUR_NAMES.index(thing.colour)
            grid[1, index][inside] = SHAPES.index(thing.shape) + 1
    return grid
