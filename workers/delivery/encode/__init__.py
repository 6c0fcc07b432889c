"""Encode frames as PNG, WebP, JPEG, MP4, WebM, GIF or animated WebP; thumbnails and posters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.requests.generation import GenerationRequest
from workers.delivery.encode import animation, images, tracks, video
from workers.delivery.encode.metadata import Metadata
from workers.spool.sound import Sound


@dataclass(frozen=True)
class Written:
    """What was written: size in pixels, and samples per second of the sound (0: there is none)."""

    width: int
    height: int
    audio_sample_rate_hz: int = 0


def write(
    clip: np.ndarray, path: Path, request: GenerationRequest, extra: dict[str, Any], sound: Sound | None = None
) -> Written:
    """Write one output in the request's format.

    Args:
        clip: (frames, height, width, 3) uint8 RGB; frames is 1 for an image. May be memory-mapped: frames are read
            one by one.
        path: the file to write.
        request: sets format, quality, frame rate and metadata.
        extra: further metadata, such as ``job_id``.
        sound: the sound of a video; left out in formats without sound.
    """
    name = output_format(request)
    metadata = None if request.embed_metadata is False else Metadata.of(request, extra)
    quality = request.output_quality or 80
    if name in ("mp4", "webm"):
        size = video.write(clip, path, name, fps=request.fps, quality=quality, metadata=metadata, sound=sound)
        return Written(*size, audio_sample_rate_hz=tracks.sample_rate_hz(name, sound) if sound else 0)
    if name == "gif":
        animation.write_gif(clip, path, fps=request.fps, metadata=metadata)
    elif request.kind.is_video:
        animation.write_webp(clip, path, fps=request.fps, quality=quality, metadata=metadata)
    else:
        images.write(clip[0], path, name, quality=quality, metadata=metadata)
    return Written(clip.shape[2], clip.shape[1])


def output_format(request: GenerationRequest) -> str:
    """Return the name of the format; the default is PNG or MP4."""
    return request.output_format or ("mp4" if request.kind.is_video else "png")
