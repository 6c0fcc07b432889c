"""The automatic judge: finds shapes in a picture or clip and says whether they are what the caption asked
for.

It knows nothing of the models: plain thresholds, connected pieces and outline comparison, in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from models.training.captions import PLACES, Sample
from models.training.scenes import COLOUR_NAMES, COLOURS, SHAPES, Thing, draw

PALETTE = np.array([COLOURS[name] for name in COLOUR_NAMES], dtype=np.float32)
CONTRAST = 75.0  # RGB distance from the background from which a pixel belongs to a shape
SIDE = 128  # pixels: side of the drawings that areas are compared with
FIT = 0.9  # overlap with the ideal shape from which an outline counts as drawn
SMALLEST = 0.004  # smallest part of the picture that counts as a piece


@dataclass(frozen=True)
class Found:
    """One connected piece of a picture; centre as fractions of the side, area as a fraction of the picture.

    `fit` is the overlap of the piece with an ideal drawing of its shape of the same width and height: the common
    area divided by the joint area.
    """

    shape: str
    colour: str
    x: float
    y: float
    area: float
    fit: float


@dataclass(frozen=True)
class Seen:
    """What the judge sees in one picture."""

    background: str
    pieces: tuple[Found, ...]


def nearest_colour(rgb: np.ndarray) -> str:
    """The palette's name for a colour (3,)."""
    return COLOUR_NAMES[int(((PALETTE - rgb) ** 2).sum(1).argmin())]


def look(picture: np.ndarray) -> Seen:
    """Finds background and pieces of a picture, uint8 (h, w, 3)."""
    pixels = picture.astype(np.float32)
    rim = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, 0], pixels[:, -1]])
    ground = np.median(rim, axis=0)
    mask = np.sqrt(((pixels - ground) ** 2).sum(2)) > CONTRAST
    height, width = mask.shape
    found = []
    for piece in pieces(mask):
        area = piece.sum() / mask.size
        if area < SMALLEST:
            continue
        rows, columns = np.nonzero(piece)
        inner = shrink(shrink(piece))
        colour = nearest_colour(np.median(pixels[inner if inner.sum() > 12 else piece], axis=0))
        cut = piece[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        shape = nearest_shape(cut)
        x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
        found.append(Found(shape, colour, float(x), float(y), float(area), fit_of(cut, shape)))
    return Seen(nearest_colour(ground), tuple(found))


def pieces(mask: np.ndarray) -> list[np.ndarray]:
    """The connected pieces (four neighbours) of a mask, each as a mask."""
    parents: list[int] = []  # per run of pixels in a row: another run of its piece, or itself
    labels = np.full(mask.shape, -1)
    above: list[tuple[int, int, int]] = []
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        runs = []
        for first, end in edges.reshape(-1, 2).tolist():
            run = len(parents)
            parents.append(run)
            labels[y, first:end] = run
            for other, start, stop in above:
                if start < end and first < stop:
                    parents[root(parents, other)] = root(parents, run)
            runs.append((run, first, end))
        above = runs
    roots = np.array([root(parents, run) for run in range(len(parents))] + [-1])
    joined = roots[labels]
    return [joined == run for run in np.unique(joined) if run >= 0]


def root(parents: list[int], run: int) -> int:
    """The run that stands for the whole piece of a run."""
    while parents[run] != run:
        parents[run] = run = parents[parents[run]]
    return run


def shrink(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost pixels."""
    padded = np.pad(mask, 1)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def stretched(mask: np.ndarray) -> np.ndarray:
    """A mask stretched to 32x32, so that only its form counts."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((32, 32), Image.Resampling.BOX)) / 255.0


@cache
def patterns() -> dict[str, tuple[np.ndarray, float]]:
    """For every shape its stretched mask and its width divided by its height."""
    known = {}
    for shape in SHAPES:
        drawn = draw("black", (Thing(shape, "white", 0.5, 0.5, 0.35),), 128)[..., 0] > 128
        rows, columns = np.nonzero(drawn)
        cut = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        known[shape] = (stretched(cut), cut.shape[1] / cut.shape[0])
    return known


def nearest_shape(cut: np.ndarray) -> str:
    """The shape whose outline is most like that of a mask cut to its bounding box."""
    form, ratio = stretched(cut), cut.shape[1] / cut.shape[0]

    def likeness(shape: str) -> float:
        pattern, usual = patterns()[shape]
        overlap = np.minimum(form, pattern).sum() / np.maximum(form, pattern).sum()
        return float(overlap - 0.3 * abs(np.log(ratio / usual)))

    return max(SHAPES, key=likeness)


def fit_of(cut: np.ndarray, shape: str) -> float:
    """The overlap, from 0 to 1, of a mask cut to its bounding box with the ideal shape of that width and height."""
    height, width = cut.shape
    ideal = np.asarray(Image.fromarray(ideal_mask(shape)).resize((width, height), Image.Resampling.BOX)) > 127
    return float((cut & ideal).sum() / (cut | ideal).sum())


@cache
def ideal_mask(shape: str) -> np.ndarray:
    """A large drawing of a shape, 0 or 255, cut to its bounding box."""
    drawn = draw("black", (Thing(shape, "white", 0.5, 0.5, 0.42),), 512)[..., 0] > 128
    rows, columns = np.nonzero(drawn)
    return drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8) * 255


def edge_width(picture: np.ndarray) -> float:
    """The mean width of the edges in a picture, uint8 (h, w, 3), in pixels: of what is neither shape nor background.

    A pixel counts as edge if it differs by more than a tenth of the contrast from both of the nearest flat colours.
    """
    pixels = picture.astype(np.float32)
    seen = look(picture)
    flat = PALETTE[[COLOUR_NAMES.index(name) for name in {seen.background, *(piece.colour for piece in seen.pieces)}]]
    apart = np.sqrt(((pixels[:, :, None] - flat) ** 2).sum(3)).min(2)
    ground = PALETTE[COLOUR_NAMES.index(seen.background)]
    inside = np.sqrt(((pixels - ground) ** 2).sum(2)) > CONTRAST
    length = (inside & ~shrink(inside)).sum()
    contrast = min(
        (float(np.sqrt(((colour - ground) ** 2).sum())) for colour in flat if (colour != ground).any()), default=1.0
    )
    return float((apart > 0.1 * contrast).sum() / max(1, length))


def judge_image(sample: Sample, picture: np.ndarray) -> dict[str, bool]:
    """Which facts that a caption states are right in a picture; says nothing about what it leaves
    open.
    """
    seen, wanted = look(picture), sample.scene.things
    marks = {}
    if sample.background_said:
        marks["background"] = seen.background == sample.scene.background
    marks["count"] = len(seen.pieces) == len(wanted)
    for name, key in (
        ("colours", lambda thing: thing.colour),
        ("shapes", lambda thing: thing.shape),
        ("binding", lambda thing: (thing.colour, thing.shape)),
    ):
        marks[name] = sorted(map(key, seen.pieces)) == sorted(map(key, wanted))
    marks["outlines"] = bool(seen.pieces) and all(piece.fit >= FIT for piece in seen.pieces)
    if sample.place:
        x, y = PLACES[sample.place]
        marks["place"] = len(seen.pieces) == 1 and thirds(seen.pieces[0]) == (band(x), band(y))
    if sample.relation:
        marks["relation"] = related(sample, seen)
    if sample.size:
        marks["size"] = bool(seen.pieces) and rightly_sized(sample, seen)
    marks["all"] = all(marks.values())
    return marks


def band(value: float) -> int:
    """0, 1 or 2: the low, middle or high part of an axis."""
    return int(value > 0.385) + int(value > 0.615)


def thirds(piece: Found) -> tuple[int, int]:
    """The cell of a three by three grid in which a piece's centre lies."""
    return band(piece.x), band(piece.y)


def related(sample: Sample, seen: Seen) -> bool:
    """Whether the first named shape (found by its colour) lies on the right side of the second."""
    first, second = sample.scene.things
    firsts = [piece for piece in seen.pieces if piece.colour == first.colour]
    seconds = [piece for piece in seen.pieces if piece.colour == second.colour]
    if len(firsts) != 1 or len(seconds) != 1:
        return False
    dx, dy = firsts[0].x - seconds[0].x, firsts[0].y - seconds[0].y
    way = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}[sample.relation]
    along, across = dx * way[0] + dy * way[1], abs(dx * way[1]) + abs(dy * way[0])
    return along > 0.15 and along > across


def rightly_sized(sample: Sample, seen: Seen) -> bool:
    """Whether the pieces' mean area is close enough to the requested one to distinguish it from the usual one."""
    wanted = look(draw(sample.scene.background, sample.scene.things, SIDE)).pieces
    if not wanted:
        return False
    ratio = np.mean([piece.area for piece in seen.pieces]) / np.mean([piece.area for piece in wanted])
    return 0.62 < float(ratio) < 1.6


def judge_clip(sample: Sample, frames: np.ndarray) -> dict[str, bool]:
    """The same for a clip, uint8 (frames, h, w, 3): subject in most frames, and the motion over the whole."""
    views = [look(frame) for frame in frames]
    (thing,) = sample.scene.things
    largest = [max(view.pieces, key=lambda piece: piece.area, default=None) for view in views]

    def mostly(right: list[bool]) -> bool:
        return sum(right) >= 0.75 * len(right)

    marks = {}
    if sample.background_said:
        marks["background"] = mostly([view.background == sample.scene.background for view in views])
    marks["one"] = mostly([len(view.pieces) == 1 for view in views])
    marks["colour"] = mostly([piece is not None and piece.colour == thing.colour for piece in largest])
    marks["shape"] = sum(piece is not None and piece.shape == thing.shape for piece in largest) * 2 > len(views)
    marks["subject"] = marks["colour"] and marks["shape"]
    marks["motion"] = all(largest) and motion_of(largest) == sample.scene.motion
    marks["all"] = all(marks.values())
    return marks


def motion_of(track: list[Found]) -> str | None:
    """The motion of a piece over the frames: by distance and growth, and only if it is mostly steady."""
    x, y = np.array([piece.x for piece in track]), np.array([piece.y for piece in track])
    growth = np.log([piece.area for piece in track])
    axes = {("right", "left"): x / 0.42, ("down", "up"): y / 0.42, ("growing", "shrinking"): growth / 1.67}
    names, values = max(axes.items(), key=lambda item: abs(item[1][-1] - item[1][0]))
    change = values[-1] - values[0]
    steady = np.mean(np.sign(np.diff(values)) == np.sign(change))
    if abs(change) < 0.3 or steady < 0.7:
        return None
    return names[0] if change > 0 else names[1]
