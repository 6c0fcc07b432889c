"""Encoded files in the spool: the outputs of back ends, which send files instead of frames.

``<spool>/<job_id>.<attempt>/files.json`` lists them. As with frames, the folder is complete or absent.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from jobs.errors import BackendFailed, ObjectNotFound
from jobs.files.png_chunks import without_large_texts
from jobs.formats import FORMATS
from jobs.process.folders import FILE_MODE, create_file, make_folder
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings

_LIST = "files.json"


@dataclass(frozen=True)
class EncodedFile:
    """One encoded output."""

    path: Path
    media_type: str
    width: int
    height: int
    #: Of an image 1 and 0.0.
    frames: int = 1
    fps: float = 0.0
    #: Samples per second of its sound; 0: it has none.
    audio_sample_rate_hz: int = 0


@contextmanager
def folder(settings: Settings, job_id: str, attempt: int) -> Iterator[Path]:
    """Give a folder to download into; at the end of the block it is removed unless :func:`keep` has taken it."""
    partial = settings.spool_disk / f"{job_id}.{attempt}.part{os.getpid()}"
    make_folder(partial)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def keep(settings: Settings, job_id: str, attempt: int, partial: Path, files: list[EncodedFile]) -> None:
    """Make the downloaded files the outputs of the attempt."""
    entries = [{**asdict(file), "path": file.path.name} for file in files]
    for file in files:
        file.path.chmod(FILE_MODE)
    with create_file(partial / _LIST) as listing:
        listing.write(json.dumps(entries).encode())
    target = settings.spool_disk / f"{job_id}.{attempt}"
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def load(settings: Settings, job_id: str, attempt: int) -> list[EncodedFile]:
    """Return the files of an attempt; empty if it has frames instead.

    Raises:
        ObjectNotFound: a file is missing.
        OSError: the files cannot be read now.
    """
    place = settings.spool_disk / f"{job_id}.{attempt}"
    try:
        entries = json.loads((place / _LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    files = [EncodedFile(**{**entry, "path": place / entry["path"]}) for entry in entries]
    if not all(file.path.is_file() for file in files):
        raise ObjectNotFound("the computed files are gone")
    return files


def inspect(path: Path, media_type: str) -> EncodedFile:
    """Read size, frames and frame rate of a downloaded file. Raises: BackendFailed: it does not decode."""
    try:
        if media_type.startswith("image/"):
            with _opened(path) as image:
                image.load()
                return EncodedFile(path, media_type, *image.size)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            fps = round(float(stream.average_rate or 0), 3)
            sound = next(iter(container.streams.audio), None)
            rate_hz = sound.rate if sound else 0
            return EncodedFile(path, media_type, stream.width, stream.height, frames, fps, rate_hz or 0)
    except (av.error.FFmpegError, OSError, SyntaxError, ValueError, IndexError) as exc:
        raise BackendFailed(f"the back end sent a {media_type} that does not decode") from exc


def decode(file: EncodedFile, *, whole: bool) -> np.ndarray:
    """Return (frames, height, width, 3) uint8 RGB: all frames if ``whole``, else only the first."""
    if file.media_type.startswith("image/"):
        with _opened(file.path) as image:
            return np.asarray(_opaque(image))[None]
    with av.open(str(file.path)) as container:
        decoded = islice(container.decode(video=0), None if whole else 1)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])


def is_publishable(file: EncodedFile, request: GenerationRequest) -> bool:
    """Return whether a file can be published unchanged.

    A video always can. A picture must have the requested format, and no metadata if the request excludes it.
    """
    if not file.media_type.startswith("image/"):
        return True
    if file.media_type != FORMATS[request.output_format or "png"].media_type:
        return False
    if request.embed_metadata is not False:
        return True
    content = file.path.read_bytes()
    if without_large_texts(content) is not content:
        return False
    with _opened(file.path) as image:
        image.load()
        return not image.info.keys() & {"parameters", "exif", "comment"}


def _opened(path: Path) -> Image.Image:
    """Open a picture without those of its texts that Pillow would take for damage."""
    return Image.open(io.BytesIO(without_large_texts(path.read_bytes())))


def _opaque(image: Image.Image) -> Image.Image:
    """Convert to RGB, on white where the picture is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
