"""Encode frames as GIF or animated WebP, through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from workers.delivery.encode.images import OPTIONS
from workers.delivery.encode.metadata import Metadata

#: Shortest frame of a GIF, milliseconds: browsers slow down shorter ones. Faster videos leave frames out.
SHORTEST_GIF_MS = 20
#: Approximate number of pixels from which the colours of a GIF are chosen.
SAMPLE_PX = 200_000


def _bayer(order: int) -> np.ndarray:
    """Return the threshold matrix of ordered dither: 0 to 4**order - 1, with distant values side by side."""
    if order == 0:
        return np.zeros((1, 1), np.int16)
    smaller = 4 * _bayer(order - 1)
    return np.block([[smaller, smaller + 2], [smaller + 3, smaller + 1]])


#: Shifts of ordered dither, -16 to 15.5: the approximate distance of colours in a palette of 255.
_BAYER = ((_bayer(3) - 32) // 2).astype(np.int16)


def durations_ms(count: int, fps: float, unit_ms: int) -> list[int]:
    """Return the duration of each of ``count`` frames in whole units; rounding errors do not accumulate."""
    ends = [round(number * 1000 / fps / unit_ms) * unit_ms for number in range(count + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def write_webp(frames: np.ndarray, path: Path, *, fps: float, quality: int, metadata: Metadata | None) -> None:
    """Write (frames, height, width, 3) uint8 RGB as an animated WebP that repeats for ever."""
    _Clip(frames).save(
        path, "WEBP", save_all=True, duration=durations_ms(len(frames), fps, 1), loop=0, quality=quality,
        **OPTIONS["webp"], **(metadata.exif() if metadata else {}),
    )  # fmt: skip


def write_gif(frames: np.ndarray, path: Path, *, fps: float, metadata: Metadata | None) -> None:
    """Write (frames, height, width, 3) uint8 RGB as a GIF that repeats for ever.

    One palette, chosen from the whole clip, so that colours do not flicker.
    """
    highest = 1000 / SHORTEST_GIF_MS
    if fps > highest:
        shown = max(1, round(len(frames) * highest / fps))
        frames, fps = frames[np.linspace(0, len(frames) - 1, shown).round().astype(int)], highest
    palette, nearest = _palette(frames)

    def pictures() -> Iterator[Image.Image]:
        for frame in frames:
            picture = Image.fromarray(_dithered(frame, nearest))
            picture.putpalette(palette)
            yield picture

    rest = pictures()
    next(rest).save(
        path, "GIF", save_all=True, append_images=rest, duration=durations_ms(len(frames), fps, 10), loop=0,
        optimize=False, **(metadata.gif() if metadata else {}),
    )  # fmt: skip


def _palette(frames: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Choose 255 colours for the clip (the 256th marks pixels that do not change).

    Returns:
        Red, green and blue of each in turn; and a table (64, 64, 64) from the upper six bits of a colour to its number.
    """
    step = max(1, round((frames.size / 3 / SAMPLE_PX) ** (1 / 3)))
    sample = np.concatenate([frame[::step, ::step] for frame in frames[::step]])
    chosen = Image.fromarray(sample).quantize(255, Image.Quantize.MEDIANCUT)
    axis = np.arange(2, 256, 4, dtype=np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(512, 512, 3)
    numbers = Image.fromarray(cube).quantize(palette=chosen, dither=Image.Dither.NONE)
    return chosen.getpalette() or [], np.asarray(numbers).reshape(64, 64, 64)


def _dithered(frame: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Return (height, width) numbers of colours. Ordered dither is fast, and still areas stay the same."""
    height, width = frame.shape[:2]
    pattern = np.tile(_BAYER, (height // 8 + 1, width // 8 + 1))[:height, :width, None]
    shifted = np.clip(frame + pattern, 0, 255).astype(np.uint8) >> 2
    return nearest[shifted[..., 0], shifted[..., 1], shifted[..., 2]]


class _Clip(Image.Image):
    """The frames as an animated picture of Pillow; only the current frame is copied into memory."""

    def __init__(self, frames: np.ndarray) -> None:
        super().__init__()
        self._frames = frames
        self._mode, self._size = "RGB", (frames.shape[2], frames.shape[1])
        self.n_frames = len(frames)
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError
        self._number = frame
        self.im = Image.fromarray(self._frames[frame]).im

    def tell(self) -> int:
        return self._number
