"""Sound tracks of videos: AAC in MP4 and Opus in WebM, through PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from workers.spool.sound import Sound

#: Container → encoder.
CODECS = {"mp4": "aac", "webm": "libopus"}
BIT_RATE_BPS = 160_000
#: Opus always decodes to this rate.
_OPUS_RATE_HZ = 48_000
#: Rates that AAC has; any other is resampled to the last one.
_AAC_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LAYOUTS = {1: "mono", 2: "stereo"}


def sample_rate_hz(name: str, sound: Sound) -> int:
    """Return the samples per second of a sound in a container, ``mp4`` or ``webm``."""
    if name == "webm":
        return _OPUS_RATE_HZ
    return sound.sample_rate_hz if sound.sample_rate_hz in _AAC_RATES_HZ else _AAC_RATES_HZ[-1]


class SoundTrack:
    """The sound track of an open container. It is written piece by piece beside the pictures, so that neither waits.

    Args:
        container: opened for writing.
        name: ``mp4`` or ``webm``.
        sound: the sound.
    """

    def __init__(self, container: Any, name: str, sound: Sound) -> None:
        self._container, self._sound, self._written = container, sound, 0
        self._layout, rate_hz = _LAYOUTS[len(sound.samples)], sample_rate_hz(name, sound)
        self._stream = cast(av.AudioStream, container.add_stream(CODECS[name], rate=rate_hz, layout=self._layout))
        self._stream.codec_context.bit_rate = BIT_RATE_BPS
        format_name = self._stream.codec_context.format.name
        self._resampler = av.AudioResampler(format_name, self._layout, rate_hz)

    def write_until(self, time_s: float) -> None:
        """Write the samples before a time, seconds from the start; fewer if the sound ends earlier."""
        end = min(self._sound.samples.shape[1], round(time_s * self._sound.sample_rate_hz))
        if end <= self._written:
            return
        piece = np.ascontiguousarray(self._sound.samples[:, self._written : end].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=self._layout)
        frame.sample_rate, frame.pts = self._sound.sample_rate_hz, self._written
        self._written = end
        self._encode(frame)

    def end(self) -> None:
        """Write what the encoder still holds."""
        self._encode(None)
        self._container.mux(self._stream.encode(None))

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(resampled))


def copy_without_sound(source: Path, target: Path) -> None:
    """Copy a video file without its sound; the pictures are not encoded again."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as copy:
        copy.metadata.update(opened.metadata)
        pictures = opened.streams.video[0]
        stream = copy.add_stream_from_template(pictures)
        for packet in opened.demux(pictures):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
