"""Videos and sounds for tests, encoded here."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from typing import Any

import av
import numpy as np

_VIDEO = {
    "mp4": ("mp4", "libx264", "yuv420p"), "webm": ("webm", "libvpx-vp9", "yuv420p"), "gif": ("gif", "gif", "rgb8"),
}  # fmt: skip
_AUDIO = {
    "wav": ("wav", "pcm_s16le"), "mp3": ("mp3", "libmp3lame"), "ogg": ("ogg", "libopus"), "m4a": ("mp4", "aac"),
    "webm": ("webm", "libopus"),
}  # fmt: skip


def video(kind: str = "mp4", *, frames: int = 9, fps: float = 8, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a video that becomes lighter: frame i has the grey 255 · i / frames."""
    container, codec, pixels = _VIDEO[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for index in range(frames):
            grey = np.full((size[1], size[0], 3), 255 * index // frames, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=pixels)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file.getvalue()


def sound(kind: str = "wav", *, seconds: float = 0.5, rate_hz: int = 48_000, hz: float = 440) -> bytes:
    """Return a tone of half the greatest amplitude."""
    container, codec = _AUDIO[kind]
    file = io.BytesIO()
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = (0.5 * np.sin(2 * math.pi * hz * times)).astype(np.float32)[None]
    with av.open(file, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.rate = rate_hz
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate_hz, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return file.getvalue()
