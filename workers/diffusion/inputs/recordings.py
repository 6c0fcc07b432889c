"""Decode input videos and sounds: frames at the request's rate, samples at the model's rate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from PIL import Image

from jobs.errors import ExecutionError
from workers.diffusion.inputs import fitting

#: FFmpeg's reader by suffix. It is named, so that no file makes FFmpeg open another one.
_READERS = {"mp4": "mov", "m4a": "mov", "webm": "matroska", "gif": "gif", "wav": "wav", "mp3": "mp3", "ogg": "ogg"}

#: Times are stated in fractions that miss a frame by less, seconds.
_ROUNDING_S = 1e-3


def frames(
    content: bytes, suffix: str, *, fps: float, count: int, size: fitting.Size, resize: str
) -> list[Image.Image]:  # fmt: skip
    """Return the frames that a player shows at the times 0, 1 / fps, 2 / fps, …, fitted to a size.

    Args:
        content: the file.
        suffix: its format.
        fps: frames per second to return.
        count: most frames to return.
        size: width and height, pixels.
        resize: one of ``jobs.requests.pictures.resizes.RESIZES``.

    Raises:
        ExecutionError: the video cannot be decoded.
    """
    shown: list[Image.Image] = []
    last, end_s = None, 0.0

    def show_until(time_s: float) -> None:
        while last is not None and len(shown) < count and len(shown) / fps < time_s - _ROUNDING_S:
            shown.append(last)

    for time_s, frame in _decoded(content, suffix, "video"):
        show_until(time_s)
        if len(shown) == count:
            return shown
        last = _upright(frame, size, resize)
        end_s = time_s + float((frame.duration or 0) * (frame.time_base or 0))
    if last is None:
        raise ExecutionError("video: it has no frames")
    show_until(end_s)
    return shown or [last]


def samples(content: bytes, suffix: str, *, rate_hz: int) -> np.ndarray:
    """Return a sound as (samples,) float32 from -1 to 1, mixed to one channel.

    Args:
        content: the file.
        suffix: its format.
        rate_hz: samples per second.

    Raises:
        ExecutionError: the sound cannot be decoded.
    """
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    parts = []
    for _, frame in _decoded(content, suffix, "audio"):
        parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    if not parts:
        raise ExecutionError("audio: it has no samples")
    return np.concatenate(parts)


def _decoded(content: bytes, suffix: str, kind: str) -> Iterator[tuple[float, Any]]:
    """Yield each frame of the first stream, with its time from the beginning in seconds."""
    try:
        with av.open(io.BytesIO(content), "r", format=_READERS[suffix]) as source:
            stream: Any = (source.streams.video if kind == "video" else source.streams.audio)[0]
            start: float | None = None
            for frame in source.decode(stream):
                time_s = float(frame.time or 0.0)
                start = time_s if start is None else start
                yield time_s - start, frame
    except (av.FFmpegError, ValueError, IndexError) as exc:
        raise ExecutionError(f"{kind}: it could not be decoded ({type(exc).__name__})") from exc


def _upright(frame: Any, size: fitting.Size, resize: str) -> Image.Image:
    """Return a frame as a player shows it: turned as the file says, and fitted."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return fitting.fit(image.size, size, resize).apply(image)
