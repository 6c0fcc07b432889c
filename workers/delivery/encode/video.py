"""Encode frames as MP4 (H.264, AAC) or WebM (VP9, Opus), through PyAV."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from jobs.formats import even_size
from workers.delivery.encode.metadata import Metadata
from workers.delivery.encode.tracks import SoundTrack
from workers.spool.sound import Sound

#: More threads are not faster for small pictures, and each of them buffers frames.
THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class VideoCodec:
    """An encoder with its options, which ``python -m bench.delivery`` compares (bench/RESULTS.md)."""

    name: str
    options: dict[str, str]
    #: Rate factor at quality 0; each point of quality lowers it by ``crf_step``.
    crf_zero: float
    crf_step: float
    container_options: dict[str, str] = field(default_factory=dict)

    def crf(self, quality: int) -> str:
        return str(round(self.crf_zero - self.crf_step * quality))


CODECS = {
    # faststart puts the index first, so that a player can begin before it has the whole file. Quality 80 is crf 18.
    "mp4": VideoCodec("libx264", {"preset": "veryfast"}, 51, 33 / 80, {"movflags": "+faststart"}),
    # Quality 80 is crf 25.
    "webm": VideoCodec("libvpx-vp9", {"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "b": "0"}, 63, 38 / 80),
}


def write(
    frames: np.ndarray, path: Path, name: str, *, fps: float, quality: int, metadata: Metadata | None,
    sound: Sound | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Write (frames, height, width, 3) uint8 RGB as ``mp4`` or ``webm``, yuv420p in BT.709, limited range.

    The file states its colours: players guess those of a file that does not, from its height.

    Odd sides lose one pixel (yuv420p needs even ones). Sound that is longer than the pictures is cut.

    Returns:
        Width and height written, pixels.
    """
    codec = CODECS[name]
    width, height = even_size(name, frames.shape[2], frames.shape[1])
    with av.open(str(path), "w", format=name, options=codec.container_options) as container:
        if metadata is not None:
            container.metadata.update(metadata.tags())
        stream = cast(av.VideoStream, container.add_stream(codec.name, rate=frame_rate(fps)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = THREADS
        stream.options = {**codec.options, "crf": codec.crf(quality)}
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        track = SoundTrack(container, name, sound) if sound is not None else None
        for number, picture in enumerate(frames, 1):
            container.mux(stream.encode(_converted(picture[:height, :width])))
            if track is not None:
                track.write_until(number / fps)
        container.mux(stream.encode())
        if track is not None:
            track.end()
    return width, height


def _converted(picture: np.ndarray) -> av.VideoFrame:
    """Convert (height, width, 3) uint8 RGB to yuv420p in BT.709, limited range."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG,
        dst_color_primaries=ColorPrimaries.BT709, dst_color_trc=ColorTrc.BT709,
    )  # fmt: skip


def frame_rate(fps: float) -> Fraction:
    """Return frames per second as a fraction; NTSC rates such as 23.976 and 29.97 become 24000/1001, 30000/1001."""
    whole = Fraction(round(fps * 1.001))
    ntsc = whole * 1000 / 1001
    return ntsc if fps != whole and abs(fps - ntsc) < 0.005 else Fraction(fps).limit_denominator(1001)
